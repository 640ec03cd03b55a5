"""CRC-32C (Castagnoli) as ext4 uses it: reflected, raw, without the final inversion."""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # reflected


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_TABLE: Final = _table()


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """The running checksum of `data` from `seed`; invert it for the value of RFC 3720."""
    value = seed
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value
