"""Values of templates as JSON with their type: how Packer tells plugins the body of a block."""

from __future__ import annotations

import json
from typing import Any, Final

from goldsmith.plugin.wire.errors import ProtocolError, WireError
from goldsmith.values import json_form
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    PrimitiveType,
    SetType,
    TupleType,
    Type,
)
from goldsmith.values.value import Value

_PRIMITIVES: Final = {"string": STRING, "number": NUMBER, "bool": BOOL, "dynamic": ANY}
_DEEPEST: Final = 64


def encode(value: Value) -> bytes:
    """`{"value": ..., "type": ...}`; raises WireError for what is not known yet."""
    try:
        content = json_form.encode(value)
    except json_form.JsonError as e:
        raise WireError(str(e)) from e
    return f'{{"value":{content},"type":{encode_type(value.type)}}}'.encode()


def decode(data: bytes) -> Value:
    """Read it; raises ProtocolError."""
    try:
        whole = json_form.decode(data.decode("utf-8", "replace"))
    except json_form.JsonError as e:
        raise ProtocolError(str(e)) from e
    parts = whole.raw if isinstance(whole.raw, dict) else {}
    if "value" not in parts or "type" not in parts:
        raise ProtocolError("a value from the other side lacks its type")
    try:
        return convert(parts["value"], decode_type(json_form.encode(parts["type"])))
    except ConversionError as e:
        raise ProtocolError(f"a value from the other side is not of its own type: {e}") from e


def encode_type(of: Type) -> str:
    """A type as JSON: "string", ["list", "string"], ["object", {...}]."""
    return json.dumps(_type_form(of), separators=(",", ":"), ensure_ascii=False)


def _type_form(of: Type) -> Any:
    match of:
        case PrimitiveType(name):
            return name
        case ListType(element):
            return ["list", _type_form(element)]
        case SetType(element):
            return ["set", _type_form(element)]
        case MapType(element):
            return ["map", _type_form(element)]
        case ObjectType(attributes):
            return ["object", {name: _type_form(inner) for name, inner in attributes.items()}]
        case TupleType(elements):
            return ["tuple", [_type_form(inner) for inner in elements]]
        case _:
            return "dynamic"


def decode_type(text: str | bytes) -> Type:
    """Read a type; raises ProtocolError."""
    try:
        form = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ProtocolError("a type from the other side is no JSON") from e
    return _type(form, 0)


def _type(form: Any, depth: int) -> Type:
    if depth > _DEEPEST:
        raise ProtocolError("a type from the other side is nested too deeply")
    match form:
        case str() if form in _PRIMITIVES:
            return _PRIMITIVES[form]
        case ["list", inner]:
            return ListType(_type(inner, depth + 1))
        case ["set", inner]:
            return SetType(_type(inner, depth + 1))
        case ["map", inner]:
            return MapType(_type(inner, depth + 1))
        case ["object", dict() as inner, *_]:
            return ObjectType({name: _type(of, depth + 1) for name, of in inner.items()})
        case ["tuple", list() as inner]:
            return TupleType(tuple(_type(of, depth + 1) for of in inner))
        case _:
            raise ProtocolError(f"a type from the other side is unknown: {str(form)[:80]}")
