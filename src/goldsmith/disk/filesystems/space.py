"""One question for every file system: do these files fit in so many bytes?

Exact for ext2, ext3 and ext4, bounds for the others. What a compressed file system will need is
known only when it is made: for those the planner takes the size of the finished one, or a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from goldsmith.disk.filesystems import btrfs_geometry, ext4_geometry, vfat_geometry, xfs_geometry
from goldsmith.disk.model import FileSystem
from goldsmith.disk.usage import TreeUsage
from goldsmith.units import MIB

BLOCK_BYTES: Final = 4096
PACKED: Final = ("squashfs", "erofs")
"""Compressed file systems that are made once and only read."""

# What mke2fs cannot put where it would like to: broken extents, a directory that grows.
_SLACK_BLOCKS: Final = 64
_SLACK_SHARE: Final = 512


def missing_bytes(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int = 0
) -> int:
    """How many bytes are missing for files and spare in a file system of this size; 0: they fit."""
    return _MISSING[filesystem.type](filesystem, usage, size_bytes, spare_bytes)


def inode_count(filesystem: FileSystem, usage: TreeUsage, size_bytes: int) -> int | None:
    """How many inodes to ask mkfs for; None for a file system that makes them as it needs them."""
    if filesystem.type not in ext4_geometry.DESCRIPTOR_BYTES:
        return None
    return _ext_inodes(filesystem, usage, size_bytes)


def largest_packed_bytes(usage: TreeUsage) -> int:
    """What a compressed file system takes at most, should nothing in it be compressible."""
    blocks = usage.blocks + usage.directory_blocks
    # Zeros are packed to far less than a fiftieth; 300 bytes are an inode, its name and its index.
    return (blocks + blocks // 100 + usage.hole_blocks // 50) * BLOCK_BYTES + (
        usage.inodes * 300 + MIB
    )


def _ext_inodes(filesystem: FileSystem, usage: TreeUsage, size_bytes: int) -> int:
    return ext4_geometry.inode_count(
        size_bytes, usage.inodes, filesystem.bytes_per_inode, grows=filesystem.grows
    )


def _ext_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    type = filesystem.type
    inodes = _ext_inodes(filesystem, usage, size_bytes)
    shape = ext4_geometry.geometry(size_bytes, inodes, type, filesystem.journal_mib)
    if shape is None:
        return MIB
    slack = _SLACK_BLOCKS + usage.blocks // _SLACK_SHARE
    if type != "ext4":
        slack += usage.long_files + (usage.data_blocks + usage.hole_blocks) // 1000
    # libext2fs fills reserved blocks too; only free space that is promised must lie beside them.
    reserved = shape.reserved_blocks if spare_bytes else 0
    needed = usage.blocks + slack + reserved - (-spare_bytes // BLOCK_BYTES)
    return max(needed - shape.free_blocks, 0) * BLOCK_BYTES


def _vfat_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    shape = vfat_geometry.geometry(size_bytes)
    if shape is None:
        return MIB
    # Names of 255 characters take 21 entries of 32 bytes: within the blocks of the directory.
    blocks = usage.blocks + usage.hole_blocks
    files = -(-blocks * BLOCK_BYTES // shape.cluster_bytes) * shape.cluster_bytes
    files += usage.inodes * max(shape.cluster_bytes - BLOCK_BYTES, 0)
    return max(files + spare_bytes - shape.free_bytes, 0)


def _xfs_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    free = xfs_geometry.free_blocks(size_bytes)
    if free is None:
        return xfs_geometry.MINIMUM_BYTES - size_bytes
    inodes = -(-usage.inodes // xfs_geometry.INODES_PER_BLOCK)
    needed = usage.blocks + usage.blocks // 100 + inodes + inodes // 20
    return max(needed - (-spare_bytes // BLOCK_BYTES) - free, 0) * BLOCK_BYTES


def _btrfs_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    return max(btrfs_geometry.needed_bytes(usage) + spare_bytes - size_bytes, 0)


def _packed_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    # Whether the files fit is known when they are packed.
    return max(BLOCK_BYTES - size_bytes, 0)


def _swap_missing(
    filesystem: FileSystem, usage: TreeUsage, size_bytes: int, spare_bytes: int
) -> int:
    return 0 if size_bytes >= MIB else MIB


_MISSING: Final[Mapping[str, Callable[[FileSystem, TreeUsage, int, int], int]]] = {
    "ext2": _ext_missing,
    "ext3": _ext_missing,
    "ext4": _ext_missing,
    "vfat": _vfat_missing,
    "xfs": _xfs_missing,
    "btrfs": _btrfs_missing,
    "squashfs": _packed_missing,
    "erofs": _packed_missing,
    "swap": _swap_missing,
}
