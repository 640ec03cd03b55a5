"""`data` blocks: their order among locals, when they are read, and how they may be wrong."""

import pytest

from goldsmith.errors import GoldsmithError, TemplateError
from goldsmith.template.hcl2.loader import load, load_overview
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.value import all_marks, to_python
from goldsmith.values.world import LiveWorld, RecordingWorld, ReplayedWorld

BUILD = (
    'source "null" "a" {\n  communicator = "none"\n}\nbuild {\n  sources = ["null.a"]\n'
    '  provisioner "p" {\n    x = %s\n  }\n}\n'
)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text):
    with open("t.pkr.hcl", "w") as file:
        file.write(text)
    return "t.pkr.hcl"


def given(text, expression, **how):
    """What an expression in a provisioner comes to."""
    world = how.pop("world", None) or LiveWorld()
    (build,) = load(written(text + BUILD % expression), world=world, **how).builds
    return build.provisioners[0].config.resolve(None).attributes["x"]


def findings(text, **how):
    with pytest.raises(TemplateError) as caught:
        load(written(text + BUILD % "1"), world=LiveWorld(), **how)
    return [(one.range.start.line, one.summary) for one in caught.value.diagnostics]


def null(name, value):
    return f'data "null" "{name}" {{\n  input = {value}\n}}\n'


CHAIN = null("b", "upper(local.l)") + "locals {\n  l = data.null.a.output\n}\n" + null("a", '"v"')


def test_locals_and_data_sources_are_read_in_the_order_of_their_needs():
    assert to_python(given(CHAIN, "data.null.b.output")) == "V"
    values = load_overview("t.pkr.hcl", world=LiveWorld()).local_values
    assert to_python(values["l"]) == "v"


def test_what_is_not_read_is_unknown_but_has_its_attributes():
    value = given(CHAIN, '"${data.null.b.output}!"', read_data=False)
    assert not value.is_known
    whole = given(CHAIN, "keys(data.null.b)", read_data=False)
    assert to_python(whole) == ["output"]
    with pytest.raises(TemplateError, match="bogus"):
        given(CHAIN, "data.null.b.bogus", read_data=False)


def test_a_secret_stays_one():
    text = 'variable "s" {\n  default   = "hush"\n  sensitive = true\n}\n' + null("n", "var.s")
    assert SENSITIVE in all_marks(given(text, "data.null.n.output"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (null("a", "data.null.b.output") + null("b", "data.null.a.output"),
         [(1, "Cycle in data sources")]),
        (null("a", "local.l") + "locals {\n  l = data.null.a.output\n}\n",
         [(1, "Cycle in data sources")]),
        (null("a", "data.null.a.output"), [(1, "Cycle in data sources")]),
        (null("a", '"x"') + null("a", '"y"'), [(4, "Duplicate data source")]),
        ('data "nul" "a" {}\n', [(1, 'there is no data source "nul". Did you mean "null"?')]),
        ('data "null" "a" {}\n', [(1, "Missing required argument")]),
        ('data "null" "a" {\n  input = "x"\n  bogus = 1\n}\n', [(3, "Unsupported argument")]),
        ('data "null" "a" {\n  input = var.nope\n}\n', [(2, "Unsupported attribute")]),
        ('data "http" "a" {\n  url = "ftp://x"\n}\n', [(2, '"ftp://x" cannot be asked for')]),
        ('data "hcp-packer-image" "a" {}\n',
         [(1, 'goldsmith has no data source "hcp-packer-image"')]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read_data", [True, False])
def test_what_is_wrong_is_found_whether_it_is_read_or_not(text, found, read_data):
    assert findings(text, read_data=read_data) == found


def test_a_cycle_names_its_members():
    text = null("a", "local.l") + "locals {\n  l = data.null.a.output\n}\n"
    with pytest.raises(TemplateError, match=r"data\.null\.a -> local\.l -> data\.null\.a"):
        load(written(text), world=LiveWorld())


class Outside(LiveWorld):
    """A world whose outside gives one answer."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.asked = []

    def outside(self, what, ask):
        self.asked.append(what)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HTTP = 'data "http" "h" {\n  url = "http://example.test/x"\n}\n'


def test_an_answer_is_recorded_and_replayed_without_asking():
    outside = Outside({"body": "b", "headers": {"A": "1"}})
    recording = RecordingWorld(outside)
    wanted = {"url": "http://example.test/x", "body": "b", "request_headers": {"A": "1"}}
    assert to_python(given(HTTP, "data.http.h", world=recording)) == wanted
    assert outside.asked == ['data "http" "h"']
    replayed = ReplayedWorld(recording.record())
    assert to_python(given(HTTP, "data.http.h", world=replayed)) == wanted


def test_an_answer_that_does_not_come_is_told_at_the_block():
    world = Outside(GoldsmithError("nothing came", hint="wait"))
    with pytest.raises(TemplateError) as caught:
        given(HTTP, "data.http.h.body", world=world)
    (one,) = caught.value.diagnostics
    assert (one.range.start.line, one.summary) == (1, "A data source could not be read")
    assert "nothing came" in one.detail
    assert not given(HTTP, "data.http.h.body", world=world, read_data=False).is_known
