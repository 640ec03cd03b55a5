"""The functions that every Go template has."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final

from goldsmith.gotemplate import formatting
from goldsmith.gotemplate.data import LenientMap, is_nothing, is_true, type_name
from goldsmith.gotemplate.errors import TemplateFunctionError
from goldsmith.gotemplate.functions import AnyFunction, LogicalFunction, describe
from goldsmith.gotemplate.quoting import from_bytes, is_printable, to_bytes

_HTML = {"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JS = {
    "\\": "\\\\", "'": "\\'", '"': '\\"',
    "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D",
}  # fmt: skip
_BASIC = (str, bool, int, float, complex)


def _fail_comparison(a: object, b: object) -> TemplateFunctionError:
    return TemplateFunctionError(
        f"incompatible types for comparison: {type_name(a)} and {type_name(b)}"
    )


def not_(value: object) -> bool:
    """Whether the value is false, zero, empty or nil."""
    return not is_true(value)


def length(value: object) -> int:
    """The number of bytes of a string, or of elements of a list or map."""
    if is_nothing(value):
        raise TemplateFunctionError("len of nil pointer")
    if isinstance(value, str):
        return len(to_bytes(value))
    if isinstance(value, (list, tuple, LenientMap)):
        return len(value)
    raise TemplateFunctionError(f"len of type {type_name(value)}")


def _position(index: object, limit: int) -> int:
    """An index from 0 to `limit`, which is included: the end of a slice may be there."""
    if is_nothing(index):
        raise TemplateFunctionError("cannot index slice/array with nil")
    if not isinstance(index, int) or isinstance(index, bool):
        raise TemplateFunctionError(f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index <= limit:
        raise TemplateFunctionError(f"index out of range: {index}")
    return index


def index(item: object, *indexes: object) -> object:
    """`index x 1 2` is `x[1][2]`; a string gives the number of the byte, a map nil if it lacks."""
    if is_nothing(item):
        raise TemplateFunctionError("index of untyped nil")
    for key in indexes:
        if is_nothing(item):
            raise TemplateFunctionError("index of nil pointer")
        if isinstance(item, str):
            data = to_bytes(item)
            item = data[_position(key, len(data) - 1)]
        elif isinstance(item, (list, tuple)):
            item = item[_position(key, len(item) - 1)]
        elif not isinstance(item, LenientMap):
            raise TemplateFunctionError(f"can't index item of type {type_name(item)}")
        elif is_nothing(key):
            raise TemplateFunctionError("value is nil; should be of type string")
        elif not isinstance(key, str):
            raise TemplateFunctionError(f"value has type {type_name(key)}; should be string")
        else:
            item = item.get(key)
    return item


def slice_(item: object, *indexes: object) -> object:
    """`slice x 1 2` is `x[1:2]`, in bytes for a string."""
    if is_nothing(item):
        raise TemplateFunctionError("slice of untyped nil")
    if len(indexes) > 3:
        raise TemplateFunctionError(f"too many slice indexes: {len(indexes)}")
    if not isinstance(item, (str, list, tuple)):
        raise TemplateFunctionError(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(indexes) == 3:
        raise TemplateFunctionError("cannot 3-index slice a string")
    whole = to_bytes(item) if isinstance(item, str) else item
    bounds = [_position(bound, len(whole)) for bound in indexes]
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(whole)
    for low, high in ((start, end), (end, bounds[2] if len(bounds) > 2 else len(whole))):
        if low > high:
            raise TemplateFunctionError(f"invalid slice index: {low} > {high}")
    part = whole[start:end]
    return from_bytes(part) if isinstance(part, bytes) else part


def call(function: object, *_: object) -> object:
    """Always fails: no value of a template is a function."""
    if is_nothing(function):
        raise TemplateFunctionError("call of nil")
    raise TemplateFunctionError(f"non-function of type {type_name(function)}")


def _equal(a: object, b: object) -> bool:
    if is_nothing(a) or is_nothing(b):
        return is_nothing(a) and is_nothing(b)
    if type_name(a) != type_name(b):
        raise _fail_comparison(a, b)
    if isinstance(a, (list, tuple, LenientMap)):
        raise TemplateFunctionError(
            f"non-comparable type {formatting.sprintf('%s', [b])}: {type_name(b)}"
        )
    return a == b


def eq(first: object, *others: object) -> bool:
    """Whether the first value equals any of the others."""
    if not others:
        raise TemplateFunctionError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def ne(a: object, b: object) -> bool:
    """Whether two values differ."""
    return not _equal(a, b)


def lt(a: object, b: object) -> bool:
    """Whether a number or string is less than another one."""
    for value in (a, b):
        if not isinstance(value, _BASIC):
            raise TemplateFunctionError("invalid type for comparison")
    if type_name(a) != type_name(b):
        raise _fail_comparison(a, b)
    if isinstance(a, str) and isinstance(b, str):
        return to_bytes(a) < to_bytes(b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool):
        return a < b
    raise TemplateFunctionError("invalid type for comparison")


def le(a: object, b: object) -> bool:
    """Whether a number or string is at most another one."""
    return lt(a, b) or _equal(a, b)


def gt(a: object, b: object) -> bool:
    """Whether a number or string is greater than another one."""
    return not le(a, b)


def ge(a: object, b: object) -> bool:
    """Whether a number or string is at least another one."""
    return not lt(a, b)


def print_(*values: object) -> str:
    """The values as text, with a space between two that are no strings."""
    return formatting.sprint(values)


def printf(format: str, *values: object) -> str:
    """The values by a format of Go's."""
    return formatting.sprintf(format, values)


def println(*values: object) -> str:
    """The values as text, with spaces between them and a newline behind."""
    return formatting.sprintln(values)


def _text(values: tuple[object, ...]) -> str:
    return formatting.sprint([formatting.printable(value) for value in values])


def html(*values: object) -> str:
    """The text of the values, escaped for HTML."""
    return "".join(_HTML.get(c, c) for c in _text(values))


def _js_character(character: str) -> str:
    if character in _JS:
        return _JS[character]
    if is_printable(character):
        return character
    # A byte that is no UTF-8 shows as the replacement character.
    code = 0xFFFD if 0xDC80 <= ord(character) <= 0xDCFF else ord(character)
    return "\x7f" if code == 0x7F else f"\\u{code:04X}"


def js(*values: object) -> str:
    """The text of the values, escaped for a JavaScript string."""
    return "".join(map(_js_character, _text(values)))


def urlquery(*values: object) -> str:
    """The text of the values, escaped for the query of a URL."""
    return urllib.parse.quote_plus(to_bytes(_text(values)))


_CALLABLES: Final[Mapping[str, Callable[..., object]]] = {
    "not": not_, "len": length, "index": index, "slice": slice_, "call": call,
    "print": print_, "printf": printf, "println": println,
    "html": html, "js": js, "urlquery": urlquery,
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge,
}  # fmt: skip

BUILTINS: Final[Mapping[str, AnyFunction]] = {
    "and": LogicalFunction("and", stops_at=False),
    "or": LogicalFunction("or", stops_at=True),
    **{name: describe(name, function) for name, function in _CALLABLES.items()},
}
