"""From a template to builds that can run: every component made, every finding at once."""

import sys
import types
from pathlib import Path

import pytest

from goldsmith.core.artifact import ExpectedArtifact
from goldsmith.core.build import Build, Component, Template
from goldsmith.core.conflicts import refuse_conflicts
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import Finding, Options
from goldsmith.core.prepare import prepare, resolve_provisioners
from goldsmith.core.registry import Registry
from goldsmith.errors import Diagnostic, Position, Severity, SourceRange, TemplateError
from goldsmith.values.types import STRING
from goldsmith.values.value import TRUE, string, unknown

DIRECTORY = Path("/templates")


def at(line):
    return SourceRange("t.hcl", Position(line, 1, 0), Position(line, 2, 0))


class SmallOptions(Options):
    text: str = "default"


class Made:
    """A component of any kind; a text of "bad …" is a finding of its own check."""

    options_model = SmallOptions
    needs_worker = communicates = changes_tree = True
    announces = ()

    def __init__(self, options, name=""):
        self.options, self.name, self.checked_in = options, name, None

    def check(self, directory=None):
        self.checked_in = directory
        if not self.options.text.startswith("bad"):
            return []
        return [Finding(f"{self.options.text} is bad", ("text",), "be good")]

    def preflight(self, given):
        return given

    def claims(self, directory):
        return [directory / f"{self.name}.out", directory / self.options.text]


@pytest.fixture
def registry(monkeypatch):
    module = types.ModuleType("components_of_a_test")
    module.Made = Made
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = Registry()
    for kind in ("builder", "provisioner", "post-processor"):
        made.register(kind, {"small": "components_of_a_test:Made"})
    made.plan("post-processor", {"amazon-import": "upload the raw image"})
    return made


class Config:
    """A configuration that is resolved to one argument; a callable gets the run's values."""

    def __init__(self, text="good", line=1, name="text"):
        self.text, self.line, self.name = text, line, name

    def resolve(self, run_values):
        if isinstance(self.text, TemplateError):
            raise self.text
        value = self.text(run_values) if callable(self.text) else string(self.text)
        return RawBody({self.name: value.at(at(self.line))}, {self.name: at(self.line)},
                       range=at(self.line))  # fmt: skip


def component(kind, type="small", line=1, config=None, **keys):
    given = config or Config(line=line)
    return Component(kind=kind, type=type, name="", config=given, range=at(line), **keys)


def build(source=None, provisioners=(), chains=(), name="small.a"):
    return Build(
        name=name, build_name="", source_type="small", source_name=name.partition(".")[2],
        source=source or component("builder"), provisioners=tuple(provisioners),
        post_processors=tuple(tuple(chain) for chain in chains),
    )  # fmt: skip


def prepared(registry, *builds, secrets=()):
    template = Template(path="t.hcl", builds=tuple(builds), sources={"t.hcl": "text"},
                        secrets=frozenset(secrets))  # fmt: skip
    return prepare(template, registry, DIRECTORY, builds)


def refused(registry, *builds):
    with pytest.raises(TemplateError) as caught:
        prepared(registry, *builds)
    assert caught.value.sources == {"t.hcl": "text"}
    return [(found.summary, found.range.start.line) for found in caught.value.diagnostics]


def test_a_good_build_is_made_with_its_chains(registry):
    chains = [[component("post-processor", config=Config("a")), component("post-processor")], []]
    given = build(component("builder", config=Config("src")), [component("provisioner")], chains)
    (made,) = prepared(registry, given)
    assert (made.build, made.builder.options.text, made.builder.name) == (given, "src", "a")
    assert [[call.post_processor.options.text for call in chain] for chain in made.chains] == [
        ["a", "good"], []]  # fmt: skip
    assert made.chains[0][0].component is chains[0][0]
    assert made.chains[0][0].post_processor.checked_in == DIRECTORY


def test_the_findings_of_all_builds_and_components_come_at_once(registry):
    assert refused(
        registry,
        build(
            component("builder", line=2, config=Config("bad source", 3)),
            [component("provisioner", "smal", 4),
             component("provisioner", line=5, config=Config("x", 6, name="txt"))],
            [[component("post-processor", "amazon-import", 7),
              component("post-processor", config=Config("bad end", 8))]],
        ),
        build(component("builder", "vmware", 9), name="small.b"),
    ) == [
        ("bad source is bad", 3),
        ('there is no provisioner "smal". Did you mean "small"?', 4),
        ("Unsupported argument", 6),
        ('the post-processor "amazon-import" is not available in goldsmith yet', 7),
        ("bad end is bad", 8),
        ('there is no builder "vmware".', 9),
    ]  # fmt: skip


def test_no_two_builds_make_the_same_file(registry):
    first = build(component("builder", line=2, config=Config("one/../same")), name="small.a")
    second = build(component("builder", line=3, config=Config("same")), name="small.b")
    with pytest.raises(TemplateError) as caught:
        refuse_conflicts(prepared(registry, first, second), DIRECTORY, {})
    (found,) = caught.value.diagnostics
    assert (found.summary, found.range.start.line) == ("Conflicting outputs", 3)
    assert '"small.a" and "small.b" both write' in found.detail
    third = build(component("builder", line=3, config=Config("other")), name="small.b")
    refuse_conflicts(prepared(registry, first, third), DIRECTORY, {})


def test_builds_that_share_a_source_share_its_mistakes(registry):
    source = component("builder", config=Config("bad", 3))
    two = [build(source, name=name) for name in ("small.a", "small.a2")]
    assert refused(registry, *two) == [("bad is bad", 3)]


def test_findings_name_their_block(registry):
    source = Component(kind="builder", type="small", name="a", config=Config("bad", 3), range=at(1))
    with pytest.raises(TemplateError) as caught:
        prepared(registry, build(source, [component("provisioner", "no", line=9)]))
    assert [(d.subject, d.detail) for d in caught.value.diagnostics] == [
        ('source "small" "a"', "be good"),
        ('provisioner "no"', "known provisioners: small"),
    ]


def test_what_the_language_finds_goes_along(registry):
    error = TemplateError([Diagnostic("Unknown variable", range=at(12))])
    broken = component("provisioner", config=Config(error))
    assert refused(registry, build(provisioners=[broken, component("provisioner", "no", 13)])) == [
        ("Unknown variable", 12), ('there is no provisioner "no".', 13)]  # fmt: skip


def of_the_run(run_values):
    return unknown(STRING) if run_values is None else run_values["ID"]


def test_a_provisioner_may_wait_for_the_run(registry):
    given = build(provisioners=[component("provisioner", config=Config(of_the_run))])
    assert len(prepared(registry, given)) == 1


def test_a_post_processor_may_wait_for_the_run_too(registry):
    waiting = component("post-processor", line=7, config=Config(of_the_run, 8))
    (made,) = prepared(registry, build(chains=[[waiting]]))
    ((call,),) = made.chains
    assert call.post_processor is None
    later = call.made({"ID": "i-1"}, ExpectedArtifact())
    assert later.options.text == "i-1"


def resolve(registry, *provisioners, **values):
    return resolve_provisioners(
        build(provisioners=provisioners), registry, DIRECTORY, values, {"t.hcl": "text"}
    )


def test_provisioners_get_what_the_run_knows_and_their_own_keys(registry):
    waiting = component("provisioner", config=Config(of_the_run), pause_before_s=1.5,
                        max_retries=2, timeout_s=60.0)  # fmt: skip
    (call,) = resolve(registry, waiting, ID="i-1")
    assert call.provisioner.options.text == "i-1"
    assert (call.pause_before_s, call.max_retries, call.timeout_s) == (1.5, 2, 60.0)


@pytest.mark.parametrize(
    ("keys", "takes_part"),
    [({}, True), ({"only": ("small.a",)}, True), ({"only": ("small.b",)}, False),
     ({"except_": ("small.a",)}, False), ({"except_": ("small.b",)}, True)],
)  # fmt: skip
def test_provisioners_for_other_sources_are_left_out(registry, keys, takes_part):
    assert len(resolve(registry, component("provisioner", **keys))) == takes_part


def test_what_only_the_run_shows_to_be_wrong_is_an_error_then(registry):
    wrong = component("provisioner", config=Config(of_the_run, 9))
    typed = component("provisioner", config=Config(lambda values: TRUE, 10, name="nope"))
    with pytest.raises(TemplateError) as caught:
        resolve(registry, wrong, typed, ID="bad id")
    assert [(d.summary, d.range.start.line) for d in caught.value.diagnostics] == [
        ("bad id is bad", 9), ("Unsupported argument", 10)]  # fmt: skip
    assert caught.value.sources == {"t.hcl": "text"}


def test_findings_show_no_secret(registry):
    wrong = build(component("builder", config=Config("bad s3cret")))
    with pytest.raises(TemplateError) as caught:
        prepared(registry, wrong, secrets=["s3cret"])
    assert "s3cret" not in str(caught.value)
    assert caught.value.diagnostics[0].summary == "bad <sensitive> is bad"


def test_warnings_show_no_secret(registry, monkeypatch):
    def warned(self, directory=None):
        return [Finding("s3cret is odd", ("text",), "not s3cret", Severity.WARNING)]

    monkeypatch.setattr(Made, "check", warned)
    (made,) = prepared(registry, build(), secrets=["s3cret"])
    assert [(one.summary, one.detail) for one in made.warnings] == [
        ("<sensitive> is odd", "not <sensitive>")
    ]
