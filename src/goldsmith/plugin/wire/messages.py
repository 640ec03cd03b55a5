"""Plain data as msgpack, in the dialect of Go's plugins, from streams that never end.

Text is `str`, bytes are `bytes`, times are `msgpack.Timestamp`; lists and mappings are as Python
has them. Text that is no UTF-8 survives as surrogates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from goldsmith.plugin.wire.errors import ProtocolError, WireError
from goldsmith.plugin.wire.yamux import Stream

LARGEST_MESSAGE: Final = 64 << 20
MOST_ITEMS: Final = 1 << 17
"""In one list or map: room for them is taken before they have come."""


def _plain(item: Any) -> Any:
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, os.PathLike):
        return os.fspath(item)
    raise TypeError(f"a {type(item).__name__} cannot be sent to another process")


def encode(value: Any) -> bytes:
    """Plain data as msgpack; raises WireError for anything else."""
    try:
        packed = msgpack.packb(value, default=_plain, unicode_errors="surrogateescape")
    except (TypeError, ValueError, OverflowError) as e:
        raise WireError(str(e)) from e
    assert isinstance(packed, bytes)
    return packed


def _unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(
        raw=False, strict_map_key=False, unicode_errors="surrogateescape",
        max_buffer_size=LARGEST_MESSAGE, max_array_len=MOST_ITEMS, max_map_len=MOST_ITEMS,
    )  # fmt: skip


def decode(data: bytes) -> Any:
    """The one value that the bytes hold; raises ProtocolError."""
    unpacker = _unpacker()
    try:
        unpacker.feed(data)
        value = unpacker.unpack()
        if unpacker.tell() != len(data):
            raise ProtocolError("there is more after a msgpack value")
    except (msgpack.UnpackException, ValueError, TypeError) as e:
        raise ProtocolError(f"this is no msgpack: {e or 'it ends too early'}") from e
    return value


class Messages:
    """The values that come on a stream, one after the other."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._unpacker = _unpacker()

    def read(self) -> Any:
        """The next value; raises EOFError at the end, ProtocolError, and ConnectionLost."""
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                pass
            except (msgpack.UnpackException, ValueError, TypeError) as e:
                raise ProtocolError(f"the other side sent no msgpack: {e}") from e
            data = self._stream.read()
            if not data:
                raise EOFError
            try:
                self._unpacker.feed(data)
            except msgpack.BufferFull:
                raise ProtocolError(
                    f"the other side sent a message of more than {LARGEST_MESSAGE} bytes"
                ) from None
