"""Conversion of values between types, by cty's rules.

Text, numbers and bools convert where the text says the same; structures convert element by
element; `any` inside a wished type is settled by the value. Sensitive and other marks stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from goldsmith.errors import GoldsmithError
from goldsmith.values.numbers import NotANumber, Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    AnyType,
    ListType,
    MapType,
    ObjectType,
    PrimitiveType,
    SetType,
    TupleType,
    Type,
    contains_any,
    friendly_name,
    without_optional,
)
from goldsmith.values.unify import unify
from goldsmith.values.value import Unknown, Value, null, object_of, set_of, tuple_of, unknown

Path = tuple[str | int, ...]

_BOOLS = {"true": True, "1": True, "false": False, "0": False}


class ConversionError(GoldsmithError):
    """A value does not fit a type; `path` leads to the part of it that does not."""

    def __init__(self, message: str, path: Path = ()) -> None:
        self.path = path
        self.reason = message
        super().__init__(f"{path_text(path)}: {message}" if path else message)


def path_text(path: Path) -> str:
    """A path as templates write it: `.name`, `[0]`, `["a b"]`."""
    parts = [
        f"[{step}]"
        if isinstance(step, int)
        else f".{step}"
        if step.isidentifier()
        else f'["{step}"]'
        for step in path
    ]
    text = "".join(parts)
    return f"attribute {text[1:]}" if text.startswith(".") else f"element {text}"


def convert(value: Value, type: Type) -> Value:
    """The value as one of `type`; marks and range stay.

    Raises ConversionError with the path to the part that does not fit.
    """
    return _convert(value, type, ())


def _convert(value: Value, wanted: Type, path: Path) -> Value:
    if value.type == wanted or isinstance(wanted, AnyType):
        return value
    if value.raw is None:
        return replace(null(_settled(wanted)), marks=value.marks, range=value.range)
    if isinstance(value.type, AnyType):
        return replace(unknown(_settled(wanted)), marks=value.marks, range=value.range)
    if isinstance(wanted, PrimitiveType):
        converted = _to_primitive(value, wanted, path)
    elif isinstance(value.raw, Unknown):
        converted = _unknown_of(value, wanted, path)
    elif isinstance(wanted, ListType | SetType):
        converted = _to_sequence(value, wanted, path)
    elif isinstance(wanted, MapType):
        converted = _to_map(value, wanted, path)
    elif isinstance(wanted, ObjectType):
        converted = _to_object(value, wanted, path)
    elif isinstance(wanted, TupleType):
        converted = _to_tuple(value, wanted, path)
    else:
        raise _mismatch(value, wanted, path)
    return replace(converted, marks=value.marks | converted.marks, range=value.range)


def _settled(wanted: Type) -> Type:
    """The type of a null or unknown: as wished, or `any` where the wish is open."""
    return ANY if contains_any(wanted) else without_optional(wanted)


def _mismatch(value: Value, wanted: Type, path: Path) -> ConversionError:
    name = friendly_name(wanted)
    if wanted in (NUMBER, BOOL):
        return ConversionError(f"a {name} is required", path)
    return ConversionError(f"{name} required", path)


def _to_primitive(value: Value, wanted: PrimitiveType, path: Path) -> Value:
    raw = value.raw
    if not isinstance(value.type, PrimitiveType) or {value.type, wanted} == {BOOL, NUMBER}:
        raise _mismatch(value, wanted, path)
    if isinstance(raw, Unknown):
        return unknown(wanted)
    if wanted == STRING:
        if isinstance(raw, Number):
            try:
                return Value(STRING, raw.to_text())
            except NotANumber as error:
                raise ConversionError(error.message, path) from error
        return Value(STRING, "true" if raw else "false")
    text = value.text
    if wanted == NUMBER:
        try:
            return Value(NUMBER, Number.parse(text))
        except NotANumber as error:
            raise ConversionError(error.message, path) from None
    if text in _BOOLS:
        return Value(BOOL, _BOOLS[text])
    lowered = text.lower()
    if lowered in ("true", "false"):
        raise ConversionError(
            f'a bool is required; to convert from string, use lowercase "{lowered}"', path
        )
    raise ConversionError("a bool is required", path)


def _unknown_of(value: Value, wanted: Type, path: Path) -> Value:
    """An unknown of the wished type, when some value of its type could fit."""
    source = value.type
    fits: bool
    match wanted:
        case ListType() | SetType():
            fits = isinstance(source, ListType | SetType | TupleType)
        case MapType():
            fits = isinstance(source, MapType | ObjectType)
        case ObjectType(attributes, optional):
            fits = isinstance(source, MapType) or (
                isinstance(source, ObjectType)
                and all(name in source.attributes or name in optional for name in attributes)
            )
        case TupleType(elements):
            fits = isinstance(source, TupleType) and len(source.elements) == len(elements)
        case _:
            fits = False
    if not fits:
        raise _mismatch(value, wanted, path)
    return unknown(_settled(wanted))


def _to_sequence(value: Value, wanted: ListType | SetType, path: Path) -> Value:
    if not isinstance(value.raw, tuple):
        raise _mismatch(value, wanted, path)
    element_type, elements = _uniform(
        value.raw, wanted.element, [(*path, index) for index in range(len(value.raw))], value.type
    )
    if isinstance(wanted, SetType):
        return set_of(element_type, elements)
    return Value(ListType(element_type), tuple(elements))


def _to_map(value: Value, wanted: MapType, path: Path) -> Value:
    if not isinstance(value.raw, dict):
        raise _mismatch(value, wanted, path)
    element_type, elements = _uniform(
        tuple(value.raw.values()), wanted.element, [(*path, key) for key in value.raw], value.type
    )
    return Value(MapType(element_type), dict(zip(value.raw, elements, strict=True)))


def _uniform(
    items: tuple[Value, ...], wanted: Type, paths: Iterable[Path], source: Type
) -> tuple[Type, list[Value]]:
    """The items as values of one type: the wished one, or what they have in common."""
    paths = list(paths)
    converted = [_convert(item, wanted, path) for item, path in zip(items, paths, strict=True)]
    if not contains_any(wanted):
        return without_optional(wanted), converted
    if not converted:
        if isinstance(source, ListType | SetType | MapType):
            return source.element, []
        return _settled(wanted), []
    common = unify([item.type for item in converted])
    if common is None:
        raise ConversionError(
            "all elements must have the same type", paths[0][:-1] if paths else ()
        )
    return common, [
        _convert(item, common, path) for item, path in zip(converted, paths, strict=True)
    ]


def _to_object(value: Value, wanted: ObjectType, path: Path) -> Value:
    if not isinstance(value.raw, dict):
        raise _mismatch(value, wanted, path)
    missing = [
        name for name in wanted.attributes if name not in value.raw and name not in wanted.optional
    ]
    if missing:
        raise ConversionError(_missing_text(missing), path)
    return object_of(
        {name: _attribute(value.raw, name, wanted, (*path, name)) for name in wanted.attributes}
    )


def _attribute(attributes: Mapping[str, Value], name: str, wanted: ObjectType, path: Path) -> Value:
    """One attribute of an object, or its default where it is absent or null."""
    of = wanted.attributes[name]
    given = attributes.get(name)
    if given is None or (given.raw is None and name in wanted.defaults):
        given = wanted.defaults.get(name, null(_settled(of)))
    return _convert(given, of, path)


def _missing_text(names: list[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    if len(quoted) == 1:
        return f"attribute {quoted[0]} is required"
    return f"attributes {', '.join(quoted[:-1])} and {quoted[-1]} are required"


def _to_tuple(value: Value, wanted: TupleType, path: Path) -> Value:
    if not isinstance(value.raw, tuple) or isinstance(value.type, SetType):
        raise _mismatch(value, wanted, path)
    if len(value.raw) != len(wanted.elements):
        raise ConversionError(
            f"tuple of {len(wanted.elements)} elements required, got {len(value.raw)}", path
        )
    pairs = zip(value.raw, wanted.elements, strict=True)
    return tuple_of(_convert(item, of, (*path, index)) for index, (item, of) in enumerate(pairs))
