"""Reaching into values: attributes, indexes, and the elements that loops and splats go through."""

from __future__ import annotations

from collections.abc import Iterable

from goldsmith.core.options import did_you_mean
from goldsmith.errors import SourceRange
from goldsmith.template.hcl2.scope import failure
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import (
    ANY,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
    Type,
    friendly_name,
)
from goldsmith.values.value import Value, number, string, unknown

_ROOTS = {
    "var": ('There is no variable "{name}": no block variable "{name}" declares {root}.{name}.'),
    "local": "There is no local value {root}.{name}.",
    "build": "There is no build value {root}.{name}.",
}


def attribute(target: Value, name: str, where: SourceRange, root: str = "") -> Value:
    """`target.name`; `root` is the target's name when it is a name, for the message.

    Raises TemplateError.
    """
    if target.is_null:
        detail = "This value is null, so it does not have any attributes."
        raise failure("Attempt to get attribute from null value", detail, where)
    known: Iterable[str] = ()
    match target.type:
        case ObjectType(attributes):
            if name in attributes:
                if not target.is_known:
                    return unknown(attributes[name]).with_marks(target.marks)
                return target.attributes[name].with_marks(target.marks)
            known = attributes
            text = f'This object does not have an attribute named "{name}".'
        case MapType(element):
            if not target.is_known:
                return unknown(element).with_marks(target.marks)
            if name in target.attributes:
                return target.attributes[name].with_marks(target.marks)
            detail = f'This map does not have an element with the key "{name}".'
            raise failure(
                "Missing map element", detail + did_you_mean(name, target.attributes), where
            )
        case _ if target.type == ANY:
            return unknown().with_marks(target.marks)
        case ListType() | SetType() | TupleType():
            text = f'A {friendly_name(target.type)} has no attribute "{name}"; use [0] or [*].'
        case _:
            text = f"This value is a {friendly_name(target.type)}: it has no attributes."
    text = _ROOTS.get(root, text).format(root=root, name=name)
    raise failure("Unsupported attribute", text + did_you_mean(name, known), where)


def index(target: Value, key: Value, where: SourceRange) -> Value:
    """`target[key]`. Raises TemplateError."""
    if target.is_null:
        detail = "This value is null, so it does not have any indices."
        raise failure("Attempt to index null value", detail, where)
    if key.is_null:
        raise failure("Invalid index", "Can't use a null value as an indexing key.", key.range)
    marks = target.marks | key.marks
    match target.type:
        case ListType() | TupleType():
            return _element(target, key).with_marks(marks)
        case MapType() | ObjectType():
            return _by_key(target, key).with_marks(marks)
        case SetType():
            detail = "Elements of a set are identified only by their value and don't have any "
            raise failure("Invalid index", detail + "separate index or key.", where)
        case _ if target.type == ANY:
            return unknown().with_marks(marks)
    detail = f"This value is a {friendly_name(target.type)}: it does not have any indices."
    raise failure("Invalid index", detail, where)


def _converted_key(key: Value, wanted: Type) -> Value:
    try:
        return convert(key, wanted)
    except ConversionError as error:
        detail = f"The given key does not identify an element in this value: {error.message}."
        raise failure("Invalid index", detail, key.range) from error


def _element(target: Value, key: Value) -> Value:
    position = _converted_key(key, NUMBER)
    if not (position.is_known and target.is_known):
        return unknown(target.type.element if isinstance(target.type, ListType) else ANY)
    elements = target.elements
    place = position.number
    if place.is_integer and 0 <= (number_of := place.to_int()) < len(elements):
        return elements[number_of]
    if place.sign < 0:
        problem = "a negative number is not a valid index for a sequence."
    elif not place.is_integer:
        problem = "indexing a sequence requires a whole number."
    elif elements:
        problem = f"the index {place.to_text()} is beyond the last one, {len(elements) - 1}."
    else:
        problem = "the collection has no elements."
    detail = f"The given key does not identify an element in this collection value: {problem}"
    raise failure("Invalid index", detail, key.range)


def _by_key(target: Value, key: Value) -> Value:
    name = _converted_key(key, STRING)
    if not (name.is_known and target.is_known):
        if isinstance(target.type, ObjectType):
            return unknown(target.type.attributes.get(name.text, ANY) if name.is_known else ANY)
        return unknown(target.type.element if isinstance(target.type, MapType) else ANY)
    found = target.attributes.get(name.text)
    if found is None:
        detail = f'The given key "{name.text}" does not identify an element in this value.'
        raise failure(
            "Invalid index", detail + did_you_mean(name.text, target.attributes), key.range
        )
    return found


def pairs(collection: Value) -> list[tuple[Value, Value]] | None:
    """Key and value of each element, in the order of loops; None for what cannot be looped over.

    Elements of a set are their own keys. The collection must be known and not null.
    """
    match collection.type:
        case ListType() | TupleType():
            return [(number(place), item) for place, item in enumerate(collection.elements)]
        case SetType():
            return [(item, item) for item in collection.elements]
        case MapType() | ObjectType():
            return [(string(name), item) for name, item in collection.attributes.items()]
        case _:
            return None
