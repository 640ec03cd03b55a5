"""`inspect` of HCL2 templates, as Packer 1.16 answered it: exactly, in both of its forms."""

import json
import re
from pathlib import Path

import pytest

from goldsmith.cli import app

CASES = json.loads((Path(__file__).parent / "data/inspect.json").read_text())
DIFFERS = {"inspect-011": "there are no data sources yet: what comes from them is unknown"}
SAME = [case for case in CASES if case["id"] not in DIFFERS]


@pytest.fixture
def inspect(tmp_path, monkeypatch, capsys):
    """Runs a case; gives its status and its output, with the times left out."""
    monkeypatch.chdir(tmp_path)

    def run(case):
        for name, text in case["files"].items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        status = app.run(case["argv"])
        said = capsys.readouterr()
        return status, re.sub(r"(?m)^\d{10},", "<TS>,", said.out + said.err)

    return run


@pytest.mark.parametrize("case", SAME, ids=[case["id"] for case in SAME])
def test_it_shows_what_packer_shows(case, inspect):
    status, text = inspect(case)
    assert status == case["exit"]
    if "stdout" in case:
        assert text == case["stdout"]
    for wanted in case.get("diagnostics", []):
        assert f"{wanted['file']}:{wanted['line']}" in text


def test_what_a_data_source_would_give_is_unknown(inspect):
    (case,) = (case for case in CASES if case["id"] in DIFFERS)
    status, text = inspect(case)
    assert status == 0
    assert text == case["stdout"].replace('local.d: "v"', 'local.d: "<unknown>"')
