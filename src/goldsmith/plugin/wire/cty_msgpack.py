"""Values of templates as msgpack: what a data source answers to Packer 1.12 and later."""

from __future__ import annotations

from typing import Any, Final

import msgpack

from goldsmith.plugin.wire import messages
from goldsmith.plugin.wire.cty_json import decode_type, encode_type
from goldsmith.plugin.wire.cty_reading import ValueReader
from goldsmith.plugin.wire.errors import ProtocolError
from goldsmith.values.numbers import NotANumber, Number
from goldsmith.values.types import ANY, NUMBER, Type
from goldsmith.values.value import Unknown, Value, boolean, number, string, unknown

_UNKNOWN: Final = msgpack.ExtType(0, b"")


def encode(value: Value) -> bytes:
    """The value with its type; raises WireError."""
    return messages.encode(_with_type(value))


def _with_type(value: Value) -> list[Any]:
    return [encode_type(value.type).encode(), _plain(value)]


def _plain(value: Value) -> Any:
    match value.raw:
        case Unknown():
            return _UNKNOWN
        case Number() as of:
            return _plain_number(of)
        case tuple() as elements:
            return [_plain(item) for item in elements]
        case dict() as attributes:
            return {name: _plain(item) for name, item in attributes.items()}
        case _:
            return value.raw


def _plain_number(of: Number) -> int | float | str:
    if of.is_infinite:
        return of.to_float()
    try:
        if of.is_integer and -(2**63) <= of.to_int() < 2**63:
            return of.to_int()
        as_float = of.to_float()
        return as_float if Number.of(as_float) == of else of.to_text()
    except NotANumber as e:
        raise ProtocolError(str(e)) from e


def decode(data: bytes) -> Value:
    """Read a value with its type; raises ProtocolError."""
    return _typed(messages.decode(data))


def _typed(content: Any) -> Value:
    match content:
        case [bytes() as of, inner]:
            return _MsgpackReader().read(inner, decode_type(of))
        case _:
            raise ProtocolError("a value from the other side lacks its type")


class _MsgpackReader(ValueReader):
    error = ProtocolError

    def leaf(self, content: Any, of: Type) -> Value | None:
        if isinstance(content, msgpack.ExtType):
            return unknown(of)
        if of == ANY:
            return _typed(content)
        match content:
            case bool():
                return boolean(content)
            case int() | float():
                return number(content)
            case str():
                return number(Number.parse(content)) if of == NUMBER else string(content)
            case _:
                return None
