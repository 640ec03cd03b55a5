"""The reference is what the code says, links lead somewhere, and examples in docs are valid."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from goldsmith.cli import app
from goldsmith.cli.components import builtin_registry
from goldsmith.cli.flags import read_flags
from goldsmith.core.conflicts import refuse_conflicts
from goldsmith.core.prepare import prepare
from goldsmith.template.hcl2.formatter import format_source
from goldsmith.template.load import load
from goldsmith.template.scheme.reading import parse_scheme
from goldsmith.values.world import LiveWorld, RecordingWorld

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "script/generate-docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().PAGES
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def shown(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", PAGES)
def test_reference_is_up_to_date(name):
    wanted = PAGES[name]().rstrip() + "\n"
    assert (ROOT / "docs/reference" / name).read_text() == wanted, "run script/docs"


def test_every_page_of_the_reference_is_generated():
    assert {path.name for path in (ROOT / "docs/reference").iterdir()} == set(PAGES)


@pytest.mark.parametrize("path", TEXTS, ids=shown)
def test_links_lead_to_files(path):
    missing = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert not missing


def test_the_readme_leads_to_every_page():
    """Decisions are found through the first of them."""
    linked = {(ROOT / link).resolve() for link in LINK.findall((ROOT / "README.md").read_text())}
    pages = {path for path in TEXTS if path.parent.name != "decisions"}
    assert pages - {ROOT / "README.md"} <= linked


def blocks(language):
    """Every piece of a language in the docs, as parameters of a test."""
    for path in TEXTS:
        pieces = re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)
        for number, text in enumerate(pieces):
            yield pytest.param(text, id=f"{shown(path)}:{number}")


@pytest.mark.parametrize("text", list(blocks("hcl")))
def test_templates_in_the_docs_are_valid(text, tmp_path):
    """As `validate` looks at them. Pages that show a build alone mean the source of the example."""
    if text.startswith('disk "'):
        assert parse_scheme(text, "page.hcl").disk
        return
    assert "build {" in text, "a template without a build proves nothing"
    if "source " not in text:
        example = (ROOT / "examples/debian.pkr.hcl").read_text()
        text = example.partition("build {")[0] + text
    path = tmp_path / "page.pkr.hcl"
    path.write_text(text)
    template = load(str(path), world=RecordingWorld(LiveWorld()))
    builds = prepare(template, builtin_registry(), tmp_path, template.builds)
    assert builds
    refuse_conflicts(builds, tmp_path, template.sources)


@pytest.mark.parametrize("text", list(blocks("hcl")))
def test_templates_in_the_docs_are_as_fmt_writes_them(text):
    assert format_source(text) == text


def commands():
    """Every command line of ours in the docs, without comments and what follows a pipe."""
    for path in TEXTS:
        for text in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and "=" in words[0]:
                    del words[0]
                if words[:1] == ["goldsmith"]:
                    words = words[1 : words.index("|")] if "|" in words else words[1:]
                    yield pytest.param(words, id=f"{shown(path)}: {' '.join(words)}")


@pytest.mark.parametrize("words", list(commands()))
def test_command_lines_in_the_docs_are_understood(words):
    verb, rest = words[0], words[1:]
    assert verb in app.VERBS
    module = importlib.import_module(app.module_of(verb))
    rest = rest[: rest.index("--")] if "--" in rest else rest
    if hasattr(module, "FLAGS"):
        flags = read_flags(module.FLAGS, [word for word in rest if word != "-machine-readable"])
        if verb == "plugins":
            assert flags.words[0] in importlib.import_module("goldsmith.cli.plugins").USAGE
        else:
            assert len(flags.words) == 1
    elif hasattr(module, "command_parser"):
        module.command_parser().parse_args(rest)
    else:
        told = generator().help_text(module.run)
        assert all(word in told for word in rest)


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("*.md")), ids=shown)
def test_a_decision_is_at_most_a_page(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    for heading in ("Context", "Choice", "Rejected", "Consequence"):
        assert f"## {heading}" in text


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
