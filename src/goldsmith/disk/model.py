"""The model of a disk's layout: what is on it and how large each thing is to be, as plain data.

Every front end makes these objects; `layout` says what is wrong with them, `planner` gives them
their places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal

from goldsmith.units import MIB, UnitError, parse_size_bytes


@dataclass(frozen=True, slots=True)
class ExactSize:
    """So many bytes."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class ShareSize:
    """So many percent of what the others of exact and automatic size leave."""

    percent: Fraction


@dataclass(frozen=True, slots=True)
class RestSize:
    """Whatever is left when all others have their size."""


@dataclass(frozen=True, slots=True)
class AutoSize:
    """As much as the files need, and the layout's headroom."""


PartitionSize = ExactSize | ShareSize | RestSize | AutoSize
REST: Final = RestSize()
AUTO: Final = AutoSize()

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_partition_size(text: str) -> PartitionSize:
    """Read "auto", "rest", "40%", "100%" (the same as "rest") or a size such as "64MiB".

    Raises UnitError for anything else.
    """
    word = text.strip().lower()
    if word in ("auto", "rest"):
        return AUTO if word == "auto" else REST
    match = _PERCENT.fullmatch(word)
    if match:
        percent = Fraction(match.group(1))
        return REST if percent == 100 else ShareSize(percent)
    try:
        return ExactSize(parse_size_bytes(text))
    except UnitError as e:
        raise UnitError(
            f"{text!r} is not a partition size",
            hint='write for example "64MiB", "40%", "rest" or "100%" (all that is left), or "auto"',
        ) from e


@dataclass(frozen=True, slots=True)
class Headroom:
    """Free space that an automatic size adds: a share of the need, at least `minimum_bytes`."""

    share: Fraction = Fraction(1, 10)
    minimum_bytes: int = 64 * MIB

    def of(self, needed_bytes: int) -> int:
        """The headroom in bytes for files that need so much."""
        return max(int(needed_bytes * self.share), self.minimum_bytes)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a volume is formatted with; `options` are further words for its mkfs program.

    `bytes_per_inode` and `journal_mib` are for ext2, ext3 and ext4, whose sizes they change;
    `uuid` "" takes the one that follows from the image. One that `grows` is made to become much
    larger on the disk that it is written to.
    """

    type: str
    label: str | None = None
    options: tuple[str, ...] = ()
    bytes_per_inode: int | None = None
    journal_mib: int | None = None
    uuid: str = ""
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, in the order of the disk; `mount_options` go into fstab.

    `logical` and `bootable` mean something on an mbr disk only; None leaves them to goldsmith.
    `type_id` is a GUID (gpt) or a byte in hexadecimal (mbr) in place of the type's own. A swap
    partition has its file system "swap" whether that is said or not.
    """

    name: str
    type: str
    size: PartitionSize = AUTO
    filesystem: FileSystem | None = None
    mount: str | None = None
    mount_options: tuple[str, ...] = ()
    logical: bool | None = None
    bootable: bool | None = None
    type_id: str | None = None

    def __post_init__(self) -> None:
        if self.type == "swap" and self.filesystem is None:
            object.__setattr__(self, "filesystem", FileSystem("swap"))


@dataclass(frozen=True, slots=True)
class Raid:
    """A software RAID array over partitions, named as in `Partition.name`."""

    name: str
    level: str
    members: tuple[str, ...]
    filesystem: FileSystem | None = None
    mount: str | None = None
    mount_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume of a volume group; shares are of what the group has left."""

    name: str
    size: PartitionSize = AUTO
    filesystem: FileSystem | None = None
    mount: str | None = None
    mount_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """An LVM volume group over partitions or arrays, by name."""

    name: str
    physical_volumes: tuple[str, ...]
    logical_volumes: tuple[LogicalVolume, ...] = ()


VolumeKind = Literal["partition", "raid", "logical_volume"]


@dataclass(frozen=True, slots=True)
class Volume:
    """Whatever can hold a file system, seen alike: a partition, an array or a logical volume.

    `name` is unique on the disk: "root", "md0", "group/volume". `type` is a partition's type, the
    kind for the others.
    """

    name: str
    kind: VolumeKind
    type: str
    size: PartitionSize
    filesystem: FileSystem | None
    mount: str | None
    mount_options: tuple[str, ...]


def volume_name(group: str, volume: str) -> str:
    """The unique name of a logical volume."""
    return f"{group}/{volume}"


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole disk; `size_bytes` None asks for the smallest disk that holds everything.

    `label` "none" is one bare file system that fills the image. `has_root` is off for one of
    several disks of a machine: the root may be on another.
    """

    label: str = "gpt"
    size_bytes: int | None = None
    partitions: tuple[Partition, ...] = ()
    headroom: Headroom = field(default_factory=Headroom)
    raids: tuple[Raid, ...] = ()
    volume_groups: tuple[VolumeGroup, ...] = ()
    has_root: bool = True

    def volumes(self) -> tuple[Volume, ...]:
        """Everything that can hold a file system: partitions, arrays, logical volumes."""
        found = [
            Volume(p.name, "partition", p.type, p.size, p.filesystem, p.mount, p.mount_options)
            for p in self.partitions
        ]
        found += [
            Volume(r.name, "raid", "raid", REST, r.filesystem, r.mount, r.mount_options)
            for r in self.raids
        ]
        found += [
            Volume(volume_name(group.name, v.name), "logical_volume", "logical_volume", v.size,
                   v.filesystem, v.mount, v.mount_options)
            for group in self.volume_groups for v in group.logical_volumes
        ]  # fmt: skip
        return tuple(found)

    def by_mount(self) -> dict[str, Volume]:
        """The volumes that have a mount point, by it."""
        return {v.mount: v for v in self.volumes() if v.mount is not None}

    def of_type(self, type: str) -> Partition | None:
        """The first partition of a type."""
        return next((p for p in self.partitions if p.type == type), None)

    def users(self) -> dict[str, list[str]]:
        """What each partition or array is a part of: names of arrays and volume groups."""
        found: dict[str, list[str]] = {}
        for raid in self.raids:
            for member in raid.members:
                found.setdefault(member, []).append(raid.name)
        for group in self.volume_groups:
            for part in group.physical_volumes:
                found.setdefault(part, []).append(group.name)
        return found
