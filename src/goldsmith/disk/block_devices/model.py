"""The nodes of a block device configuration: what each entry says, with defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from goldsmith.errors import SourceRange


@dataclass(frozen=True, slots=True)
class Extent:
    """A size: so many bytes, or a share (of 1) of what `of` names: "", "VG", "FREE" or "PVS"."""

    size_bytes: int | None = None
    share: Fraction | None = None
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An entry: its name is unique, `base` names the node that it lies on ("" for none)."""

    name: str
    base: str = ""
    place: SourceRange | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLoop(Node):
    """An image file as a disk; size None is that of the image."""

    size_bytes: int | None = None
    directory: str | None = None
    block_size_bytes: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionEntry(Node):
    """A partition of the table `base`; `type` is a byte in hexadecimal (mbr) or an sgdisk code."""

    size: Extent
    type: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitioning(Node):
    """A partition table, "mbr" or "gpt"."""

    label: str
    align_bytes: int = 1 << 20
    partitions: tuple[PartitionEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalVolume(Node):
    """A partition or disk that volume groups take space from."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Node):
    """A volume group over physical volumes."""

    volumes: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical(Node):
    """A logical volume of the group `base`; `type` is "" or one of "thin" and "thin-pool"."""

    size: Extent
    options: tuple[str, ...] = ()
    type: str = ""
    thin_pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lvm(Node):
    """Physical volumes, groups and logical volumes."""

    physical: tuple[PhysicalVolume, ...] = ()
    groups: tuple[Group, ...] = ()
    logical: tuple[Logical, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mkfs(Node):
    """A file system on `base`; "" as type, label or uuid leaves it to the image."""

    type: str
    label: str
    options: tuple[str, ...] = ()
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Node):
    """Where the file system `base` is seen in the image."""

    mount_point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fstab(Node):
    """What stands in fstab of the mount `base`."""

    options: str = "defaults"
    dump_freq: int = 0
    fsck_passno: int = 2


@dataclass(frozen=True, slots=True)
class BlockDevices:
    """A whole configuration, in the order of writing."""

    loops: tuple[LocalLoop, ...] = ()
    tables: tuple[Partitioning, ...] = ()
    lvms: tuple[Lvm, ...] = ()
    filesystems: tuple[Mkfs, ...] = ()
    mounts: tuple[Mount, ...] = ()
    fstab: tuple[Fstab, ...] = ()

    def every(self) -> tuple[Node, ...]:
        """All nodes, with the partitions and volumes inside others."""
        inner = [p for table in self.tables for p in table.partitions]
        volumes = [v for lvm in self.lvms for v in (*lvm.physical, *lvm.groups, *lvm.logical)]
        return (*self.loops, *self.tables, *inner, *self.lvms, *volumes, *self.filesystems,
                *self.mounts, *self.fstab)  # fmt: skip
