"""From the content of a block without strict types to what a component's options ask for.

In JSON templates an object stands for a block. In the older ones besides, option names are taken in
any case, and values are turned into the wanted type as far as any reading of them allows:
mapstructure's weak conversions with Packer's own, "a,b" for a list of texts among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic.fields import FieldInfo

from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.core.options import Options, language_type, nested_options, option_fields
from goldsmith.errors import SourceRange
from goldsmith.values.numbers import Number
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType, MapType, Type
from goldsmith.values.value import Value, boolean, number, object_of, string, tuple_of

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("", "0", "f", "F", "false", "FALSE", "False")


def tightened(body: RawBody, model: type[Options]) -> RawBody:
    """The same content with blocks, exact names and fitting types where the model has them.

    What cannot be converted stays as it is: reading the options finds it then.
    """
    if not body.loose and not body.objects_as_blocks:
        return body
    fields = option_fields(model)
    by_lower_case = {name.lower(): name for name in fields}
    attributes: dict[str, Value] = {}
    names: dict[str, SourceRange] = {}
    blocks: list[RawBlock] = list(body.blocks)
    for given, value in body.attributes.items():
        name = given
        if body.loose and given not in fields:
            name = by_lower_case.get(given.lower(), given)
        where = body.names.get(given, value.range)
        field = fields.get(name)
        inner = nested_options(field.annotation) if field else None
        objects = _objects(value) if inner else None
        if inner and objects is not None:
            for one in objects:
                if body.loose:
                    blocks += _loose_blocks(name, one, inner[0])
                else:
                    blocks += _blocks(name, one, inner[0], ())
            continue
        attributes[name] = _fitting(value, field) if body.loose else value
        if where is not None:
            names[name] = where
    return RawBody(attributes, names, tuple(blocks), body.range, common=body.common)


def _objects(value: Value) -> list[Value] | None:
    """The blocks that a value stands for; None where it stands for none."""
    if value.is_null:
        return []
    items = list(value.raw) if isinstance(value.raw, tuple) else [value]
    return items if all(isinstance(item.raw, dict) for item in items) else None


def _loose_blocks(name: str, value: Value, model: type[Options]) -> list[RawBlock]:
    """The blocks of an object: its label is an argument, or a key above it as in HCL's JSON."""
    inner = value.attributes
    if (
        len(model.labels) == 1 and inner and model.labels[0] not in inner
        and all(isinstance(one.raw, dict) for one in inner.values())
    ):  # fmt: skip
        return [_block(name, one, model, (label,)) for label, one in inner.items()]
    return [_block(name, value, model)]


def _block(name: str, value: Value, model: type[Options], labels: tuple[str, ...] = ()) -> RawBlock:
    attributes = dict(value.attributes)
    labels = labels or tuple(
        attributes.pop(label).text
        for label in model.labels
        if label in attributes and isinstance(attributes[label].raw, str)
    )
    names = {key: item.range for key, item in attributes.items() if item.range is not None}
    loose = RawBody(attributes, names, (), value.range, loose=True)
    return RawBlock(name, labels, tightened(loose, model), value.range)


def _blocks(
    name: str, value: Value, model: type[Options], labels: tuple[str, ...]
) -> list[RawBlock]:
    """The blocks of an object in JSON syntax: below a level of keys for each label."""
    if len(labels) < len(model.labels):
        return [
            block
            for label, inner in value.attributes.items()
            for one in _objects(inner) or ()
            for block in _blocks(name, one, model, (*labels, label))
        ]
    attributes = value.attributes
    names = {key: item.range for key, item in attributes.items() if item.range is not None}
    body = RawBody(attributes, names, (), value.range, objects_as_blocks=True)
    return [RawBlock(name, labels, tightened(body, model), value.range)]


def _fitting(value: Value, field: FieldInfo | None) -> Value:
    if field is None or not value.is_wholly_known:
        return value
    return weakly_converted(value, language_type(field.annotation, field.metadata))


def weakly_converted(value: Value, wanted: Type) -> Value:
    """The value, made to fit a type as far as a weak conversion goes; else unchanged."""
    if value.is_null:
        return value
    match wanted:
        case ListType():
            made = _list(value, wanted.element)
        case MapType():
            made = _map(value, wanted.element)
        case _ if wanted == BOOL:
            made = _bool(value)
        case _ if wanted == NUMBER:
            made = _number(value)
        case _ if wanted == STRING and isinstance(value.raw, bool):
            made = string("1" if value.raw else "0")
        case _:
            return value
    return replace(made, range=value.range, marks=made.marks | value.marks)


def _bool(value: Value) -> Value:
    match value.raw:
        case str() if value.raw in (*_TRUE, *_FALSE):
            return boolean(value.raw in _TRUE)
        case Number():
            return boolean(value.raw.sign != 0)
        case _:
            return value


def _number(value: Value) -> Value:
    if isinstance(value.raw, bool):
        return number(int(value.raw))
    return number(0) if value.raw == "" else value


def _list(value: Value, element: Type) -> Value:
    match value.raw:
        case tuple():
            items = value.raw
        case str():
            parts = value.raw.split(",") if value.raw else []
            items = tuple(string(part).at(value.range) for part in parts)
        case dict() if not value.raw:
            items = ()
        case _:
            items = (value,)
    return tuple_of(weakly_converted(item, element) for item in items)


def _map(value: Value, element: Type) -> Value:
    items: Mapping[str, Value]
    match value.raw:
        case dict():
            items = value.raw
        case tuple() if all(isinstance(item.raw, dict) for item in value.raw):
            items = {key: item for one in value.raw for key, item in one.attributes.items()}
        case _:
            return value
    return object_of({key: weakly_converted(item, element) for key, item in items.items()})
