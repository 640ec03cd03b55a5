"""Where each partition goes and how large it is: pure arithmetic over a layout and measured trees.

Automatic sizes are what the files need in that file system, its own metadata included, and the
layout's headroom. What does not fit is refused with numbers before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from goldsmith.disk.filesystems import ext4_geometry, vfat_geometry
from goldsmith.disk.layout import (
    AutoSize,
    ExactSize,
    Headroom,
    Layout,
    Partition,
    RestSize,
    ShareSize,
    require_valid,
)
from goldsmith.disk.usage import TreeUsage
from goldsmith.errors import LayoutError
from goldsmith.units import MIB, format_size

ALIGNMENT_BYTES: Final = MIB
# A GPT has its backup at the end of the disk: 32 sectors of entries and one of header.
GPT_BACKUP_SECTORS: Final = 33
# What mke2fs cannot put where it would like to: broken extents, a directory that grows.
_SLACK_BLOCKS: Final = 64
_SLACK_SHARE: Final = 512
SMALLEST_AUTO_ESP_BYTES: Final = 64 * MIB
"""An ESP of automatic size has room for the firmware's own updates and a second boot loader."""


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition with its place; `inodes` is what mkfs.ext4 is asked for."""

    number: int
    partition: Partition
    start_sector: int
    size_sectors: int
    sector_bytes: int = 512
    inodes: int | None = None

    @property
    def name(self) -> str:
        """The partition's name."""
        return self.partition.name

    @property
    def offset_bytes(self) -> int:
        """Where it begins on the disk."""
        return self.start_sector * self.sector_bytes

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self.size_sectors * self.sector_bytes


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A whole disk, ready to be assembled."""

    label: str
    size_bytes: int
    partitions: tuple[PlannedPartition, ...]
    sector_bytes: int = 512

    def by_mount(self) -> dict[str, PlannedPartition]:
        """The partitions that have a mount point, by it."""
        return {p.partition.mount: p for p in self.partitions if p.partition.mount is not None}

    def of_type(self, type: str) -> PlannedPartition | None:
        """The first partition of a type."""
        return next((p for p in self.partitions if p.partition.type == type), None)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a partition must at least have, and what an automatic size gives it."""

    least_bytes: int
    automatic_bytes: int


def plan(
    layout: Layout,
    usage: Mapping[str, TreeUsage],
    *,
    sector_bytes: int = 512,
    alignment_bytes: int = ALIGNMENT_BYTES,
) -> DiskPlan:
    """Give every partition its place; `usage` has the measured tree of each mount point.

    Raises LayoutError with every reason when the layout is wrong or something is too small.
    """
    require_valid(layout)
    needs = [_need(p, _usage_of(p, usage), layout.headroom, alignment_bytes)
             for p in layout.partitions]  # fmt: skip
    first = alignment_bytes
    tail = GPT_BACKUP_SECTORS * sector_bytes
    if layout.size_bytes is None:
        space = _space_needed(layout, needs, alignment_bytes)
        size_bytes = _up(first + space + tail, alignment_bytes)
    else:
        size_bytes = layout.size_bytes
        space = _down(size_bytes - tail, alignment_bytes) - first
    sizes = _sizes(layout, needs, max(space, 0), alignment_bytes)
    _refuse_too_small(layout, usage, needs, sizes, max(space, 0))
    placed = _place(layout, usage, sizes, sector_bytes, first)
    return DiskPlan(layout.label, size_bytes, tuple(placed), sector_bytes)


def _place(
    layout: Layout,
    usage: Mapping[str, TreeUsage],
    sizes: list[int],
    sector_bytes: int,
    first: int,
) -> list[PlannedPartition]:
    """Lay the partitions one after another."""
    placed, at = [], first
    for number, (partition, size_bytes) in enumerate(
        zip(layout.partitions, sizes, strict=True), start=1
    ):
        inodes = None
        if partition.filesystem is not None and partition.filesystem.type == "ext4":
            inodes = ext4_geometry.inode_count(size_bytes, _usage_of(partition, usage).inodes)
        placed.append(
            PlannedPartition(
                number, partition, at // sector_bytes, size_bytes // sector_bytes,
                sector_bytes, inodes,
            )
        )  # fmt: skip
        at += size_bytes
    return placed


def _usage_of(partition: Partition, usage: Mapping[str, TreeUsage]) -> TreeUsage:
    return usage.get(partition.mount, TreeUsage()) if partition.mount else TreeUsage()


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _down(value: int, step: int) -> int:
    return value // step * step


def fits(partition: Partition, usage: TreeUsage, size_bytes: int, spare_bytes: int = 0) -> int:
    """How many bytes are missing for these files in a partition of this size; 0: they fit."""
    if partition.filesystem is None:
        return 0
    return _MISSING[partition.filesystem.type](usage, size_bytes, spare_bytes)


def _ext4_missing(usage: TreeUsage, size_bytes: int, spare_bytes: int) -> int:
    inodes = ext4_geometry.inode_count(size_bytes, usage.inodes)
    shape = ext4_geometry.geometry(size_bytes, inodes)
    if shape is None:
        return MIB
    slack = _SLACK_BLOCKS + usage.blocks // _SLACK_SHARE
    # libext2fs fills reserved blocks too; only free space that is promised must lie beside them.
    reserved = shape.reserved_blocks if spare_bytes else 0
    needed = usage.blocks + slack + reserved - (-spare_bytes // ext4_geometry.BLOCK_BYTES)
    return max(needed - shape.free_blocks, 0) * ext4_geometry.BLOCK_BYTES


def _vfat_missing(usage: TreeUsage, size_bytes: int, spare_bytes: int) -> int:
    shape = vfat_geometry.geometry(size_bytes)
    if shape is None:
        return MIB
    # Names of 255 characters take 21 entries of 32 bytes: within the blocks of the directory.
    files = _up(usage.blocks * 4096, shape.cluster_bytes) + usage.inodes * max(
        shape.cluster_bytes - 4096, 0
    )
    return max(files + spare_bytes - shape.free_bytes, 0)


_MISSING: Final[Mapping[str, Callable[[TreeUsage, int, int], int]]] = {
    "ext4": _ext4_missing,
    "vfat": _vfat_missing,
}


def _smallest(partition: Partition, usage: TreeUsage, spare_bytes: int, step: int) -> int:
    """The smallest aligned size (within a step of the journal) that holds files and spare."""
    size_bytes = _up(max(usage.blocks * 4096 + spare_bytes, 1), step)
    while missing := fits(partition, usage, size_bytes, spare_bytes):
        size_bytes += _up(missing, step)
    return size_bytes


def _need(partition: Partition, usage: TreeUsage, headroom: Headroom, step: int) -> _Need:
    if partition.filesystem is None:
        least = _up(MIB, step)
        return _Need(least, least)
    least = _smallest(partition, usage, 0, step)
    automatic = _smallest(partition, usage, headroom.of(usage.blocks * 4096), step)
    if partition.type == "esp":
        automatic = max(automatic, _up(SMALLEST_AUTO_ESP_BYTES, step))
    return _Need(least, automatic)


def _fixed_bytes(partition: Partition, need: _Need, step: int) -> int | None:
    """The size of a partition that does not depend on the disk's; None for the others."""
    match partition.size:
        case ExactSize(size_bytes):
            return _up(size_bytes, step)
        case AutoSize():
            return need.automatic_bytes
        case ShareSize() | RestSize():
            return None


def _space_needed(layout: Layout, needs: list[_Need], step: int) -> int:
    """The space for partitions on a disk of automatic size: every need is met, none generously."""
    fixed, pool, rest, shares = 0, 0, 0, Fraction(0)
    for partition, need in zip(layout.partitions, needs, strict=True):
        size_bytes = _fixed_bytes(partition, need, step)
        if size_bytes is not None:
            fixed += size_bytes
        elif isinstance(partition.size, ShareSize):
            share = partition.size.percent / 100
            shares += share
            pool = max(pool, _ceil(need.automatic_bytes / share))
        else:
            rest = need.automatic_bytes
    if rest:
        pool = max(pool, _ceil(rest / (1 - shares)))
    return fixed + _up(pool, step)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _sizes(layout: Layout, needs: list[_Need], space: int, step: int) -> list[int]:
    """The size of each partition, aligned; negative where there is nothing left."""
    fixed = [_fixed_bytes(p, n, step) for p, n in zip(layout.partitions, needs, strict=True)]
    pool = space - sum(size for size in fixed if size is not None)
    shares = {
        partition.name: _down(int(max(pool, 0) * partition.size.percent / 100), step)
        for partition in layout.partitions
        if isinstance(partition.size, ShareSize)
    }
    rest = pool - sum(shares.values())
    return [
        shares.get(partition.name, rest) if size is None else size
        for partition, size in zip(layout.partitions, fixed, strict=True)
    ]


def _refuse_too_small(
    layout: Layout,
    usage: Mapping[str, TreeUsage],
    needs: list[_Need],
    sizes: list[int],
    space: int,
) -> None:
    reasons = []
    for partition, need, size_bytes in zip(layout.partitions, needs, sizes, strict=True):
        if size_bytes < need.least_bytes:
            files = _usage_of(partition, usage).blocks * 4096
            reasons.append(
                f'partition "{partition.name}" gets {format_size(max(size_bytes, 0))} and needs '
                f"{format_size(need.least_bytes)} (files {format_size(files)}, the rest is the "
                f"file system's own); {format_size(need.automatic_bytes)} with headroom"
            )
    total = sum(max(size, 0) for size in sizes)
    if total > space:
        reasons.append(
            f"the partitions take {format_size(total)} together, the disk of "
            f"{format_size(layout.size_bytes or 0)} has room for {format_size(space)}"
        )
    if reasons:
        raise LayoutError(
            reasons, hint='make the size larger, or write size = "auto" for the disk and partition'
        )
