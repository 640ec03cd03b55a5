"""Where the bytes of each volume lie on the disk, as far as that is plain arithmetic.

A partition, a mirror of partitions, and a logical volume on these are stretches of the image: what
fills a file fills them too. Striped arrays are not, and nothing on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goldsmith.disk.disk_plan import EXTENT_BYTES, DiskPlan, PlannedArray, PlannedGroup
from goldsmith.disk.stacking import PV_METADATA_BYTES, Run, extents_of, runs_of


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a volume: `offsets` are where they lie on the disk, once per mirror."""

    size_bytes: int
    offsets: tuple[int, ...]

    def part(self, at_bytes: int, size_bytes: int) -> Piece:
        """A part of it."""
        return Piece(size_bytes, tuple(offset + at_bytes for offset in self.offsets))


Pieces = tuple[Piece, ...]


def part_sizes(plan: DiskPlan) -> dict[str, int]:
    """The sizes of what a volume group can be made of: partitions and arrays, by name."""
    sizes = {partition.name: partition.size_bytes for partition in plan.partitions}
    return sizes | {array.name: array.size_bytes for array in plan.arrays}


def volume_runs(group: PlannedGroup, sizes: Mapping[str, int]) -> list[tuple[Run, ...]]:
    """The extents of each logical volume of a group, one volume after the other."""
    physical = [extents_of(sizes[name]) for name in group.group.physical_volumes]
    return runs_of([volume.extents for volume in group.volumes], physical)


def places(plan: DiskPlan) -> dict[str, Pieces | None]:
    """The pieces of every volume, by its name, in order; None where only a driver knows them."""
    found: dict[str, Pieces | None] = {
        p.name: (Piece(p.size_bytes, (p.offset_bytes,)),) for p in plan.partitions
    }
    offsets = {p.name: p.offset_bytes for p in plan.partitions}
    for array in plan.arrays:
        found[array.name] = _mirrored(array, offsets)
    sizes = part_sizes(plan)
    for group in plan.groups:
        below = [found[name] for name in group.group.physical_volumes]
        for volume, runs in zip(group.volumes, volume_runs(group, sizes), strict=True):
            found[volume.name] = _linear(runs, below)
    return found


def _mirrored(array: PlannedArray, offsets: Mapping[str, int]) -> Pieces | None:
    if array.raid.level != "1":
        return None
    members = tuple(offsets[name] + array.data_offset_bytes for name in array.raid.members)
    return (Piece(array.size_bytes, members),)


def _linear(runs: Sequence[Run], below: Sequence[Pieces | None]) -> Pieces | None:
    """The pieces of a logical volume; what is below it is in one piece, or none of ours."""
    pieces = []
    for run in runs:
        parts = below[run.physical]
        if parts is None:
            return None
        at_bytes = PV_METADATA_BYTES + run.first * EXTENT_BYTES
        pieces.append(parts[0].part(at_bytes, run.count * EXTENT_BYTES))
    return tuple(pieces)
