"""Every recorded case of Packer 1.16.0 that does not run `build`, answered by the whole program."""

import importlib.util
from pathlib import Path

import pytest
from golden_cases import DIFFERENCES, KINDS, answer, cases, judge
from test_golden_components import root  # noqa: F401

AT_LEAST = 0.98
ALL = [(kind, case) for kind in KINDS for case in cases(kind)]


@pytest.fixture
def place(root, monkeypatch):  # noqa: F811
    """A directory with work/, home/ and tmp/, and Packer's directories in it."""
    monkeypatch.setenv("PACKER_CONFIG_DIR", str(root / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "home/cache"))
    monkeypatch.setenv("CHECKPOINT_DISABLE", "1")
    return root


@pytest.mark.parametrize(
    ("kind", "case"), [pytest.param(*one, id=one[1]["id"].replace("/", "-")) for one in ALL]
)
def test_it_answers_like_packer(kind, case, place, capsys, monkeypatch):
    said, left = answer(kind, case, place, capsys, monkeypatch)
    if case["id"] not in DIFFERENCES:
        judge(kind, case, said, left)
        return
    try:
        judge(kind, case, said, left)
    except AssertionError:
        return
    pytest.fail(f"{case['id']} answers like Packer now: take it out of differences.json")


def test_enough_of_them_are_answered_like_packer():
    ids = {case["id"] for _, case in ALL}
    assert ids >= set(DIFFERENCES)
    assert len(ids) - len(DIFFERENCES) >= AT_LEAST * len(ids)


def test_the_documentation_tells_every_difference():
    path = Path(__file__).parents[2] / "script/generate-docs.py"
    spec = importlib.util.spec_from_file_location("generate_docs", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = generator.COMPATIBILITY.read_text()
    assert all(f"`{name}`" in page for name in DIFFERENCES)
    assert page == generator.compatibility_page(), "run script/docs"
