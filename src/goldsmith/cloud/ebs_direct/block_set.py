"""Numbers of blocks of a volume, as bits: of the largest volume they take 16 MiB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class BlockSet:
    """Numbers of blocks, one bit each."""

    _bits: bytearray = field(default_factory=bytearray)
    _count: int = 0

    def add(self, number: int) -> None:
        """Add a block."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits += bytes(place + 1 - len(self._bits))
        if not self._bits[place] & bit:
            self._bits[place] |= bit
            self._count += 1

    def discard(self, number: int) -> None:
        """Take a block out, if it is in."""
        if number in self:
            self._bits[number >> 3] &= ~(1 << (number & 7))
            self._count -= 1

    def clear(self) -> None:
        """Forget all."""
        self._bits.clear()
        self._count = 0

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & 1 << (number & 7))

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockSet):
            return NotImplemented
        most = max(len(self._bits), len(other._bits))
        return self._bits.ljust(most, b"\0") == other._bits.ljust(most, b"\0")

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[int]:
        """In their order."""
        return self.between(0, len(self._bits) * 8)

    def between(self, start: int, end: int) -> Iterator[int]:
        """Those of a stretch, which begins and ends at a multiple of 8."""
        for place in range(start >> 3, min(end >> 3, len(self._bits))):
            if bits := self._bits[place]:
                yield from (place * 8 + bit for bit in range(8) if bits & 1 << bit)
