"""JSON Schema of components, from the models that read their options.

A schema describes a block as it stands in a template in JSON syntax. An expression ("${var.size}")
may stand for any value there, so every number and switch may also be a text.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goldsmith.core.options import (
    Options,
    WrittenAs,
    language_type,
    nested_options,
    option_fields,
)
from goldsmith.core.registry import Registry
from goldsmith.units import format_duration, format_size
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType, MapType, Type

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LABELS: Final = "x-goldsmith-labels"
"""The key that tells which properties of a block are its labels in HCL2, in order."""

Schema = dict[str, Any]
_PLAIN: Final[dict[Type, list[str]]] = {
    STRING: ["string", "number", "boolean"],
    NUMBER: ["number", "string"],
    BOOL: ["boolean", "string"],
}


def component_schemas(registry: Registry, kinds: tuple[str, ...]) -> dict[str, Schema]:
    """The schema of every component, by "KIND.TYPE", sorted within each kind."""
    return {
        f"{kind.replace(' ', '-')}.{name}": options_schema(registry.get(kind, name).options_model)
        for kind in kinds
        for name in registry.names(kind)
    }


def document(schemas: dict[str, Schema]) -> Schema:
    """One schema that holds all of them as definitions."""
    return {
        "$schema": DIALECT,
        "title": "The options of goldsmith's components",
        "$defs": schemas,
    }


def options_schema(model: type[Options]) -> Schema:
    """The schema of one block of options."""
    properties = {name: _field(model, name, field) for name, field in option_fields(model).items()}
    required = [name for name, field in option_fields(model).items() if field.is_required()]
    schema: Schema = {"type": "object"}
    if text := (model.__doc__ or "").strip():
        schema["description"] = " ".join(text.split())
    if model.labels:
        schema[LABELS] = list(model.labels)
    schema |= {"properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _field(model: type[Options], name: str, field: FieldInfo) -> Schema:
    nested = nested_options(field.annotation)
    if nested is not None:
        block, repeated = nested
        inner = options_schema(block)
        schema: Schema = {"type": "array", "items": inner} if repeated else inner
    else:
        schema = _value(language_type(field.annotation, field.metadata))
        if name in model.labels:
            schema = {"type": "string"}
        if words := _words(field.annotation):
            schema = {"anyOf": [{"enum": words}, {"type": "string", "pattern": r"[$%]\{"}]}
    if field.description:
        schema["description"] = field.description
    default = _default(field)
    return schema if default is None else schema | {"default": default}


def _value(wanted: Type) -> Schema:
    match wanted:
        case ListType():
            return {"anyOf": [{"type": "array", "items": _value(wanted.element)}, _expression()]}
        case MapType():
            values = _value(wanted.element)
            return {"anyOf": [{"type": "object", "additionalProperties": values}, _expression()]}
        case _:
            return {"type": _PLAIN[wanted]} if wanted in _PLAIN else {}


def _expression() -> Schema:
    return {"type": "string", "pattern": r"^\$\{.*\}$"}


def _words(annotation: Any) -> list[Any]:
    """The words that a Literal allows, at the top of an annotation; none for anything else."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return list(arguments)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return _words(inner[0]) if len(inner) == 1 else []
    return []


def _default(field: FieldInfo) -> Any:
    """The default as it would be written; None where there is none."""
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or isinstance(value, Options):
        return None
    if any(isinstance(item, WrittenAs) for item in field.metadata):
        return format_size(value) if isinstance(value, int) else format_duration(value)
    if isinstance(value, tuple):
        return None if any(isinstance(item, Options) for item in value) else list(value)
    return value
