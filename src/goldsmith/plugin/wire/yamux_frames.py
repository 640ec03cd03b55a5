"""Frames of yamux, version 0: a header of twelve bytes, and the bytes of data frames after it."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from goldsmith.plugin.wire.errors import ProtocolError

VERSION: Final = 0
INITIAL_WINDOW: Final = 256 * 1024
"""What each direction of a stream may hold before the reader gives credit."""

_HEADER = struct.Struct(">BBHII")
HEADER_SIZE: Final = _HEADER.size


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 0
    WINDOW = 1
    PING = 2
    GO_AWAY = 3


class Flags(enum.IntFlag):
    """What a frame says besides."""

    NONE = 0
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


class GoAway(enum.IntEnum):
    """Why a session ends."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a frame; `length` counts data, or is a window's growth, a ping's number, or why
    the session ends."""

    kind: Kind
    flags: Flags
    stream: int
    length: int

    def encode(self) -> bytes:
        """Its twelve bytes."""
        return _HEADER.pack(VERSION, self.kind, self.flags, self.stream, self.length)


def decode_header(data: bytes) -> Header:
    """Read twelve bytes; raises ProtocolError for another version or kind."""
    version, kind, flags, stream, length = _HEADER.unpack(data)
    if version != VERSION or kind > Kind.GO_AWAY:
        raise ProtocolError(f"what the other side sent is no frame of yamux 0: {data.hex(' ')}")
    return Header(Kind(kind), Flags(flags & 15), stream, length)
