"""A planned disk: every partition, array and logical volume with its place and its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from goldsmith.disk.model import (
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    Raid,
    VolumeGroup,
    volume_name,
)

EXTENT_BYTES: Final = 4 << 20
"""LVM's physical extent, as vgcreate chooses it."""


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition with its place; `inodes` is what mkfs is asked for where it must be told."""

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
    def filesystem(self) -> FileSystem | None:
        """What it is formatted with."""
        return self.partition.filesystem

    @property
    def mount(self) -> str | None:
        """Where it is mounted."""
        return self.partition.mount

    @property
    def offset_bytes(self) -> int:
        """Where it begins on the disk."""
        return self.start_sector * self.sector_bytes

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self.size_sectors * self.sector_bytes


@dataclass(frozen=True, slots=True)
class PlannedArray:
    """An array of md metadata 1.2: `data_offset_bytes` and `component_bytes` are of each member.

    They are meant for `mdadm --create --data-offset= --size=`, so that the array is as large as it
    was planned whatever mdadm would choose.
    """

    raid: Raid
    data_offset_bytes: int
    component_bytes: int
    size_bytes: int
    inodes: int | None = None

    @property
    def name(self) -> str:
        """The array's name."""
        return self.raid.name

    @property
    def filesystem(self) -> FileSystem | None:
        """What it is formatted with."""
        return self.raid.filesystem

    @property
    def mount(self) -> str | None:
        """Where it is mounted."""
        return self.raid.mount


@dataclass(frozen=True, slots=True)
class PlannedLogicalVolume:
    """A logical volume with its number of extents."""

    group: str
    volume: LogicalVolume
    extents: int
    inodes: int | None = None

    @property
    def name(self) -> str:
        """`group/volume`."""
        return volume_name(self.group, self.volume.name)

    @property
    def filesystem(self) -> FileSystem | None:
        """What it is formatted with."""
        return self.volume.filesystem

    @property
    def mount(self) -> str | None:
        """Where it is mounted."""
        return self.volume.mount

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return self.extents * EXTENT_BYTES


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A volume group with the extents that its physical volumes give it."""

    group: VolumeGroup
    extents: int
    volumes: tuple[PlannedLogicalVolume, ...]

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.name


@dataclass(frozen=True, slots=True)
class ExtendedPartition:
    """The entry of an MBR that holds the logical partitions."""

    number: int
    start_sector: int
    size_sectors: int


PlannedVolume = PlannedPartition | PlannedArray | PlannedLogicalVolume


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A whole disk, ready to be assembled."""

    layout: Layout
    size_bytes: int
    partitions: tuple[PlannedPartition, ...]
    sector_bytes: int = 512
    extended: ExtendedPartition | None = None
    arrays: tuple[PlannedArray, ...] = ()
    groups: tuple[PlannedGroup, ...] = ()

    @property
    def label(self) -> str:
        """The kind of partition table: gpt, mbr or none."""
        return self.layout.label

    def volumes(self) -> tuple[PlannedVolume, ...]:
        """Everything that can hold a file system, in the order of `Layout.volumes`."""
        inside = tuple(volume for group in self.groups for volume in group.volumes)
        return (*self.partitions, *self.arrays, *inside)

    def by_mount(self) -> dict[str, PlannedVolume]:
        """The volumes that have a mount point, by it."""
        return {v.mount: v for v in self.volumes() if v.mount is not None}

    def of_type(self, type: str) -> PlannedPartition | None:
        """The first partition of a type."""
        return next((p for p in self.partitions if p.partition.type == type), None)
