"""How much each volume needs, and how a space is divided among those that share it.

The same arithmetic serves the partitions of a disk and the logical volumes of a group: first those
of exact and automatic size, then shares of what is left, then the one that takes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from goldsmith.disk.filesystems import space
from goldsmith.disk.model import (
    AutoSize,
    ExactSize,
    FileSystem,
    Headroom,
    PartitionSize,
    RestSize,
    ShareSize,
    Volume,
)
from goldsmith.disk.usage import TreeUsage
from goldsmith.units import MIB

SMALLEST_AUTO_ESP_BYTES: Final = 64 * MIB
"""An ESP of automatic size has room for the firmware's own updates and a second boot loader."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a volume must at least have, and what an automatic size gives it."""

    least_bytes: int
    automatic_bytes: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One of those that share a space: the size that was asked for and the need behind it."""

    name: str
    size: PartitionSize
    need: Need


def up(value: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-value // step) * step


def down(value: int, step: int) -> int:
    """The multiple of a step below."""
    return value // step * step


def fits(
    filesystem: FileSystem | None, usage: TreeUsage, size_bytes: int, spare_bytes: int = 0
) -> int:
    """How many bytes are missing for these files in a volume of this size; 0: they fit."""
    if filesystem is None:
        return 0
    return space.missing_bytes(filesystem, usage, size_bytes, spare_bytes)


def smallest(
    filesystem: FileSystem,
    usage: TreeUsage,
    step: int,
    *,
    spare_bytes: int = 0,
    from_bytes: int = 1,
) -> int:
    """An aligned size that holds files and spare, the first one found from `from_bytes` on.

    A larger one may not hold them: mke2fs makes a larger journal at some sizes.
    """
    size_bytes = up(max(usage.blocks * space.BLOCK_BYTES + spare_bytes, from_bytes), step)
    while missing := fits(filesystem, usage, size_bytes, spare_bytes):
        size_bytes += up(missing, step)
    return size_bytes


def need_of(
    volume: Volume, usage: TreeUsage, headroom: Headroom, step: int, packed_bytes: int | None
) -> Need:
    """What a volume needs for its files; `packed_bytes` is known of a finished file system."""
    filesystem = volume.filesystem
    if filesystem is None:
        return Need(up(MIB, step), up(MIB, step))
    if filesystem.type in space.PACKED:
        if packed_bytes is not None:
            return Need(up(packed_bytes, step), up(packed_bytes, step))
        # It may well fit in less than is measured; whether it does is known when it is made.
        return Need(up(MIB, step), up(space.largest_packed_bytes(usage), step))
    spare = headroom.of(usage.blocks * space.BLOCK_BYTES)
    from_bytes = SMALLEST_AUTO_ESP_BYTES if volume.type == "esp" else 1
    return Need(
        smallest(filesystem, usage, step),
        smallest(filesystem, usage, step, spare_bytes=spare, from_bytes=from_bytes),
    )


def fixed_bytes(claim: Claim, step: int) -> int | None:
    """The size of a claim that does not depend on the space's; None for the others."""
    match claim.size:
        case ExactSize(size_bytes):
            return up(size_bytes, step)
        case AutoSize():
            return claim.need.automatic_bytes
        case ShareSize() | RestSize():
            return None


def _automatic(need: Need) -> int:
    return need.automatic_bytes


def space_needed(
    claims: Sequence[Claim], step: int, wanted: Callable[[Need], int] = _automatic
) -> int:
    """The smallest space in which every claim has what it wants, none generously."""
    fixed, pool, rest, shares = 0, 0, 0, Fraction(0)
    for claim in claims:
        size_bytes = fixed_bytes(claim, step)
        if size_bytes is not None:
            fixed += size_bytes
        elif isinstance(claim.size, ShareSize):
            share = claim.size.percent / 100
            shares += share
            # A share is rounded down to a step.
            pool = max(pool, _ceil(up(wanted(claim.need), step) / share))
        else:
            rest = up(wanted(claim.need), step)
    if rest:
        pool = max(pool, _ceil(rest / (1 - shares)))
    return fixed + up(pool, step)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def divide(claims: Sequence[Claim], space_bytes: int, step: int) -> list[int]:
    """The size of each claim, aligned; negative where there is nothing left."""
    fixed = [fixed_bytes(claim, step) for claim in claims]
    pool = space_bytes - sum(size for size in fixed if size is not None)
    shares: Mapping[str, int] = {
        claim.name: down(int(max(pool, 0) * claim.size.percent / 100), step)
        for claim in claims
        if isinstance(claim.size, ShareSize)
    }
    rest = down(pool - sum(shares.values()), step)
    return [
        shares.get(claim.name, rest) if size is None else size
        for claim, size in zip(claims, fixed, strict=True)
    ]
