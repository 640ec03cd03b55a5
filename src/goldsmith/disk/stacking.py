"""The arithmetic of arrays and volume groups: what their metadata takes and what is left.

Sources: md(4) and super1.c of mdadm 4.2 for metadata 1.2; lvm.conf(5) for LVM. mdadm would choose
an offset by the version that runs; the planner chooses one itself, which mdadm is then told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from goldsmith.disk.disk_plan import EXTENT_BYTES
from goldsmith.disk.model import ExactSize, Layout, Raid, VolumeGroup, volume_name
from goldsmith.disk.needs import Claim, Need, down, space_needed, up
from goldsmith.units import MIB

PV_METADATA_BYTES: Final = MIB
"""pvcreate begins with the data at 1 MiB and has one copy of its metadata before it."""

# Superblock, bitmap and bad block log; a thousandth more for a reshape, as mdadm leaves it.
_MD_METADATA_BYTES: Final = 256 << 10


def data_offset(member_bytes: int) -> int:
    """Where the data begins on a member of an array."""
    return up(_MD_METADATA_BYTES + member_bytes // 1024, MIB)


def component(member_bytes: int) -> int:
    """What a member gives to its array: whole mebibytes, hence whole chunks."""
    return max(down(member_bytes - data_offset(member_bytes), MIB), 0)


def capacity(level: str, members: int, component_bytes: int) -> int:
    """The size of an array."""
    whole = {
        "0": members, "1": 1, "5": members - 1, "6": members - 2,
    }.get(level)  # fmt: skip
    if whole is not None:
        return whole * component_bytes
    # RAID 10 with two near copies; an odd number of members leaves a part of a stripe.
    return down(members * component_bytes // 2, MIB)


def member_for(level: str, members: int, needed_bytes: int) -> int:
    """The smallest member of whole mebibytes that makes an array large enough."""
    of_two = capacity(level, members, 2 * MIB)
    size_bytes = up(max(needed_bytes * 2 * MIB // of_two, 1), MIB)
    while capacity(level, members, component(size_bytes)) < needed_bytes:
        size_bytes += MIB
    return size_bytes


def extents_of(volume_bytes: int) -> int:
    """The extents of a physical volume."""
    return max(volume_bytes - PV_METADATA_BYTES, 0) // EXTENT_BYTES


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive extents: the number of a group's physical volume, the first one, how many."""

    physical: int
    first: int
    count: int


def runs_of(volumes: Sequence[int], physical: Sequence[int]) -> list[tuple[Run, ...]]:
    """Which extents each logical volume gets, one after the other; both are numbers of extents.

    Raises ValueError when there are not enough of them.
    """
    given, number, first = [], 0, 0
    for extents in volumes:
        runs, left = [], extents
        while left:
            if number == len(physical):
                raise ValueError(f"{left} extents too few")
            count = min(left, physical[number] - first)
            if count:
                runs.append(Run(number, first, count))
                first += count
                left -= count
            if first == physical[number]:
                number, first = number + 1, 0
        given.append(tuple(runs))
    return given


def claims_of(group: VolumeGroup, needs: Mapping[str, Need]) -> list[Claim]:
    """The logical volumes as claims on their group."""
    claims = []
    for volume in group.logical_volumes:
        name = volume_name(group.name, volume.name)
        need = needs[name]
        whole = Need(up(need.least_bytes, EXTENT_BYTES), up(need.automatic_bytes, EXTENT_BYTES))
        claims.append(Claim(name, volume.size, whole))
    return claims


def demands(layout: Layout, needs: Mapping[str, Need], step: int) -> dict[str, Need]:
    """What arrays and volume groups ask of the partitions below them, by name.

    Parts whose size is given exactly supply what they can; the others share the remainder.
    """
    wanted = dict(needs)
    for group in layout.volume_groups:
        known = {name: _known_bytes(layout, name, step) for name in group.physical_volumes}
        flexible = [name for name, size in known.items() if size is None]
        supplied = sum(extents_of(size) for size in known.values() if size is not None)
        claims = claims_of(group, needs)
        least = space_needed(claims, EXTENT_BYTES, lambda need: need.least_bytes) // EXTENT_BYTES
        automatic = space_needed(claims, EXTENT_BYTES) // EXTENT_BYTES
        for name in flexible:
            wanted[name] = Need(
                _physical_bytes(least - supplied, len(flexible)),
                _physical_bytes(automatic - supplied, len(flexible)),
            )
    for raid in layout.raids:
        need = wanted.get(raid.name)
        if need is None:
            continue
        for name in raid.members:
            wanted[name] = Need(
                member_for(raid.level, len(raid.members), need.least_bytes),
                member_for(raid.level, len(raid.members), need.automatic_bytes),
            )
    return wanted


def _physical_bytes(extents: int, parts: int) -> int:
    each = max(-(-extents // parts), 1)
    return each * EXTENT_BYTES + PV_METADATA_BYTES


def _known_bytes(layout: Layout, name: str, step: int) -> int | None:
    """The size of a partition or array that the layout says exactly."""
    for partition in layout.partitions:
        if partition.name == name:
            size = partition.size
            return up(size.size_bytes, step) if isinstance(size, ExactSize) else None
    raid = _raid(layout, name)
    members = [_known_bytes(layout, member, step) for member in raid.members]
    sizes = [size for size in members if size is not None]
    if len(sizes) < len(members):
        return None
    return capacity(raid.level, len(sizes), component(min(sizes)))


def _raid(layout: Layout, name: str) -> Raid:
    return next(raid for raid in layout.raids if raid.name == name)
