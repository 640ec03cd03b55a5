"""JSON templates as plain data, for the verbs that rewrite them; written as Go writes JSON."""

from __future__ import annotations

import re
from typing import Any

from goldsmith.template.legacy_json.document import Node
from goldsmith.values.numbers import Number

Plain = dict[str, Any] | list[Any] | str | float | bool | None

_ESCAPED = re.compile('["\\\\\x00-\x1f&\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LARGEST_PLAIN, _SMALLEST_PLAIN = 21, -6
"""Powers of ten from which on Go writes an exponent."""


def plain(node: Node) -> Plain:
    """The content of a node; numbers are floats, all that Packer's reader knows."""
    match node.content:
        case dict():
            return {key: plain(member.node) for key, member in node.content.items()}
        case list():
            return [plain(element) for element in node.content]
        case Number():
            return node.content.to_float()
        case _:
            return node.content


def written(value: Plain, indent: str = "") -> str:
    """The value with sorted keys, two blanks of indentation and `<` and `>` as they are."""
    inner = indent + "  "
    match value:
        case dict():
            items = [f"{_quoted(key)}: {written(value[key], inner)}" for key in sorted(value)]
        case list():
            items = [written(item, inner) for item in value]
        case str():
            return _quoted(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return _number(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    if not items:
        return opening + closing
    lines = ",\n".join(inner + item for item in items)
    return f"{opening}\n{lines}\n{indent}{closing}"


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match.group()) or f"\\u{ord(match.group()):04x}"


def _number(value: float) -> str:
    """A float of 64 bits in Go's form: shortest digits, an exponent only where it is far off."""
    sign, digits = ("-", repr(value)[1:]) if repr(value).startswith("-") else ("", repr(value))
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    figures = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(figures)
    figures = figures.rstrip("0")
    if not figures:
        return f"{sign}0"
    power = point - 1
    if not _SMALLEST_PLAIN <= power < _LARGEST_PLAIN:
        tail = f".{figures[1:]}" if len(figures) > 1 else ""
        return f"{sign}{figures[0]}{tail}e{'-' if power < 0 else '+'}{abs(power)}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{figures}"
    padded = figures.ljust(point, "0")
    return f"{sign}{padded[:point]}" + (f".{padded[point:]}" if padded[point:] else "")
