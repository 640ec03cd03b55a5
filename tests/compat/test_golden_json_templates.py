"""JSON templates, `fix`, `console` and `fmt` of paths, as Packer 1.16 answered them.

What a case of the console expects is in the data: where 1.16 ends with status 0 whatever happens,
so must this.
"""

import io
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_golden_components import assert_answered, left_behind, normal, root  # noqa: F401

from goldsmith.cli import app

CASES = json.loads((Path(__file__).parent / "data/json_templates.json").read_text())
DIFFERS = {
    "run/legacy_build-011": "an error-cleanup-provisioner has no effect yet and is refused",
    "run/legacy_build-015": "the digest is that of Packer's tar, whose headers are others",
    "run/upgrade-019": "override is kept, and builders are named as HCL2 names sources",
    "go/build-019": "an unknown field in execute_command is refused, not written as <no value>",
}
SAME = [case for case in CASES if case["id"] not in DIFFERS]


def answers(case, place, capsys, monkeypatch):
    """Run a case's command lines one after the other; gives statuses and output."""
    for name, file in case["files"].items():
        (place / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "work" / name).write_bytes(file["text"].replace("<TMP>", str(place)).encode())
    given = place / "stdin"
    given.write_text(case.get("stdin", ""))
    found = []
    for argv in case["argv"]:
        before = os.dup(0)
        with given.open("rb") as file:
            os.dup2(file.fileno(), 0)
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.read_bytes())))
            try:
                status = app.run([word.replace("<TMP>", str(place)) for word in argv])
            finally:
                os.dup2(before, 0)
                os.close(before)
        said = capsys.readouterr()
        found.append((status, normal(said.out, place), normal(said.err, place)))
    return found


@pytest.mark.parametrize("case", SAME, ids=[case["id"] for case in SAME])
def test_it_answers_like_packer(case, root, capsys, monkeypatch):  # noqa: F811
    for name, text in case.get("env", {}).items():
        monkeypatch.setenv(name, text)
    for wanted, (status, out, error) in zip(
        case["runs"], answers(case, root, capsys, monkeypatch), strict=True
    ):
        exact = "stdout" in wanted or "pattern" in wanted
        assert_answered(wanted, status, out if exact else out + error)
        if "clock" in wanted:
            assert out.strip() == datetime.now(UTC).strftime(wanted["clock"]).strip()
    if "left" in case:
        left = left_behind(case["files"], root / "work", root)
        assert without_comments(left, case) == without_comments(case["left"], case)


def test_an_upgrade_keeps_what_is_for_one_builder(root, capsys, monkeypatch):  # noqa: F811
    case = next(case for case in CASES if case["id"] == "run/upgrade-019")
    ((status, _, error),) = answers(case, root, capsys, monkeypatch)
    assert (status, error) == (0, "")
    text = (root / "work/t.json.pkr.hcl").read_text()
    assert 'only         = ["null.p"]' in text
    assert 'except = ["null.p"]' in text
    assert 'override = {\n      p = {\n        inline = ["false"]\n      }\n    }' in text
    assert app.run(["validate", "t.json.pkr.hcl"]) == 0


def without_comments(files, case):
    """The files, without comment lines and blank lines where only code counts."""
    if not case.get("code_only"):
        return files
    return {name: re.sub(r"(?m)^[ \t]*(#.*)?\n", "", text) for name, text in files.items()}


def test_the_differences_are_still_there():
    assert {case["id"] for case in CASES} >= set(DIFFERS)
