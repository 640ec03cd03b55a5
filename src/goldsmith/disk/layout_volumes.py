"""What is wrong with the arrays and volume groups of a layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from goldsmith.disk.findings import Finding, unknown
from goldsmith.disk.model import Layout, Raid, VolumeGroup, volume_name

RAID_LEVELS: Final = ("0", "1", "5", "6", "10")
LEAST_MEMBERS: Final = {"0": 2, "1": 2, "5": 3, "6": 4, "10": 2}
# mdadm(8): names of at most 32 characters stand in the superblock.
_RAID_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
# lvm(8), "VALID NAMES".
_LVM_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,126}")
_LVM_RESERVED = re.compile(
    r"^(snapshot|pvmove)|_(cdata|cmeta|corig|cpool|cvol|imeta|mimage|mlog|pmspare|rimage|rmeta|"
    r"tdata|tmeta|vdata|vorigin|wcorig)"
)


def check_raids_and_groups(layout: Layout) -> Iterator[Finding]:
    """Members that do not exist or are used twice, unknown levels, names that the tools refuse."""
    partitions = {p.name for p in layout.partitions}
    raids = {raid.name for raid in layout.raids}
    for raid in layout.raids:
        yield from _check_raid(raid, partitions, raids)
        if raid.filesystem is None and raid.name not in layout.users():
            yield Finding("it has neither a file system nor a volume group that uses it",
                          raid.name, "filesystem", kind="raid")  # fmt: skip
    for group in layout.volume_groups:
        yield from _check_group(group, partitions | raids)
    for name, users in layout.users().items():
        if len(users) > 1 and name in partitions | raids:
            kind = "partition" if name in partitions else "raid"
            yield Finding(f"it is a part of {' and of '.join(users)}", name, "name", kind=kind)
    yield from _check_names(layout, partitions)


def _check_raid(raid: Raid, partitions: set[str], raids: set[str]) -> Iterator[Finding]:
    def finding(message: str, field: str, hint: str | None = None) -> Finding:
        return Finding(message, raid.name, field, hint, "raid")

    if not _RAID_NAME.fullmatch(raid.name):
        yield finding("its name is not 1 to 32 letters, digits, - _ and .", "name")
    if raid.level not in RAID_LEVELS:
        yield finding(f'"{raid.level}" is not a RAID level', "level",
                      unknown(raid.level, RAID_LEVELS))  # fmt: skip
    elif len(raid.members) < LEAST_MEMBERS[raid.level]:
        yield finding(f"level {raid.level} needs at least {LEAST_MEMBERS[raid.level]} members, "
                      f"it has {len(raid.members)}", "members")  # fmt: skip
    for member in raid.members:
        if member in raids:
            yield finding(f'its member "{member}" is an array itself', "members")
        elif member not in partitions:
            yield finding(f'there is no partition "{member}"', "members",
                          unknown(member, sorted(partitions)))  # fmt: skip


def _check_group(group: VolumeGroup, parts: set[str]) -> Iterator[Finding]:
    def finding(message: str, field: str, hint: str | None = None) -> Finding:
        return Finding(message, group.name, field, hint, "volume_group")

    if not _LVM_NAME.fullmatch(group.name):
        yield finding("its name is not letters, digits, - _ . and +", "name")
    if not group.physical_volumes:
        yield finding("it has no physical volumes", "physical_volumes")
    for part in group.physical_volumes:
        if part not in parts:
            yield finding(f'there is no partition or array "{part}"', "physical_volumes",
                          unknown(part, sorted(parts)))  # fmt: skip
    for name, count in Counter(v.name for v in group.logical_volumes).items():
        full = volume_name(group.name, name)
        if count > 1:
            yield Finding(f"{count} volumes of the group have this name", full, "name",
                          kind="logical_volume")  # fmt: skip
        if not _LVM_NAME.fullmatch(name) or _LVM_RESERVED.search(name):
            yield Finding("its name is not letters, digits, - _ . and +, or LVM keeps it for "
                          "itself", full, "name", kind="logical_volume")  # fmt: skip


def _check_names(layout: Layout, partitions: set[str]) -> Iterator[Finding]:
    """Partitions, arrays and groups share one name space: they are named as parts of others."""
    above = [("raid", raid.name) for raid in layout.raids]
    above += [("volume_group", group.name) for group in layout.volume_groups]
    names = Counter(name for _, name in above) + Counter(partitions)
    for kind, name in dict.fromkeys(above):
        if names[name] > 1:
            yield Finding("something else of the layout has this name too", name, "name",
                          kind=kind)  # fmt: skip
