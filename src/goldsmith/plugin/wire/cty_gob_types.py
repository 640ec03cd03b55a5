"""Types of the template language as gob streams: each type is a stream of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from goldsmith.plugin.wire import gob_encoder as put
from goldsmith.plugin.wire import gob_types
from goldsmith.plugin.wire.gob import Decoder
from goldsmith.plugin.wire.gob_types import (
    Field,
    GobError,
    Named,
    Opaque,
    OpaqueType,
    OwnType,
    SliceType,
    StructType,
)
from goldsmith.values.types import (
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
    type_text,
)

PACKAGE: Final = "github.com/zclconf/go-cty/cty."
DEEPEST: Final = 32

_GOB_TYPE, _TYPE, _IMPLEMENTATION, _INNER = 65, 66, 67, 68
_KINDS: Final = {BOOL: ord("B"), NUMBER: ord("N"), STRING: ord("S")}
_PRIMITIVES: Final = {kind: of for of, kind in _KINDS.items()}

_BASE: Final[Mapping[int, OwnType]] = {
    _GOB_TYPE: StructType(
        "gobType", (Field("Version", gob_types.INT), Field("Impl", gob_types.INTERFACE))
    ),
}
_OPAQUE: Final = OpaqueType("Type")


def encode_type(of: Type) -> bytes:
    """The stream of a type; raises GobError for `any`."""
    match of:
        case PrimitiveType():
            kind = put.struct([put.uint(_KINDS[of])])
            fields = (Field("Kind", gob_types.UINT),)
            return _stream("primitiveType", StructType("primitiveType", fields), kind)
        case ListType(element):
            return _collection("typeList", element)
        case SetType(element):
            return _collection("typeSet", element)
        case MapType(element):
            return _collection("typeMap", element)
        case TupleType(elements):
            fields = (Field("ElemTypes", _INNER),)
            inner = put.sequence([put.data(encode_type(one)) for one in elements])
            value = put.struct([inner if elements else None])
            own = SliceType("[]cty.Type", _TYPE)
            return _stream("typeTuple", StructType("typeTuple", fields), value, own)
        case ObjectType(attributes):
            fields = (Field("AttrTypes", _INNER),)
            by_name = {name: put.data(encode_type(one)) for name, one in attributes.items()}
            value = put.struct([put.mapping(by_name)])
            entries = gob_types.MapType("map[string]cty.Type", gob_types.STRING, _TYPE)
            return _stream("typeObject", StructType("typeObject", fields), value, entries)
        case _:
            raise GobError(f"the type {type_text(of)} cannot be told to Packer in gob")


def _collection(name: str, element: Type) -> bytes:
    value = put.struct([put.data(encode_type(element))])
    return _stream(name, StructType(name, (Field("ElementTypeT", _TYPE),)), value)


def _stream(name: str, own: StructType, value: bytes, inner: OwnType | None = None) -> bytes:
    types: dict[int, OwnType] = {**_BASE, _TYPE: _OPAQUE}
    if inner is not None:
        types[_INNER] = inner
    types[_IMPLEMENTATION] = own
    implementation = put.interface(PACKAGE + name, _IMPLEMENTATION, value, is_struct=True)
    return put.stream(types, _GOB_TYPE, put.struct([None, implementation]), is_struct=True)


def decode_type(data: bytes, depth: int = 0) -> Type:
    """Read the stream of a type; raises GobError."""
    if depth > DEEPEST:
        raise GobError("a type is nested too deeply")
    found = Decoder(data).value()
    named = found.get("Impl") if isinstance(found, dict) else None
    if not isinstance(named, Named) or not isinstance(named.value, dict):
        raise GobError("a gob value is no type")
    content = named.value
    match named.name.rpartition(".")[2]:
        case "primitiveType" if content.get("Kind") in _PRIMITIVES:
            return _PRIMITIVES[content["Kind"]]
        case "typeList":
            return ListType(_inner(content.get("ElementTypeT"), depth))
        case "typeSet":
            return SetType(_inner(content.get("ElementTypeT"), depth))
        case "typeMap":
            return MapType(_inner(content.get("ElementTypeT"), depth))
        case "typeTuple":
            return TupleType(tuple(_inner(one, depth) for one in content.get("ElemTypes", [])))
        case "typeObject":
            types = content.get("AttrTypes", {})
            return ObjectType({str(name): _inner(one, depth) for name, one in types.items()})
        case _:
            raise GobError(f"a gob value has the unknown type {named.name[:100]}")


def _inner(content: Any, depth: int) -> Type:
    if not isinstance(content, Opaque):
        raise GobError("a gob type lacks the type of what is inside")
    return decode_type(content.data, depth + 1)
