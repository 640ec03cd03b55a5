"""The specification of a component's HCL2 body as a gob stream (Packer up to 1.11, and plugins that
stand beside old ones)."""

from __future__ import annotations

from typing import Any, Final

from goldsmith.plugin.wire import gob_encoder as put
from goldsmith.plugin.wire.cty_gob_types import decode_type, encode_type
from goldsmith.plugin.wire.gob import Decoder
from goldsmith.plugin.wire.gob_types import (
    BOOL,
    INT,
    INTERFACE,
    STRING,
    Field,
    GobError,
    MapType,
    Named,
    Opaque,
    OpaqueType,
    OwnType,
    StructType,
)
from goldsmith.plugin.wire.hcl_spec import (
    AttributeSpec,
    BlockListSpec,
    BlockSpec,
    ObjectSpec,
    Spec,
)

OBJECT_SPEC: Final = "github.com/hashicorp/hcl/v2/hcldec.ObjectSpec"
"""What the body of a block is called in Packer and its plugins."""
VENDORED_OBJECT_SPEC: Final = f"github.com/hashicorp/packer/vendor/{OBJECT_SPEC}"
"""What Debian's Packer 1.6 calls it: it crashes at the other name."""

_OBJECT, _ATTRIBUTE, _TYPE, _BLOCK, _BLOCK_LIST = 64, 65, 66, 67, 68
_DEFINITIONS: Final[dict[int, OwnType]] = {
    _OBJECT: MapType("ObjectSpec", STRING, INTERFACE),
    _TYPE: OpaqueType("Type"),
    _ATTRIBUTE: StructType(
        "AttrSpec", (Field("Name", STRING), Field("Type", _TYPE), Field("Required", BOOL))
    ),
    _BLOCK: StructType(
        "BlockSpec",
        (Field("TypeName", STRING), Field("Nested", INTERFACE), Field("Required", BOOL)),
    ),
    _BLOCK_LIST: StructType(
        "BlockListSpec",
        (
            Field("TypeName", STRING), Field("Nested", INTERFACE), Field("MinItems", INT),
            Field("MaxItems", INT),
        ),
    ),
}  # fmt: skip


def encode_spec(spec: ObjectSpec, nested_name: str = OBJECT_SPEC) -> bytes:
    """The stream; `nested_name` is what the host calls the body of a block.

    Raises GobError for a type that it cannot say.
    """
    return put.stream(_DEFINITIONS, _OBJECT, _of_object(spec, nested_name))


def _of_object(spec: ObjectSpec, nested_name: str) -> bytes:
    return put.mapping(
        {name: _of_entry(entry, nested_name) for name, entry in spec.entries.items()}
    )


def _of_entry(entry: Spec, nested_name: str) -> bytes:
    def flag(on: bool) -> bytes | None:
        return put.uint(1) if on else None

    def count(of: int) -> bytes | None:
        return put.signed(of) if of else None

    def nested(spec: ObjectSpec) -> bytes:
        return put.interface(nested_name, _OBJECT, _of_object(spec, nested_name))

    name = put.text(entry.name) if entry.name else None
    match entry:
        case AttributeSpec():
            value = put.struct([name, put.data(encode_type(entry.type)), flag(entry.required)])
            return put.interface("*hcldec.AttrSpec", _ATTRIBUTE, value, is_struct=True)
        case BlockSpec():
            value = put.struct([name, nested(entry.nested), flag(entry.required)])
            return put.interface("*hcldec.BlockSpec", _BLOCK, value, is_struct=True)
        case BlockListSpec():
            limits = [count(entry.least), count(entry.most)]
            value = put.struct([name, nested(entry.nested), *limits])
            return put.interface("*hcldec.BlockListSpec", _BLOCK_LIST, value, is_struct=True)


def decode_spec(data: bytes) -> ObjectSpec:
    """Read the stream; raises GobError."""
    return _object(Decoder(data).value())


def _object(content: Any) -> ObjectSpec:
    if not isinstance(content, dict):
        raise GobError("a body's specification is no object")
    return ObjectSpec({str(name): _entry(entry) for name, entry in content.items()})


def _entry(named: Any) -> Spec:
    if not isinstance(named, Named) or not isinstance(named.value, dict):
        raise GobError("a body's specification has a part that is none")
    content = named.value
    required = content.get("Required") is True
    match named.name.rpartition(".")[2]:
        case "AttrSpec":
            of = content.get("Type")
            if not isinstance(of, Opaque):
                raise GobError("an option has no type")
            return AttributeSpec(_text(content, "Name"), decode_type(of.data), required)
        case "BlockSpec":
            return BlockSpec(_text(content, "TypeName"), _nested(content), required)
        case "BlockListSpec":
            limits = (_count(content, "MinItems"), _count(content, "MaxItems"))
            return BlockListSpec(_text(content, "TypeName"), _nested(content), *limits)
        case _:
            raise GobError(f"a body's specification has the unknown part {named.name[:100]}")


def _nested(content: dict[str, Any]) -> ObjectSpec:
    nested = content.get("Nested")
    # Its full name depends on how the other program was built.
    if not isinstance(nested, Named) or not nested.name.endswith("hcldec.ObjectSpec"):
        raise GobError("a block's specification is no object")
    return _object(nested.value)


def _text(content: dict[str, Any], name: str) -> str:
    text = content.get(name, "")
    if not isinstance(text, str):
        raise GobError("a name in a body's specification is no text")
    return text


def _count(content: dict[str, Any], name: str) -> int:
    count = content.get(name, 0)
    if not isinstance(count, int):
        raise GobError("a limit in a body's specification is no number")
    return count
