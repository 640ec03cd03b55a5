"""Reads Go's gob streams, whatever types they define: the values come as plain data.

Structs are dicts without the fields that hold zero values, maps are dicts, slices lists; what
stands behind an interface is `Named`, what encodes itself `Opaque`. Depth and numbers of items are
bounded by the length of the stream and `DEEPEST`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from goldsmith.plugin.wire import gob_types
from goldsmith.plugin.wire.gob_types import (
    Field,
    GobError,
    MapType,
    Named,
    Opaque,
    OpaqueType,
    OwnType,
    SliceType,
    StructType,
)

DEEPEST: Final = 64
"""Values inside values; no specification of a component comes near it."""
_MOST_FIELDS: Final = 4096
_LARGEST_COUNT: Final = 1 << 24


class Decoder:
    """Reads the messages of one gob stream out of bytes that are all there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._types: dict[int, OwnType] = {}
        self._depth = 0

    def values(self) -> Iterator[Any]:
        """The values of the stream in order; raises GobError."""
        while self._at < len(self._data):
            yield self._next_value()

    def value(self) -> Any:
        """The first value of the stream, after the definitions that it needs; raises GobError."""
        return self._next_value()

    def _next_value(self) -> Any:
        self._uint()  # how long the message is
        return self._top(self._type_number())

    def _type_number(self) -> int:
        """The number of the type of what follows, after the definitions that stand before it.

        A definition ends its message, even within a value: the length of the next one follows.
        """
        while (number := self._int()) < 0:
            self._define(-number)
            self._uint()
        return number

    def _top(self, number: int) -> Any:
        if not isinstance(self._types.get(number), StructType) and self._uint() != 0:
            raise GobError("a gob value begins in the wrong way")
        return self._of(number)

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise GobError("a gob value ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def _uint(self) -> int:
        first = self._take(1)[0]
        if first < 128:
            return first
        if first < 248:
            raise GobError("a gob number has more than eight bytes")
        return int.from_bytes(self._take(256 - first), "big")

    def _int(self) -> int:
        unsigned = self._uint()
        return ~(unsigned >> 1) if unsigned & 1 else unsigned >> 1

    def _count(self) -> int:
        count = self._uint()
        if count > min(len(self._data) - self._at, _LARGEST_COUNT):
            raise GobError("a gob list says that it is longer than the stream")
        return count

    def _bytes(self) -> bytes:
        return self._take(self._uint())

    def _text(self) -> str:
        return self._bytes().decode("utf-8", "surrogateescape")

    def _float(self) -> float:
        swapped = self._uint().to_bytes(8, "little")
        number: float = struct.unpack(">d", swapped)[0]
        return number

    def _of(self, number: int) -> Any:
        """A value of a type, without what goes before it at the top of a message."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise GobError("the gob value is nested too deeply")
        try:
            own = self._types.get(number)
            return self._basic(number) if own is None else self._composed(own)
        finally:
            self._depth -= 1

    def _basic(self, number: int) -> Any:
        match number:
            case gob_types.BOOL:
                return self._uint() != 0
            case gob_types.INT:
                return self._int()
            case gob_types.UINT:
                return self._uint()
            case gob_types.FLOAT:
                return self._float()
            case gob_types.BYTES:
                return self._bytes()
            case gob_types.STRING:
                return self._text()
            case gob_types.COMPLEX:
                return complex(self._float(), self._float())
            case gob_types.INTERFACE:
                return self._interface()
            case _:
                raise GobError(f"the gob stream uses type {number} without defining it")

    def _composed(self, own: OwnType) -> Any:
        match own:
            case StructType():
                return {own.fields[i].name: self._of(own.fields[i].type) for i in self._fields(own)}
            case MapType():
                count = self._count()
                try:
                    return {self._of(own.key): self._of(own.element) for _ in range(count)}
                except TypeError:
                    raise GobError("a gob map has keys that are no plain values") from None
            case SliceType():
                return [self._of(own.element) for _ in range(self._count())]
            case OpaqueType():
                return Opaque(self._bytes())

    def _fields(self, own: StructType) -> Iterator[int]:
        """The indexes of the fields that are there."""
        index = -1
        while delta := self._uint():
            index += delta
            if index >= len(own.fields):
                raise GobError(f"a gob {own.name} has more fields than its type")
            yield index

    def _interface(self) -> Named | None:
        name = self._text()
        if not name:
            return None
        number = self._type_number()
        self._uint()  # how long the value is
        return Named(name, self._top(number))

    def _define(self, number: int) -> None:
        if number in self._types or number < 16:
            raise GobError(f"the gob stream defines type {number} twice")
        if len(self._types) >= _MOST_FIELDS:
            raise GobError("the gob stream defines too many types")
        kinds: dict[int, Callable[[], OwnType]] = {
            0: self._array, 1: self._slice, 2: self._struct, 3: self._map,
        }  # fmt: skip
        found: OwnType | None = None
        for index in self._deltas(7):
            found = kinds[index]() if index in kinds else self._opaque(index + 1)
        if found is None:
            raise GobError(f"the gob stream says nothing about type {number}")
        self._types[number] = found

    def _deltas(self, most: int) -> Iterator[int]:
        """The indexes of the fields of one of gob's own structs that describe types."""
        index = -1
        while delta := self._uint():
            index += delta
            if index >= most:
                raise GobError("the gob stream describes a type in an unknown way")
            yield index

    def _described(self) -> tuple[str, dict[int, int]]:
        """A type's name, and its further numbers by their place."""
        name, numbers = "", {}
        for index in self._deltas(3):
            if index == 0:
                name = self._common()
            else:
                numbers[index] = self._int()
        return name, numbers

    def _common(self) -> str:
        name = ""
        for index in self._deltas(2):
            if index == 0:
                name = self._text()
            else:
                self._int()
        return name

    def _array(self) -> SliceType:
        name, numbers = self._described()
        return SliceType(name, numbers.get(1, 0), numbers.get(2, 0))

    def _slice(self) -> SliceType:
        name, numbers = self._described()
        return SliceType(name, numbers.get(1, 0))

    def _map(self) -> MapType:
        name, numbers = self._described()
        return MapType(name, numbers.get(1, 0), numbers.get(2, 0))

    def _opaque(self, kind: int) -> OpaqueType:
        name, _ = self._described()
        return OpaqueType(name, kind)

    def _struct(self) -> StructType:
        name, fields = "", []
        for index in self._deltas(2):
            if index == 0:
                name = self._common()
            else:
                fields = [self._field() for _ in range(min(self._count(), _MOST_FIELDS))]
        return StructType(name, tuple(fields))

    def _field(self) -> Field:
        name, number = "", 0
        for index in self._deltas(2):
            if index == 0:
                name = self._text()
            else:
                number = self._int()
        return Field(name, number)
