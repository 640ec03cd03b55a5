"""The language against recorded answers of Packer 1.16.0, and its syntax against python-hcl2.

`data/hcl_language.json` has expressions, `data/hcl_templates.json` whole templates: what the
console printed for them, or the words and lines that their errors must contain. What a component
finds in its own options is not the language's business and left out.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import hcl2
import pytest

from goldsmith.errors import TemplateError
from goldsmith.gotemplate.floats import SHORTEST, format_float
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.loader import load, load_scope
from goldsmith.template.hcl2.parser import parse_file
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.numbers import Number
from goldsmith.values.types import STRING
from goldsmith.values.value import UNKNOWN, Value, all_marks, object_of, unknown
from goldsmith.values.world import LiveWorld

DATA = Path(__file__).parent / "data"
EXPRESSIONS = json.loads((DATA / "hcl_language.json").read_text())
TEMPLATES = json.loads((DATA / "hcl_templates.json").read_text())
PYTHON_HCL2_DIFFERS = {
    # It accepts two arguments on one line and repeated arguments, and refuses a byte order mark and
    # letters beyond ASCII in names.
    "validate-017", "validate-018", "locals-016", "validate-080", "validate-082",
}  # fmt: skip
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def quoted(text: str) -> str:
    """Go's %q."""
    parts = []
    for one in text:
        if one in _ESCAPES or one.isprintable():
            parts.append(_ESCAPES.get(one, one))
        else:
            parts.append(f"\\x{ord(one):02x}" if ord(one) < 128 else f"\\u{ord(one):04x}")
    return '"' + "".join(parts) + '"'


def shown(value: Value, indent: str = "", top: bool = True) -> str:
    """A value as Packer's console prints it."""
    raw, inner = value.raw, indent + "  "
    if top and SENSITIVE in all_marks(value):
        return "<sensitive>"
    if raw is None or raw is UNKNOWN:
        return "null" if raw is None else "<unknown>"
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, Number):
        if raw.is_integer and -(1 << 63) <= raw.to_int() < 1 << 63:
            return str(raw.to_int())
        return format_float(raw.to_float(), "g", SHORTEST)
    if isinstance(raw, str):
        return raw if top else quoted(raw)
    if isinstance(raw, tuple):
        lines = [f"{inner}{shown(item, inner, False)},\n" for item in raw]
        return f"[\n{''.join(lines)}{indent}]" if lines else "[]"
    lines = [
        f"{inner}{quoted(key)} = {shown(item, inner, False)}\n"
        for key, item in raw.items()
        if not item.is_null
    ]
    return f"{{\n{''.join(lines)}{indent}}}" if lines else "{}"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    for name in list(os.environ):
        if name.startswith("PKR_VAR_"):
            monkeypatch.delenv(name)
    return directory


def write(work: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(text.encode())


def answer(case: dict, work: Path) -> Value:
    """The value that the console is asked for."""
    write(work, case.get("files", {}))
    expression = case.get("expr", "local.x")
    text = f"locals {{\n  x = {case['local']}\n}}\n" if "local" in case else ""
    write(work, {"t.pkr.hcl": text})
    scope = load_scope("t.pkr.hcl", world=LiveWorld())
    names = {"source": object_of({"name": unknown(STRING)}), "build": object_of({})}
    return evaluate_text(expression, scope.child(names))


@pytest.mark.parametrize("case", EXPRESSIONS, ids=[case["id"] for case in EXPRESSIONS])
def test_an_expression_answers_like_packer(case, work):
    if "error" not in case:
        text = shown(answer(case, work))
        assert text == case["shown"] if "shown" in case else re.fullmatch(case["pattern"], text)
        return
    with pytest.raises(TemplateError) as caught:
        answer(case, work)
    for word in case["error"]:
        assert word in str(caught.value)
    if "line" in case:
        assert case["line"] in [one.range.start.line for one in caught.value.diagnostics]


@pytest.mark.parametrize("case", TEMPLATES, ids=[case["id"] for case in TEMPLATES])
def test_a_template_answers_like_packer(case, work, monkeypatch):
    write(work, case["files"])
    for name, text in case.get("env", {}).items():
        monkeypatch.setenv(name, text)
    given = {
        "variables": [tuple(pair.split("=", 1)) for pair in case.get("var", [])],
        "variable_files": case.get("var_files", []),
        "world": LiveWorld(),
    }
    if "expr" in case and "error" not in case:
        text = shown(evaluate_text(case["expr"], load_scope(case["path"], **given)))
        assert text == case["shown"].replace("<TMP>", str(work.parent))
        return
    if "error" not in case:
        warnings = " ".join(map(str, load(case["path"], **given).warnings))
        assert all(word in warnings for word in case.get("warning", []))
        return
    with pytest.raises(TemplateError) as caught:
        load(case["path"], **given)
    found = caught.value.diagnostics
    text = " ".join(f"{one.subject} {one}" for one in found)
    for word in case["error"]:
        assert word in text
    places = [(one.range.filename, one.range.start.line) for one in found]
    for filename, first, last in case.get("places", []):
        assert any(name == filename and first <= line <= last for name, line in places)


def test_syntax_is_accepted_and_refused_as_by_python_hcl2():
    differing = set()
    for case in TEMPLATES:
        for name, text in case["files"].items():
            if not name.endswith(".pkr.hcl"):
                continue
            try:
                hcl2.loads(text)
                accepted = True
            except Exception:
                accepted = False
            if accepted == bool(parse_file(text, name).diagnostics):
                differing.add(case["id"])
    assert differing <= PYTHON_HCL2_DIFFERS
