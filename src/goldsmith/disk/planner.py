"""Where each volume goes and how large it is: pure arithmetic over a layout and measured trees.

Automatic sizes are what the files need in that file system, its own metadata included, and the
layout's headroom. What does not fit is refused with numbers before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from goldsmith.disk import mbr, stacking
from goldsmith.disk.disk_plan import (
    EXTENT_BYTES,
    DiskPlan,
    ExtendedPartition,
    PlannedArray,
    PlannedGroup,
    PlannedLogicalVolume,
    PlannedPartition,
)
from goldsmith.disk.filesystems import space
from goldsmith.disk.layout import require_valid
from goldsmith.disk.model import REST, AutoSize, ExactSize, Layout, Volume
from goldsmith.disk.needs import (
    Claim,
    Need,
    divide,
    down,
    fits,
    need_of,
    smallest,
    space_needed,
    up,
)
from goldsmith.disk.usage import TreeUsage
from goldsmith.errors import LayoutError
from goldsmith.units import MIB, format_size

__all__ = ["ALIGNMENT_BYTES", "GPT_BACKUP_SECTORS", "DiskPlan", "PlannedPartition", "plan"]

ALIGNMENT_BYTES: Final = MIB
# A GPT has its backup at the end of the disk: 32 sectors of entries and one of header.
GPT_BACKUP_SECTORS: Final = 33
BARE_STEP_BYTES: Final = 4096
"""A bare file system is whole blocks long, whatever the alignment of partitions is."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What of a disk is not for partitions: before them, after them, between logical ones."""

    first: int
    tail: int
    gaps: tuple[int, ...]
    step: int


def plan(
    layout: Layout,
    usage: Mapping[str, TreeUsage],
    *,
    packed_bytes: Mapping[str, int] | None = None,
    sector_bytes: int = 512,
    alignment_bytes: int = ALIGNMENT_BYTES,
) -> DiskPlan:
    """Give everything its place; `usage` has the measured tree of each mount point.

    `packed_bytes` has, by mount point, the size of compressed file systems that are made already;
    without it they get room for files that cannot be compressed. Raises LayoutError with every
    reason when the layout is wrong or something is too small.
    """
    require_valid(layout)
    frame = _frame(layout, sector_bytes, alignment_bytes)
    packed = packed_bytes or {}
    volumes = layout.volumes()
    needs = {
        volume.name: need_of(volume, _usage_of(volume, usage), layout.headroom, frame.step,
                             packed.get(volume.mount or ""))
        for volume in volumes
    }  # fmt: skip
    needs = stacking.demands(layout, needs, frame.step)
    claims = [Claim(p.name, p.size, needs[p.name]) for p in layout.partitions]
    if layout.label == "none":
        claims = [_bare(claims[0], layout)]
    fixed = frame.first + frame.tail + sum(frame.gaps)
    if layout.size_bytes is None:
        size_bytes = up(fixed + space_needed(claims, frame.step), frame.step)
        room = down(size_bytes - frame.tail, frame.step) - frame.first - sum(frame.gaps)
    else:
        size_bytes = layout.size_bytes
        room = down(size_bytes - frame.tail, frame.step) - frame.first - sum(frame.gaps)
    if layout.label == "mbr" and size_bytes > mbr.LARGEST_BYTES:
        raise LayoutError([f"an mbr does not reach the end of {format_size(size_bytes)}"],
                          hint='write label = "gpt"')  # fmt: skip
    sizes = divide(claims, max(room, 0), frame.step)
    reasons = _too_small(claims, sizes, usage, volumes)
    total = sum(max(size, 0) for size in sizes)
    if total > max(room, 0):
        reasons.append(
            f"the partitions take {format_size(total)} together, the disk of "
            f"{format_size(size_bytes)} has room for {format_size(max(room, 0))}"
        )
    _refuse(reasons)
    placed = _place(layout, sizes, frame, sector_bytes)
    disk = DiskPlan(layout, size_bytes, tuple(placed), sector_bytes,
                    _extended(layout, placed, frame, sector_bytes))  # fmt: skip
    return _with_inodes(_stack(disk, needs, usage), usage)


def _frame(layout: Layout, sector_bytes: int, alignment_bytes: int) -> _Frame:
    if layout.label == "none":
        return _Frame(0, 0, (0,), BARE_STEP_BYTES)
    if layout.label == "gpt":
        tail = GPT_BACKUP_SECTORS * sector_bytes
        return _Frame(alignment_bytes, tail, (0,) * len(layout.partitions), alignment_bytes)
    # Each logical partition has its own table before it, and stays aligned.
    gaps = tuple(
        alignment_bytes if logical else 0 for logical in mbr.logical_flags(layout.partitions)
    )
    return _Frame(alignment_bytes, 0, gaps, alignment_bytes)


def _bare(claim: Claim, layout: Layout) -> Claim:
    """A bare file system takes what the image has; an image of automatic size what it needs."""
    if layout.size_bytes is not None:
        return replace(claim, size=REST)
    need = claim.need
    if isinstance(claim.size, AutoSize) and not _is_packed(layout.volumes()[0]):
        return replace(claim, need=Need(need.least_bytes, up(need.automatic_bytes, MIB)))
    return claim


def _is_packed(volume: Volume) -> bool:
    return volume.filesystem is not None and volume.filesystem.type in space.PACKED


def _place(
    layout: Layout, sizes: Sequence[int], frame: _Frame, sector_bytes: int
) -> list[PlannedPartition]:
    """Lay the partitions one after another."""
    if layout.label == "mbr":
        numbers: Sequence[int] = mbr.number(layout.partitions).numbers
    else:
        numbers = range(1, len(layout.partitions) + 1)
    placed, at = [], frame.first
    for number, partition, size_bytes, gap in zip(
        numbers, layout.partitions, sizes, frame.gaps, strict=True
    ):
        at += gap
        placed.append(
            PlannedPartition(
                number, partition, at // sector_bytes, size_bytes // sector_bytes, sector_bytes
            )
        )
        at += size_bytes
    return placed


def _extended(
    layout: Layout, placed: Sequence[PlannedPartition], frame: _Frame, sector_bytes: int
) -> ExtendedPartition | None:
    if layout.label != "mbr":
        return None
    numbering = mbr.number(layout.partitions)
    if numbering.extended is None:
        return None
    inside = [p for index, p in enumerate(placed) if numbering.is_logical(index)]
    start = inside[0].start_sector - frame.step // sector_bytes
    end = inside[-1].start_sector + inside[-1].size_sectors
    return ExtendedPartition(numbering.extended, start, end - start)


def _usage_of(volume: Volume, usage: Mapping[str, TreeUsage]) -> TreeUsage:
    return usage.get(volume.mount, TreeUsage()) if volume.mount else TreeUsage()


def _stack(disk: DiskPlan, needs: Mapping[str, Need], usage: Mapping[str, TreeUsage]) -> DiskPlan:
    """Give arrays and groups the sizes that follow from those of the partitions."""
    layout, volumes = disk.layout, disk.layout.volumes()
    sizes = {p.name: p.size_bytes for p in disk.partitions}
    reasons: list[str] = []
    arrays, groups = [], []
    for raid in layout.raids:
        smallest = min(sizes[member] for member in raid.members)
        array = PlannedArray(
            raid, stacking.data_offset(smallest), stacking.component(smallest),
            stacking.capacity(raid.level, len(raid.members), stacking.component(smallest)),
        )  # fmt: skip
        sizes[raid.name] = array.size_bytes
        claim = Claim(raid.name, ExactSize(array.size_bytes), needs[raid.name])
        reasons += _too_small([claim], [array.size_bytes], usage, volumes)
        arrays.append(array)
    for group in layout.volume_groups:
        extents = sum(stacking.extents_of(sizes[name]) for name in group.physical_volumes)
        claims = stacking.claims_of(group, needs)
        given = divide(claims, extents * EXTENT_BYTES, EXTENT_BYTES)
        reasons += _too_small(claims, given, usage, volumes)
        total = sum(max(size, 0) for size in given)
        if total > extents * EXTENT_BYTES:
            reasons.append(
                f'the logical volumes of "{group.name}" take {format_size(total)} together, the '
                f"group has {format_size(extents * EXTENT_BYTES)}"
            )
        planned = tuple(
            PlannedLogicalVolume(group.name, volume, size // EXTENT_BYTES)
            for volume, size in zip(group.logical_volumes, given, strict=True)
        )
        groups.append(PlannedGroup(group, extents, planned))
    _refuse(reasons)
    return replace(disk, arrays=tuple(arrays), groups=tuple(groups))


def _with_inodes(disk: DiskPlan, usage: Mapping[str, TreeUsage]) -> DiskPlan:
    """Say how many inodes each file system gets, now that its size is known."""

    def inodes(volume: PlannedPartition | PlannedArray | PlannedLogicalVolume) -> int | None:
        if volume.filesystem is None:
            return None
        files = usage.get(volume.mount, TreeUsage()) if volume.mount else TreeUsage()
        return space.inode_count(volume.filesystem, files, volume.size_bytes)

    return replace(
        disk,
        partitions=tuple(replace(p, inodes=inodes(p)) for p in disk.partitions),
        arrays=tuple(replace(a, inodes=inodes(a)) for a in disk.arrays),
        groups=tuple(
            replace(g, volumes=tuple(replace(v, inodes=inodes(v)) for v in g.volumes))
            for g in disk.groups
        ),
    )


def _too_small(
    claims: Sequence[Claim],
    sizes: Sequence[int],
    usage: Mapping[str, TreeUsage],
    volumes: Sequence[Volume],
) -> list[str]:
    by_name = {volume.name: volume for volume in volumes}
    reasons = []
    for claim, size_bytes in zip(claims, sizes, strict=True):
        volume = by_name[claim.name]
        files, least = _usage_of(volume, usage), claim.need.least_bytes
        filesystem = volume.filesystem
        if size_bytes >= least:
            if filesystem is None or not fits(filesystem, files, size_bytes):
                continue
            least = smallest(filesystem, files, MIB, from_bytes=size_bytes)
        reasons.append(
            f'{volume.kind.replace("_", " ")} "{claim.name}" gets '
            f"{format_size(max(size_bytes, 0))} and needs {format_size(least)} (files "
            f"{format_size(files.blocks * space.BLOCK_BYTES)}, the rest is the file system's own); "
            f"{format_size(max(claim.need.automatic_bytes, least))} with headroom"
        )
    return reasons


def _refuse(reasons: Sequence[str]) -> None:
    if reasons:
        raise LayoutError(
            reasons, hint='make the size larger, or write size = "auto" for the disk and partition'
        )
