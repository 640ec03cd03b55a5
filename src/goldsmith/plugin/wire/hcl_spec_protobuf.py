"""The specification of a component's HCL2 body as a protobuf message (Packer 1.12 and later)."""

from __future__ import annotations

from typing import Final

from goldsmith.plugin.wire.hcl_spec import (
    AttributeSpec,
    BlockListSpec,
    BlockSpec,
    ObjectSpec,
    Spec,
)
from goldsmith.plugin.wire.protobuf import (
    ProtobufError,
    bytes_field,
    fields,
    last_fields,
    varint_field,
)
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType, MapType, Type, type_text

DEEPEST: Final = 64
_OBJECT, _ATTRIBUTE, _BLOCK, _BLOCK_LIST = 1, 2, 3, 4
_PRIMITIVE, _LIST, _MAP = 1, 2, 3
_PRIMITIVES: Final = {b"cty.String": STRING, b"cty.Number": NUMBER, b"cty.Bool": BOOL}
_PRIMITIVE_NAMES: Final = {of: name for name, of in _PRIMITIVES.items()}


def encode_spec(spec: ObjectSpec) -> bytes:
    """The message; raises ProtobufError for a type that it cannot say."""
    return _of_object(spec)


def _of_object(spec: ObjectSpec) -> bytes:
    entries = (
        bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, _of_entry(entry)))
        for name, entry in spec.entries.items()
    )
    return bytes_field(_OBJECT, b"".join(entries))


def _of_entry(entry: Spec) -> bytes:
    name = bytes_field(1, entry.name.encode())
    match entry:
        case AttributeSpec():
            of = bytes_field(2, _of_type(entry.type))
            return bytes_field(_ATTRIBUTE, name + of + varint_field(3, entry.required))
        case BlockSpec():
            nested = bytes_field(3, _of_object(entry.nested))
            return bytes_field(_BLOCK, name + varint_field(2, entry.required) + nested)
        case BlockListSpec():
            return bytes_field(_BLOCK_LIST, name + bytes_field(2, _of_object(entry.nested)))


def _of_type(of: Type) -> bytes:
    if of in _PRIMITIVE_NAMES:
        return bytes_field(_PRIMITIVE, bytes_field(1, _PRIMITIVE_NAMES[of]))
    match of:
        case ListType(element):
            return bytes_field(_LIST, bytes_field(1, _of_type(element)))
        case MapType(element):
            return bytes_field(_MAP, bytes_field(1, _of_type(element)))
        case _:
            raise ProtobufError(f"an option of a plugin cannot have the type {type_text(of)}")


def decode_spec(data: bytes) -> ObjectSpec:
    """Read the message; raises ProtobufError."""
    return _object(data, 0)


def _only(data: bytes) -> tuple[int, bytes]:
    """The one field of a message that is a choice."""
    found = last_fields(data)
    if len(found) != 1:
        raise ProtobufError(f"a protobuf choice has {len(found)} fields")
    number, content = found.popitem()
    if not isinstance(content, bytes):
        raise ProtobufError("a protobuf choice has a number where a message belongs")
    return number, content


def _part(found: dict[int, int | bytes], number: int) -> bytes:
    content = found.get(number, b"")
    if not isinstance(content, bytes):
        raise ProtobufError("a protobuf field has a number where bytes belong")
    return content


def _object(data: bytes, depth: int) -> ObjectSpec:
    number, content = _only(data)
    if number != _OBJECT:
        raise ProtobufError("a body's specification is no object")
    if depth > DEEPEST:
        raise ProtobufError("a body's specification is nested too deeply")
    entries: dict[str, Spec] = {}
    for field, entry in fields(content):
        if field == 1 and isinstance(entry, bytes):
            found = last_fields(entry)
            entries[_text(found, 1)] = _entry(_part(found, 2), depth)
    return ObjectSpec(entries)


def _text(found: dict[int, int | bytes], number: int) -> str:
    return _part(found, number).decode("utf-8", "surrogateescape")


def _entry(data: bytes, depth: int) -> Spec:
    number, content = _only(data)
    found = last_fields(content)
    match number:
        case 2:
            return AttributeSpec(_text(found, 1), _type(_part(found, 2), 0), bool(found.get(3, 0)))
        case 3:
            nested = _object(_part(found, 3), depth + 1)
            return BlockSpec(_text(found, 1), nested, bool(found.get(2, 0)))
        case 4:
            return BlockListSpec(_text(found, 1), _object(_part(found, 2), depth + 1))
        case _:
            raise ProtobufError(f"a body's specification has the unknown part {number}")


def _type(data: bytes, depth: int) -> Type:
    number, content = _only(data)
    if depth > DEEPEST:
        raise ProtobufError("a type is nested too deeply")
    inner = _part(last_fields(content), 1)
    if number == _PRIMITIVE and inner in _PRIMITIVES:
        return _PRIMITIVES[inner]
    if number in (_LIST, _MAP):
        element = _type(inner, depth + 1)
        return ListType(element) if number == _LIST else MapType(element)
    raise ProtobufError(f"an option has an unknown type: {content[:50]!r}")
