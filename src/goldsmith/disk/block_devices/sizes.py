"""Sizes as diskimage-builder writes them: `1.5GiB`, `40G` (of 1000), `23%VG`; a number may lack."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from goldsmith.disk.block_devices.model import Extent
from goldsmith.units import UnitError

_UNITS: Final = {
    "TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10,
    "TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3,
    "T": 10**12, "G": 10**9, "M": 10**6, "K": 10**3, "B": 1, "": 1,
}  # fmt: skip
_ABSOLUTE: Final = re.compile(r"\s*(\d*\.?\d*)\s*([A-Za-z]*)\s*")
_SHARE: Final = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*(VG|FREE|PVS)?\s*")
_LARGEST_BYTES: Final = 1 << 62


def parse_bytes(text: str) -> int:
    """Read an absolute size; a unit alone is one of it. Raises UnitError."""
    match = _ABSOLUTE.fullmatch(text)
    number, unit = match.groups() if match else ("", "?")
    if unit not in _UNITS or (not number and not unit) or number == ".":
        near = next((known for known in _UNITS if known.lower() == unit.lower()), None)
        meant = f'write "{number}{near}"' if near else f"units: {', '.join(u for u in _UNITS if u)}"
        raise UnitError(f"{text!r} is not a size", hint=meant)
    size = Fraction(number or "1") * _UNITS[unit]
    if size > _LARGEST_BYTES:
        raise UnitError(f"{text!r} is more than any disk holds")
    return int(size)


def parse_extent(text: str) -> Extent:
    """Read an absolute size, or a percentage with LVM's word for the whole. Raises UnitError."""
    match = _SHARE.fullmatch(text)
    if match is None:
        return Extent(size_bytes=parse_bytes(text))
    percent = Fraction(match.group(1))
    if not 0 < percent <= 100:
        raise UnitError(f"{text!r} is not a share between 0 and 100 %")
    return Extent(share=percent / 100, of=match.group(2) or "")
