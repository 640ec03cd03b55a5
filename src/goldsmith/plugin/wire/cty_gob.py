"""Values of templates as gob streams: what a data source answers to an old host."""

from __future__ import annotations

import struct
from typing import Any, Final

from goldsmith.plugin.wire import gob_encoder as put
from goldsmith.plugin.wire import gob_types
from goldsmith.plugin.wire.cty_gob_types import decode_type, encode_type
from goldsmith.plugin.wire.cty_reading import ValueReader
from goldsmith.plugin.wire.errors import WireError
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
from goldsmith.values.numbers import PRECISION, NotANumber, Number
from goldsmith.values.types import SetType, Type
from goldsmith.values.value import Unknown, Value, boolean, number, string

_VALUE, _GOB_VALUE, _TYPE, _MAP, _FLOAT, _LIST = 65, 66, 67, 68, 69, 70
_DEFINITIONS: Final[dict[int, OwnType]] = {
    _GOB_VALUE: StructType(
        "gobValue",
        (
            Field("Version", gob_types.INT), Field("Ty", _TYPE),
            Field("V", gob_types.INTERFACE),
        ),
    ),
    _TYPE: OpaqueType("Type"),
    _MAP: gob_types.MapType("", gob_types.STRING, gob_types.INTERFACE),
    _FLOAT: OpaqueType(""),
    _LIST: SliceType("", gob_types.INTERFACE),
}  # fmt: skip

_FLOAT_VERSION: Final = 1
_ZERO, _FINITE, _INFINITE = 0, 1, 2
_FLOAT_HEAD = struct.Struct(">BBI")
_WORD_BITS: Final = 64


def encode(value: Value) -> bytes:
    """The stream; raises WireError for what is not known yet, and for sets."""
    fields = [None, put.data(encode_type(value.type)), _of(value)]
    inner = put.stream(_DEFINITIONS, _GOB_VALUE, put.struct(fields), is_struct=True)
    return put.stream({_VALUE: OpaqueType("Value")}, _VALUE, put.data(inner))


def _of(value: Value) -> bytes:
    """A value behind an interface."""
    match value.raw:
        case None:
            return put.NIL_INTERFACE
        case Unknown():
            raise WireError("a value that only a running build knows cannot be sent")
        case bool() as truth:
            return put.interface("bool", gob_types.BOOL, put.uint(truth))
        case str() as text:
            return put.interface("string", gob_types.STRING, put.text(text))
        case Number() as of:
            return put.interface("math/big.Float", _FLOAT, put.data(encode_float(of)))
        case dict() as attributes:
            inner = put.mapping({name: _of(item) for name, item in attributes.items()})
            return put.interface("map[string]interface {}", _MAP, inner)
        case tuple() as elements:
            if isinstance(value.type, SetType):
                raise WireError(
                    "a set cannot be sent to a host that speaks gob", hint="make it a list"
                )
            inner = put.sequence([_of(item) for item in elements])
            return put.interface("[]interface {}", _LIST, inner)


def encode_float(of: Number) -> bytes:
    """A number as `big.Float` encodes itself; raises WireError for one with too many digits."""
    sign = of.sign < 0
    head = 0b1000 | sign
    if not of.sign or of.is_infinite:
        form = _INFINITE if of.is_infinite else _ZERO
        return _FLOAT_HEAD.pack(_FLOAT_VERSION, head | form << 1, of.precision)
    try:
        fraction = of.to_fraction()
    except NotANumber as e:
        raise WireError(str(e)) from e
    mantissa = abs(fraction.numerator)
    below = fraction.denominator.bit_length() - 1
    exponent = mantissa.bit_length() - below
    mantissa >>= (mantissa & -mantissa).bit_length() - 1
    bits = mantissa.bit_length()
    words = -(-bits // _WORD_BITS)
    digits = (mantissa << words * _WORD_BITS - bits).to_bytes(words * _WORD_BITS // 8, "big")
    begin = _FLOAT_HEAD.pack(_FLOAT_VERSION, head | _FINITE << 1, of.precision)
    return begin + struct.pack(">i", exponent) + digits


def decode_float(data: bytes) -> Number:
    """Read a `big.Float`; raises GobError."""
    if len(data) < _FLOAT_HEAD.size:
        raise GobError("a gob number ends too early")
    version, head, precision = _FLOAT_HEAD.unpack_from(data)
    form, negative = head >> 1 & 3, bool(head & 1)
    if version != _FLOAT_VERSION or precision > 1 << 16:
        raise GobError("a gob number has an unknown form")
    if form == _ZERO:
        return Number()
    if form == _INFINITE:
        return Number.infinity(-1 if negative else 1)
    if len(data) < _FLOAT_HEAD.size + 4:
        raise GobError("a gob number ends too early")
    exponent = struct.unpack_from(">i", data, _FLOAT_HEAD.size)[0]
    digits = data[_FLOAT_HEAD.size + 4 :]
    mantissa = int.from_bytes(digits, "big")
    scale = exponent - 8 * len(digits)
    return Number(-mantissa if negative else mantissa, scale, precision=precision or PRECISION)


def decode(data: bytes) -> Value:
    """Read the stream; raises GobError."""
    outer = Decoder(data).value()
    if not isinstance(outer, Opaque):
        raise GobError("what the other side sent is no value")
    inner = Decoder(outer.data).value()
    of = inner.get("Ty") if isinstance(inner, dict) else None
    if not isinstance(of, Opaque):
        raise GobError("a value from the other side lacks its type")
    return _GobReader().read(inner.get("V"), decode_type(of.data))


class _GobReader(ValueReader):
    error = GobError

    def leaf(self, content: Any, of: Type) -> Value | None:
        match content:
            case Named():
                return self.read(content.value, of)
            case bool():
                return boolean(content)
            case str():
                return string(content)
            case Opaque(data):
                return number(decode_float(data))
            case _:
                return None
