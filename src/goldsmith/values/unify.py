"""The one type that several values can share, and equality of values.

Conditionals, lists of `any` and several functions need a common type for values of different ones:
text wins over numbers and bools, tuples of one length unify element by element, other tuples become
lists, objects of the same attributes stay objects, others become maps. No conversion between
numbers and bools exists, so those two never meet.
"""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.values.types import (
    ANY,
    BOOL,
    STRING,
    AnyType,
    ListType,
    MapType,
    ObjectType,
    PrimitiveType,
    SetType,
    TupleType,
    Type,
)
from goldsmith.values.value import Unknown, Value, all_marks, boolean, unknown


def unify(types: Sequence[Type]) -> Type | None:
    """The type that values of all these types can be converted to; None when there is none.

    `any` (an untyped null, or a value not known yet) goes along with whatever the others are.
    """
    distinct = list(dict.fromkeys(types))
    known = [one for one in distinct if not isinstance(one, AnyType)]
    if not known:
        return ANY
    if len(known) == 1:
        return known[0]
    if all(isinstance(one, PrimitiveType) for one in known):
        return STRING if STRING in known else None
    if all(isinstance(one, TupleType) for one in known):
        return _unify_tuples([one for one in known if isinstance(one, TupleType)])
    if all(isinstance(one, ObjectType) for one in known):
        return _unify_objects([one for one in known if isinstance(one, ObjectType)])
    if all(isinstance(one, MapType | ObjectType) for one in known):
        element = unify([part for one in known for part in _parts(one)])
        return None if element is None else MapType(element)
    if all(isinstance(one, ListType | SetType | TupleType) for one in known):
        element = unify([part for one in known for part in _parts(one)])
        if element is None:
            return None
        # A list converts to a set and a set to a list; the one that keeps the order is safe.
        if all(isinstance(one, SetType) for one in known):
            return SetType(element)
        return ListType(element)
    return None


def _parts(of: Type) -> list[Type]:
    match of:
        case ListType(element) | SetType(element) | MapType(element):
            return [element]
        case TupleType(elements):
            return list(elements)
        case ObjectType(attributes):
            return list(attributes.values())
        case _:
            return []


def _unify_tuples(types: list[TupleType]) -> Type | None:
    if len({len(one.elements) for one in types}) == 1:
        columns = [unify(column) for column in zip(*(one.elements for one in types), strict=True)]
        if all(column is not None for column in columns):
            return TupleType(tuple(column for column in columns if column is not None))
        return None
    element = unify([part for one in types for part in one.elements])
    return None if element is None else ListType(element)


def _unify_objects(types: list[ObjectType]) -> Type | None:
    names = list(types[0].attributes)
    if all(list(one.attributes) == names for one in types):
        attributes = {name: unify([one.attributes[name] for one in types]) for name in names}
        known = {name: of for name, of in attributes.items() if of is not None}
        return ObjectType(known) if len(known) == len(names) else None
    element = unify([part for one in types for part in one.attributes.values()])
    return None if element is None else MapType(element)


def equal(a: Value, b: Value) -> Value:
    """Whether two values are the same, as `==` says: no conversion, other types are unequal.

    The answer is unknown where it depends on something unknown, and carries the marks of both.
    """
    outcome = _same(a, b)
    answer = unknown(BOOL) if outcome is None else boolean(outcome)
    return answer.with_marks(all_marks(a) | all_marks(b))


def _same(a: Value, b: Value) -> bool | None:
    """True, False, or None for "not known yet"."""
    if a.raw is None or b.raw is None:
        if isinstance(a.raw, Unknown) or isinstance(b.raw, Unknown):
            return None
        return a.raw is None and b.raw is None
    if isinstance(a.raw, Unknown) or isinstance(b.raw, Unknown):
        return None if _may_be_same_type(a.type, b.type) else False
    if isinstance(a.raw, tuple) and isinstance(b.raw, tuple):
        if type(a.type) is not type(b.type) or len(a.raw) != len(b.raw):
            return False
        if isinstance(a.type, SetType) and not (a.is_wholly_known and b.is_wholly_known):
            return None
        if not _may_be_same_type(a.type, b.type):
            return False
        return _all_same(list(zip(a.raw, b.raw, strict=True)))
    if isinstance(a.raw, dict) and isinstance(b.raw, dict):
        if list(a.raw) != list(b.raw) or not _may_be_same_type(a.type, b.type):
            return False
        return _all_same([(a.raw[key], b.raw[key]) for key in a.raw])
    return a.type == b.type and a.raw == b.raw


def _all_same(pairs: list[tuple[Value, Value]]) -> bool | None:
    outcomes = [_same(x, y) for x, y in pairs]
    if False in outcomes:
        return False
    return None if None in outcomes else True


def _may_be_same_type(a: Type, b: Type) -> bool:
    """Whether two types are equal, taking `any` for whatever it may turn out to be."""
    if isinstance(a, AnyType) or isinstance(b, AnyType) or a == b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, ObjectType) and isinstance(b, ObjectType):
        return list(a.attributes) == list(b.attributes) and all(
            _may_be_same_type(a.attributes[name], b.attributes[name]) for name in a.attributes
        )
    parts, others = _parts(a), _parts(b)
    return (
        bool(parts)
        and len(parts) == len(others)
        and all(_may_be_same_type(x, y) for x, y in zip(parts, others, strict=True))
    )
