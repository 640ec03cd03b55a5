"""How the end of a command is told: one gob value on a stream of its own."""

from __future__ import annotations

from typing import Final

from goldsmith.plugin.wire import gob_encoder as put
from goldsmith.plugin.wire import gob_types
from goldsmith.plugin.wire.gob import Decoder
from goldsmith.plugin.wire.gob_types import Field, GobError, StructType

UNREADABLE: Final = 123
"""The status of a command whose end was told in a way that cannot be read."""
DISCONNECTED: Final = 2_300_218
"""The status of a command that was lost with its machine."""
LARGEST: Final = 65536
"""In bytes; what tells of the end of a command has a few dozen."""

_NUMBER: Final = 65
_TYPE: Final = StructType("CommandFinished", (Field("ExitStatus", gob_types.INT),))


def encode_status(status: int) -> bytes:
    """The exit status of a command."""
    value = put.struct([put.signed(status) if status else None])
    return put.stream({_NUMBER: _TYPE}, _NUMBER, value, is_struct=True)


def decode_status(data: bytes) -> int | None:
    """Read an exit status; None where it is not there, or not whole yet."""
    try:
        value = Decoder(data).value()
    except GobError:
        return None
    status = value.get("ExitStatus", 0) if isinstance(value, dict) else None
    return status if isinstance(status, int) else None
