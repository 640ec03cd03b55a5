"""The reference is what the code says, links lead somewhere, and examples in docs are valid."""

import importlib.util
import re
from pathlib import Path

import pytest

from goldsmith.cli.components import builtin_registry
from goldsmith.core.prepare import prepare
from goldsmith.template.load import load
from goldsmith.values.world import LiveWorld, RecordingWorld

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "script/generate-docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().PAGES
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def templates():
    for path in TEXTS:
        for number, text in enumerate(re.findall(r"```hcl\n(.*?)```", path.read_text(), re.DOTALL)):
            if "build {" in text:
                yield pytest.param(text, id=f"{shown(path)}:{number}")


@pytest.mark.parametrize("text", list(templates()))
def test_templates_in_the_docs_are_valid(text, tmp_path):
    """Pages that show a build block alone mean the source of the example."""
    if "source " not in text:
        example = (ROOT / "examples/debian.pkr.hcl").read_text()
        text = example.partition("build {")[0] + text
    path = tmp_path / "page.pkr.hcl"
    path.write_text(text)
    template = load(str(path), world=RecordingWorld(LiveWorld()))
    assert prepare(template, builtin_registry(), tmp_path, template.builds)


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("*.md")), ids=shown)
def test_a_decision_is_at_most_a_page(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    for heading in ("Context", "Choice", "Rejected", "Consequence"):
        assert f"## {heading}" in text


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
