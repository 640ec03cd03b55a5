"""The wire form of protocol buffers, as far as the plugin protocol uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from goldsmith.plugin.wire.errors import ProtocolError

_VARINT: Final = 0
_FIXED_64: Final = 1
_BYTES: Final = 2
_FIXED_32: Final = 5


class ProtobufError(ProtocolError):
    """Bytes are not a message, or not the expected one."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in order: number, and content."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, form = key >> 3, key & 7
        if form == _VARINT:
            content, at = _varint(data, at)
            yield number, content
            continue
        if form == _BYTES:
            size, at = _varint(data, at)
        elif form in (_FIXED_32, _FIXED_64):
            size = 4 if form == _FIXED_32 else 8
        else:
            raise ProtobufError(f"a protobuf field has the unknown form {form}")
        if size > len(data) - at:
            raise ProtobufError("a protobuf field is longer than its message")
        yield number, data[at : at + size]
        at += size


def last_fields(data: bytes) -> dict[int, int | bytes]:
    """The fields by number; of repeated ones the last counts."""
    return dict(fields(data))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise ProtobufError("a protobuf number ends too early, or is too long")


def varint_field(number: int, content: int) -> bytes:
    """A field that holds a number, left out when it is zero."""
    return encode_varint(number << 3 | _VARINT) + encode_varint(content) if content else b""


def bytes_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes, a text in UTF-8 or another message."""
    return encode_varint(number << 3 | _BYTES) + encode_varint(len(content)) + content


def encode_varint(number: int) -> bytes:
    """A number that is not negative."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
