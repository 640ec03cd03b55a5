"""Number literals: Go's syntax, and the types that each of them fits."""

from __future__ import annotations

import re

from goldsmith.gotemplate.lexer import Kind, Token
from goldsmith.gotemplate.nodes import NumberNode
from goldsmith.gotemplate.quoting import quote, unquote_character

_MIN_INT, _MAX_INT, _MAX_UINT = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
_LEGACY_OCTAL = re.compile(r"([+-]?)0([0-7_]+)")
_DECIMAL = re.compile(r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?", re.ASCII)
_HEX_FLOAT = re.compile(
    r"[+-]?0x(?=_?\.?[0-9a-f])_?(?:[0-9a-f]_?)*(?<!_)(?:\.(?:[0-9a-f]_?)*(?<!_))?p[+-]?\d(?:_?\d)*",
    re.ASCII | re.IGNORECASE,
)
_PARTS = re.compile(r"(.*[^eEpP])([+-].+)i")


def _parse_int(text: str) -> int | None:
    if octal := _LEGACY_OCTAL.fullmatch(text):
        text = f"{octal[1]}0o{octal[2]}"
    try:
        return int(text, 0)
    except ValueError:
        return None


def _parse_float(text: str) -> float | None:
    """A decimal or hexadecimal floating-point literal; None where Go's ParseFloat fails."""
    try:
        if _HEX_FLOAT.fullmatch(text):
            value = float.fromhex(text.replace("_", ""))
        elif _DECIMAL.fullmatch(text):
            value = float(text)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return None if value in (float("inf"), float("-inf")) else value


def _whole(value: float) -> int | None:
    return int(value) if value.is_integer() and _MIN_INT <= value <= _MAX_INT else None


def _complex_number(token: Token, value: complex) -> NumberNode:
    """Its imaginary part decides whether it is a real number too."""
    if value.imag:
        return NumberNode(token.offset, token.text, complex_value=value)
    return NumberNode(token.offset, token.text, _whole(value.real), value.real, value)


def parse_number(token: Token) -> NumberNode:
    """The node of a NUMBER, COMPLEX or CHARACTER token.

    Raises ValueError with Go's words when the literal is wrong or fits no type.
    """
    text = token.text
    if token.kind is Kind.CHARACTER:
        code = unquote_character(text)
        return NumberNode(token.offset, text, code, float(code))
    if token.kind is Kind.COMPLEX:
        match = _PARTS.fullmatch(text)
        parts = (_parse_float(match[1]), _parse_float(match[2])) if match else (None, None)
        if parts[0] is None or parts[1] is None:
            raise ValueError("syntax error scanning complex number")
        return _complex_number(token, complex(parts[0], parts[1]))
    if text.endswith("i") and (imaginary := _parse_float(text[:-1])) is not None:
        return _complex_number(token, complex(0, imaginary))
    integer = _parse_int(text)
    if integer is not None and _MIN_INT <= integer <= _MAX_INT:
        return NumberNode(token.offset, text, integer, float(integer))
    if integer is not None and _MAX_INT < integer <= _MAX_UINT:
        return NumberNode(token.offset, text, None, float(integer))
    number = _parse_float(text)
    if number is None:
        raise ValueError(f"illegal number syntax: {quote(text)}")
    if not re.search("[.eEpP]", text):
        raise ValueError(f"integer overflow: {quote(text)}")
    return NumberNode(token.offset, text, _whole(number), number)
