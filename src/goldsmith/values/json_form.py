"""JSON as `jsondecode`, `jsonencode` and JSON templates see it: cty's reading, Go's spelling."""

from __future__ import annotations

import json
import re
from typing import Any

from goldsmith.errors import GoldsmithError
from goldsmith.values.numbers import Number
from goldsmith.values.value import Unknown, Value, from_python

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}
_ESCAPED = re.compile('["\\\\\x00-\x1f<>&\u2028\u2029]')


class JsonError(GoldsmithError):
    """A text is not JSON, or a value cannot be written as JSON."""


def decode(text: str) -> Value:
    """The value of a JSON document: objects, tuples, exact numbers; the last duplicate key wins.

    Raises JsonError that names the offending character.
    """
    try:
        content = json.loads(
            text,
            parse_int=Number.parse,
            parse_float=Number.parse,
            parse_constant=_refuse_constant,
        )
        return from_python(_paired(content))
    except json.JSONDecodeError as error:
        found = text[error.pos : error.pos + 1]
        reason = f"invalid character '{found}'" if found else "unexpected end of JSON input"
        raise JsonError(f"{reason} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise JsonError("the document is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise JsonError(f"{name} is not JSON")


def _paired(content: Any) -> Any:
    """Halves of surrogate pairs that stand alone become U+FFFD, as in Go."""
    if isinstance(content, str):
        if not any("\ud800" <= character <= "\udfff" for character in content):
            return content
        return content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(content, list):
        return [_paired(item) for item in content]
    if isinstance(content, dict):
        return {_paired(key): _paired(item) for key, item in content.items()}
    return content


def encode(value: Value) -> str:
    """The value as compact JSON: keys sorted, numbers as exact decimals, `< > &` escaped.

    Raises JsonError for values that are not known yet and for infinity.
    """
    match value.raw:
        case Unknown():
            raise JsonError("a value that only a running build knows cannot be written as JSON")
        case None:
            return "null"
        case bool():
            return "true" if value.raw else "false"
        case Number():
            if value.raw.is_infinite:
                raise JsonError("infinity cannot be written as JSON")
            return value.raw.to_text()
        case str():
            return quote(value.raw)
        case tuple():
            return "[" + ",".join(encode(item) for item in value.raw) + "]"
        case dict():
            pairs = (f"{quote(key)}:{encode(item)}" for key, item in value.raw.items())
            return "{" + ",".join(pairs) + "}"


def quote(text: str) -> str:
    """A JSON string as Go's encoder writes it."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"
