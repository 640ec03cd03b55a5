"""Values as Packer shows them to people: in `inspect`, and at its console."""

from __future__ import annotations

from goldsmith.gotemplate.floats import SHORTEST, format_float
from goldsmith.gotemplate.quoting import quote
from goldsmith.redact import MASK
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.numbers import Number
from goldsmith.values.value import Unknown, Value, all_marks

UNKNOWN_TEXT = "<unknown>"


def display(value: Value) -> str:
    """A value as text: a text alone as it is, all others in the language's own form.

    What is sensitive, or was made from something that is, is masked as a whole. An attribute that
    is null is left out.
    """
    if SENSITIVE in all_marks(value):
        return MASK
    return value.raw if isinstance(value.raw, str) else _nested(value, "")


def _nested(value: Value, indent: str) -> str:
    inner = indent + "  "
    match value.raw:
        case None:
            return "null"
        case Unknown():
            return UNKNOWN_TEXT
        case bool():
            return "true" if value.raw else "false"
        case Number():
            return _number(value.raw)
        case str():
            return quote(value.raw)
        case tuple():
            lines = [f"{inner}{_nested(item, inner)},\n" for item in value.raw]
            return f"[\n{''.join(lines)}{indent}]" if lines else "[]"
        case dict():
            lines = [
                f"{inner}{quote(key)} = {_nested(item, inner)}\n"
                for key, item in value.raw.items()
                if not item.is_null
            ]
            return f"{{\n{''.join(lines)}{indent}}}" if lines else "{}"


def _number(number: Number) -> str:
    """An int64 exactly, any other number as a float of 64 bits."""
    if number.is_integer and -(1 << 63) <= number.to_int() < 1 << 63:
        return str(number.to_int())
    return format_float(number.to_float(), "g", SHORTEST)
