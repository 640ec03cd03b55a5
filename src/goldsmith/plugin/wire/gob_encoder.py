"""Writes gob streams of the few shapes that the plugin protocol needs.

All definitions go first, each as a message of its own; Go accepts that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from goldsmith.plugin.wire.gob_types import MapType, OpaqueType, OwnType, SliceType, StructType


def uint(number: int) -> bytes:
    """An unsigned number."""
    if number < 128:
        return bytes([number])
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - len(digits)]) + digits


def signed(number: int) -> bytes:
    """A signed number."""
    return uint(~number << 1 | 1 if number < 0 else number << 1)


def data(content: bytes) -> bytes:
    """Bytes with their length."""
    return uint(len(content)) + content


def text(content: str) -> bytes:
    """Text with its length."""
    return data(content.encode("utf-8", "surrogateescape"))


def struct(fields: Sequence[bytes | None]) -> bytes:
    """A struct: its fields in order, None for those that hold zero values."""
    out, last = bytearray(), -1
    for index, field in enumerate(fields):
        if field is not None:
            out += uint(index - last) + field
            last = index
    return bytes(out + b"\0")


def mapping(pairs: Mapping[str, bytes]) -> bytes:
    """A map with texts as keys."""
    return uint(len(pairs)) + b"".join(text(key) + value for key, value in pairs.items())


def sequence(items: Sequence[bytes]) -> bytes:
    """A slice or an array."""
    return uint(len(items)) + b"".join(items)


def interface(name: str, number: int, value: bytes, *, is_struct: bool = False) -> bytes:
    """A value of a type behind an interface."""
    body = value if is_struct else b"\0" + value
    return text(name) + signed(number) + data(body)


NIL_INTERFACE = b"\0"


def stream(
    definitions: Mapping[int, OwnType], number: int, value: bytes, *, is_struct: bool = False
) -> bytes:
    """A whole stream with one value."""
    body = signed(number) + (value if is_struct else b"\0" + value)
    return b"".join(_definitions(definitions.items())) + data(body)


def _definitions(types: Iterable[tuple[int, OwnType]]) -> Iterable[bytes]:
    for number, of in types:
        yield data(signed(-number) + _wire_type(number, of))


def _wire_type(number: int, of: OwnType) -> bytes:
    common = struct([text(of.name) if of.name else None, signed(number)])
    match of:
        case StructType():
            fields = [struct([text(f.name), signed(f.type)]) for f in of.fields]
            return struct([None, None, struct([common, sequence(fields)])])
        case MapType():
            return struct([None] * 3 + [struct([common, signed(of.key), signed(of.element)])])
        case SliceType(_, element, length):
            if length is None:
                return struct([None, struct([common, signed(element)])])
            return struct([struct([common, signed(element), signed(length)])])
        case OpaqueType():
            return struct([None] * (of.kind - 1) + [struct([common])])
