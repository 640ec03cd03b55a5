"""`fmt` of HCL2 files, as Packer 1.16 answered it: every byte, and every status."""

import io
import json
import sys
from pathlib import Path

import pytest
from golden_cases import DIFFERENCES
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.cli import app
from goldsmith.template.hcl2.formatter import format_source
from goldsmith.template.hcl2.parser import parse_file

CASES = json.loads((Path(__file__).parent / "data/fmt.json").read_text())
GOOD = [case for case in CASES if "diagnostics" not in case["expected"]]
BAD = [
    case for case in CASES if "diagnostics" in case["expected"] and case["id"] not in DIFFERENCES
]


def ids(cases):
    return [case["id"] for case in cases]


class Input(io.TextIOWrapper):
    """Standard input that is no terminal."""

    def __init__(self, text):
        super().__init__(io.BytesIO(text.encode()), "utf-8")


@pytest.fixture
def fmt(tmp_path, monkeypatch, capsys):
    """Runs fmt on a case's file; gives status, output and what is in the file then."""
    monkeypatch.chdir(tmp_path)

    def run(case, *flags, path=None):
        file = tmp_path / case["name"]
        file.write_bytes(case["text"].encode())
        monkeypatch.setattr(sys, "stdin", Input(case["text"]))
        status = app.run(["fmt", *flags, path or case["name"]])
        said = capsys.readouterr()
        return status, said.out, said.err, file.read_bytes().decode()

    return run


@pytest.mark.parametrize("case", GOOD, ids=ids(GOOD))
def test_a_file_is_written_as_by_packer(case, fmt):
    expected = case["expected"]
    status, out, _, content = fmt(case)
    assert (status, out, content) == (expected["exit"], expected["stdout"], expected["formatted"])
    status, _, _, content = fmt(case, "-check")
    assert (status, content) == (expected["check_exit"], case["text"])
    if "piped" in expected:
        assert fmt(case, path="-")[:2] == (0, expected["piped"])


@pytest.mark.parametrize("case", GOOD, ids=ids(GOOD))
def test_a_formatted_file_stays(case):
    assert format_source(case["expected"]["formatted"]) == case["expected"]["formatted"]


@pytest.mark.parametrize(
    "case", [one for one in GOOD if one["id"] in ("fmt/error-012", "fmt/align-001")], ids=str
)
def test_the_difference_is_shown(case, fmt):
    status, out, _, content = fmt(case, "-check", "-diff")
    assert (status, out) == (3, case["expected"]["diff"])
    assert content == case["text"]


@pytest.mark.parametrize("case", BAD, ids=ids(BAD))
def test_what_is_no_hcl_is_refused_with_its_place(case, fmt):
    status, out, error, content = fmt(case)
    assert (status, out, content) == (1, "", case["text"])
    assert fmt(case, "-check")[0] == 1
    for wanted in case["expected"]["diagnostics"]:
        assert wanted["file"] in error
        line = wanted.get("line")
        if line is None:
            continue
        first, last = line if isinstance(line, list) else (line, line)
        places = [f"{case['name']}:{n}:" for n in range(first, last + 1)]
        places += [f"line {n}" for n in range(first, last + 1)]
        assert any(place in error for place in places)


PIECES = st.sampled_from(
    ["a", " = ", "1", "[", "]", "{", "}", "(", ")", "\n", ", ", "x.y", "-", "!", '"s"', '"${b}"',
     "# c", " ", "for x in ", ": ", "? ", "<<E\nt\nE\n", "/* c */", " == ", "b {", "..."]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=200, deadline=None)
def test_only_spaces_change_and_a_second_time_nothing(source):
    if parse_file(source, "x").diagnostics:
        return
    once = format_source(source)
    assert "".join(once.split()) == "".join(source.split())
    assert format_source(once) == once
    assert not parse_file(once, "x").diagnostics
