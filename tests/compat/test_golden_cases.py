"""Every recorded case of Packer 1.16.0, answered by the whole program."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from golden_cases import (
    DIFFERENCES,
    KINDS,
    answer,
    builds,
    cases,
    judge,
    judge_run,
    root,  # noqa: F401
)

from goldsmith.cli import app

AT_LEAST = 0.98
ALL = [(kind, case) for kind in KINDS for case in cases(kind)]
BY_ID = {case["id"]: (kind, case) for kind, case in ALL}
NEEDS = {"run/post-019": "lz4"}


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
    if (tool := NEEDS.get(case["id"])) and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    said, left = answer(kind, case, place, capsys, monkeypatch)
    if case["id"] not in DIFFERENCES:
        judge(kind, case, said, left)
        assert list((place / "tmp").iterdir()) == []
        return
    try:
        judge(kind, case, said, left)
    except AssertionError:
        return
    pytest.fail(f"{case['id']} answers like Packer now: take it out of differences.json")


@pytest.mark.parametrize("chosen", [lambda case: True, builds], ids=["all", "builds"])
def test_enough_of_them_are_answered_like_packer(chosen):
    ids = {case["id"] for _, case in ALL if chosen(case)}
    assert len(ids & set(DIFFERENCES)) <= (1 - AT_LEAST) * len(ids)
    assert set(DIFFERENCES) <= set(BY_ID)


def test_a_file_goes_with_a_provisioner_that_failed(place, capsys, monkeypatch):
    kind, case = BY_ID["run/build_file-009"]
    ((status, out, error),), left = answer(kind, case, place, capsys, monkeypatch)
    judge_run(case["expected"]["run"][0], status, out, error)
    assert left == {}


@pytest.mark.parametrize("name", ["run/errors-018", "run/errors-019"])
def test_a_provisioner_without_a_machine_is_refused_before_anything_runs(
    name, place, capsys, monkeypatch
):
    ((status, out, error),), _ = answer(*BY_ID[name], place, capsys, monkeypatch)
    text = re.sub(r"\s+", " ", out + error)
    assert status == 1
    assert "communicator none" in text
    assert "Wait completed" not in text


def test_an_upgrade_keeps_what_is_for_one_builder(place, capsys, monkeypatch):
    ((status, _, error),), _ = answer(*BY_ID["run/upgrade-019"], place, capsys, monkeypatch)
    assert (status, error) == (0, "")
    text = (place / "work/t.json.pkr.hcl").read_text()
    assert 'only         = ["null.p"]' in text
    assert 'except = ["null.p"]' in text
    assert 'override = {\n      p = {\n        inline = ["false"]\n      }\n    }' in text
    assert app.run(["validate", "t.json.pkr.hcl"]) == 0


def test_the_documentation_tells_every_difference():
    path = Path(__file__).parents[2] / "script/generate-docs.py"
    spec = importlib.util.spec_from_file_location("generate_docs", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = generator.COMPATIBILITY.read_text()
    assert all(f"`{name}`" in page for name in DIFFERENCES)
    assert page == generator.compatibility_page(), "run script/docs"
