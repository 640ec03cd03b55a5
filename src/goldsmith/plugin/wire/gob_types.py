"""The types of a gob stream: those with fixed numbers, and what a stream defines itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.plugin.wire.errors import ProtocolError

BOOL: Final = 1
INT: Final = 2
UINT: Final = 3
FLOAT: Final = 4
BYTES: Final = 5
STRING: Final = 6
COMPLEX: Final = 7
INTERFACE: Final = 8
FIRST_OWN: Final = 64
"""Streams number the types that they define themselves from here on, or from 65."""

ZERO_VALUES: Final[Mapping[int, Any]] = {
    BOOL: False, INT: 0, UINT: 0, FLOAT: 0.0, BYTES: b"", STRING: "", INTERFACE: None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct; fields with zero values are left out of a stream."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class StructType:
    """Named fields; its values are dicts that lack the fields that were left out."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class MapType:
    """Keys and values of one type each."""

    name: str
    key: int
    element: int


@dataclass(frozen=True, slots=True)
class SliceType:
    """Elements of one type; `length` is that of an array, None for a slice."""

    name: str
    element: int
    length: int | None = None


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A type that encodes itself: `kind` 5 is a GobEncoder, 6 and 7 are (Binary|Text)Marshalers."""

    name: str
    kind: int = 5


OwnType = StructType | MapType | SliceType | OpaqueType


@dataclass(frozen=True, slots=True)
class Opaque:
    """The bytes of a value that encodes itself."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """A value behind an interface, with the name of its concrete type."""

    name: str
    value: Any


class GobError(ProtocolError):
    """Bytes are not a gob stream, or not one of the values that were expected."""
