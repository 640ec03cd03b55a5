"""Every function against recorded answers of Packer 1.16.0 (`data/hcl_functions.json`).

A case has an expression and what Packer's console printed for it, or the words that its error must
contain. Values are printed here as the console prints them.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from goldsmith.errors import TemplateError
from goldsmith.gotemplate.floats import SHORTEST, format_float
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.numbers import Number
from goldsmith.values.value import Unknown, Value
from goldsmith.values.world import LiveWorld

CASES = json.loads((Path(__file__).parent / "data" / "hcl_functions.json").read_text())
NOW = datetime(2024, 2, 29, 23, 4, 5, tzinfo=UTC)
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class HomeWorld(LiveWorld):
    """The live world with another home and a fixed clock."""

    def __init__(self, home: Path) -> None:
        super().__init__(now=NOW)
        self._home = home

    def home(self) -> str:
        return str(self._home)


def shown_number(number: Number) -> str:
    """An int64 as it is, any other number as a float of 64 bits."""
    if number.is_integer and -(1 << 63) <= number.to_int() < 1 << 63:
        return str(number.to_int())
    return format_float(number.to_float(), "g", SHORTEST)


def quoted(text: str) -> str:
    """Go's %q, as far as the cases need it."""
    escapes = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return '"' + "".join(escapes.get(one, one) for one in text) + '"'


def shown(value: Value, depth: int = 0) -> str:
    """A value as Packer's console prints it; a string alone is not quoted."""
    pad = "  " * depth
    match value.raw:
        case None:
            return "null"
        case Unknown():
            return "<unknown>"
        case bool():
            return "true" if value.raw else "false"
        case Number():
            return shown_number(value.raw)
        case str():
            return quoted(value.raw) if depth else value.raw
        case tuple():
            lines = [f"{pad}  {shown(item, depth + 1)},\n" for item in value.raw]
            return f"[\n{''.join(lines)}{pad}]" if lines else "[]"
        case dict():
            lines = [
                f"{pad}  {quoted(key)} = {shown(item, depth + 1)}\n"
                for key, item in value.raw.items()
                if item.raw is not None
            ]
            return f"{{\n{''.join(lines)}{pad}}}" if lines else "{}"


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_function_answers_like_packer(
    case: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    for name, text in {"": "", **case.get("files", {})}.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name:
            path.write_text(text)
        else:
            path.mkdir()
    monkeypatch.chdir(work)
    scope = Scope(world=HomeWorld(tmp_path / "home"))
    if "error" in case:
        with pytest.raises(TemplateError) as caught:
            evaluate_text(case["expr"], scope)
        for word in case["error"]:
            assert word in str(caught.value)
        return
    answer = shown(evaluate_text(case["expr"], scope))
    if "pattern" in case:
        assert re.fullmatch(case["pattern"].replace("<UUID>", UUID), answer)
    elif "clock" in case:
        assert answer == NOW.strftime(case["clock"])
    elif "gunzip" in case:
        assert gzip.decompress(base64.b64decode(answer)).decode() == case["gunzip"]
    else:
        assert answer == case["shown"].replace("<TMP>", str(tmp_path))
