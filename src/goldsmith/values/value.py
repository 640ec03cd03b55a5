"""A value of a template: content, type, marks and the place where it was written.

Content is `None` for null and UNKNOWN for what only a running build will know; otherwise text,
Number, bool, a tuple of values (list, set, tuple) or a dict of values (map, object; sorted by key).
Text is kept in Unicode's NFC form, as cty keeps it, so that equal-looking strings are equal.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from goldsmith.errors import GoldsmithError, SourceRange
from goldsmith.values.marks import NO_MARKS, Mark
from goldsmith.values.numbers import Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
    Type,
)


class ValueKindError(GoldsmithError):
    """A value has not the content that was asked of it."""


class Unknown(enum.Enum):
    """The content of a value that only a running build knows."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown.UNKNOWN

Raw = str | Number | bool | tuple["Value", ...] | dict[str, "Value"] | None | Unknown


@dataclass(frozen=True, slots=True)
class Value:
    """One immutable value; compares by type, content and marks, not by where it was written."""

    type: Type
    raw: Raw
    marks: frozenset[Mark] = NO_MARKS
    range: SourceRange | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        raw = tuple(self.raw.items()) if isinstance(self.raw, dict) else self.raw
        return hash((self.type, raw, self.marks))

    @property
    def is_null(self) -> bool:
        """Whether this is null, of whatever type."""
        return self.raw is None

    @property
    def is_known(self) -> bool:
        """Whether the content is there; elements inside may still be unknown."""
        return self.raw is not UNKNOWN

    @property
    def is_wholly_known(self) -> bool:
        """Whether the content and everything inside it is there."""
        return self.raw is not UNKNOWN and all(item.is_wholly_known for item in self.items())

    def items(self) -> Iterator[Value]:
        """The values directly inside: elements, or attributes in the order of their names."""
        if isinstance(self.raw, tuple):
            yield from self.raw
        elif isinstance(self.raw, dict):
            yield from self.raw.values()

    @property
    def text(self) -> str:
        """The content of a string. Raises ValueKindError for anything else, null included."""
        if isinstance(self.raw, str):
            return self.raw
        raise ValueKindError("a string is required")

    @property
    def number(self) -> Number:
        """The content of a number. Raises ValueKindError for anything else, null included."""
        if isinstance(self.raw, Number):
            return self.raw
        raise ValueKindError("a number is required")

    @property
    def truth(self) -> bool:
        """The content of a bool. Raises ValueKindError for anything else, null included."""
        if isinstance(self.raw, bool):
            return self.raw
        raise ValueKindError("a bool is required")

    @property
    def elements(self) -> tuple[Value, ...]:
        """The content of a list, set or tuple. Raises ValueKindError for anything else."""
        if isinstance(self.raw, tuple):
            return self.raw
        raise ValueKindError("a list, set or tuple is required")

    @property
    def attributes(self) -> dict[str, Value]:
        """The content of a map or object, sorted by key. Raises ValueKindError otherwise."""
        if isinstance(self.raw, dict):
            return self.raw
        raise ValueKindError("a map or object is required")

    def with_marks(self, marks: Iterable[Mark]) -> Value:
        """The same value with these marks added to its own."""
        added = frozenset(marks)
        return self if added <= self.marks else replace(self, marks=self.marks | added)

    def without_marks(self) -> Value:
        """The same value without its own marks; those of its elements stay."""
        return replace(self, marks=NO_MARKS) if self.marks else self

    def at(self, range: SourceRange | None) -> Value:
        """The same value, written there."""
        return replace(self, range=range)


def all_marks(value: Value) -> frozenset[Mark]:
    """The marks of a value and of everything inside it."""
    marks = value.marks
    for item in value.items():
        marks |= all_marks(item)
    return marks


def unmarked(value: Value) -> Value:
    """The value without any marks, its own or those of what is inside."""
    if isinstance(value.raw, tuple):
        raw: Raw = tuple(unmarked(item) for item in value.raw)
    elif isinstance(value.raw, dict):
        raw = {key: unmarked(item) for key, item in value.raw.items()}
    else:
        raw = value.raw
    return Value(value.type, raw, NO_MARKS, value.range)


def string(text: str) -> Value:
    """A string value, in NFC."""
    return Value(STRING, text if text.isascii() else unicodedata.normalize("NFC", text))


def number(value: Number | int | float) -> Value:
    """A number value; an int keeps 64 bits of precision or more, a float 53, as in Go."""
    return Value(NUMBER, value if isinstance(value, Number) else Number.of(value))


TRUE = Value(BOOL, True)
FALSE = Value(BOOL, False)


def boolean(value: bool) -> Value:
    """A bool value."""
    return TRUE if value else FALSE


def null(type: Type = ANY) -> Value:
    """Null, of a type if one is known."""
    return Value(type, None)


def unknown(type: Type = ANY) -> Value:
    """A value that only a running build knows; of type `any` when not even its type is known."""
    return Value(type, UNKNOWN)


def tuple_of(values: Iterable[Value]) -> Value:
    """A tuple of any values, as `[1, "a"]` makes one."""
    elements = tuple(values)
    return Value(TupleType(tuple(element.type for element in elements)), elements)


def object_of(attributes: Mapping[str, Value]) -> Value:
    """An object of any attributes, as `{a = 1}` makes one."""
    by_name = _sorted(attributes)
    return Value(ObjectType({name: item.type for name, item in by_name.items()}), by_name)


def list_of(element_type: Type, values: Iterable[Value]) -> Value:
    """A list; the values must have the element type already."""
    return Value(ListType(element_type), tuple(values))


def map_of(element_type: Type, items: Mapping[str, Value]) -> Value:
    """A map; the values must have the element type already."""
    return Value(MapType(element_type), _sorted(items))


def set_of(element_type: Type, values: Iterable[Value]) -> Value:
    """A set without duplicates in canonical order; marks of the elements move to the set."""
    marks = NO_MARKS
    distinct: dict[Value, None] = {}
    for value in values:
        marks |= all_marks(value)
        distinct.setdefault(unmarked(value))
    return Value(SetType(element_type), tuple(sorted(distinct, key=_set_order)), marks)


def _sorted(items: Mapping[str, Value]) -> dict[str, Value]:
    """By code points, which is the byte order of UTF-8."""
    return {key: items[key] for key in sorted(items)}


def _set_order(value: Value) -> tuple[int, Any]:
    """Sort key of set elements: by content, unknowns after it, nulls last."""
    if value.raw is None:
        return (2, 0)
    if value.raw is UNKNOWN:
        return (1, 0)
    if isinstance(value.raw, str | Number | bool):
        return (0, value.raw)
    return (0, _structure_key(value))


def _structure_key(value: Value) -> str:
    """A text that orders lists, tuples, maps and objects of one type."""
    match value.raw:
        case None:
            return "~"
        case Unknown():
            return "?"
        case bool():
            return "T" if value.raw else "F"
        case Number():
            return value.raw.to_text()
        case str():
            return f'"{value.raw}"'
        case tuple():
            return "[" + "".join(_structure_key(item) + ";" for item in value.raw) + "]"
        case dict():
            pairs = (f'"{key}":{_structure_key(item)};' for key, item in value.raw.items())
            return "{" + "".join(pairs) + "}"


def from_python(content: Any) -> Value:
    """A value from plain Python data: None, bool, int, float, str, sequences, mappings, values.

    Sequences become tuples and mappings objects. Raises ValueKindError for anything else.
    """
    match content:
        case Value():
            return content
        case None:
            return null()
        case bool():
            return boolean(content)
        case int() | float() | Number():
            return number(content)
        case str():
            return string(content)
        case Mapping():
            return object_of({str(key): from_python(item) for key, item in content.items()})
        case list() | tuple():
            return tuple_of(from_python(item) for item in content)
        case _:
            pass
    raise ValueKindError(f"a {type(content).__name__} has no place in a template")


def to_python(value: Value) -> Any:
    """Plain Python data: whole numbers become ints, others floats; lists, sets, tuples lists.

    Raises ValueKindError for values that are not known yet.
    """
    match value.raw:
        case Unknown():
            raise ValueKindError("a value that only a running build knows was used before it runs")
        case Number():
            return value.raw.to_python()
        case tuple():
            return [to_python(item) for item in value.raw]
        case dict():
            return {key: to_python(item) for key, item in value.raw.items()}
        case _:
            return value.raw
