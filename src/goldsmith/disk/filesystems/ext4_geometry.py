"""How much an ext2, ext3 or ext4 of a given size holds, computed as mke2fs lays it out.

The options are ours and fixed (`ext4`), so the layout is too: blocks of 4 KiB, inodes of 256
bytes, group descriptors of 64 bytes (ext4) or 32, sparse superblock copies, room for growing
1024-fold. System tests compare these numbers with what mke2fs really leaves free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from goldsmith.units import MIB

BLOCK_BYTES: Final = 4096
INODE_BYTES: Final = 256
BLOCKS_PER_GROUP: Final = 32768
DESCRIPTOR_BYTES: Final = {"ext2": 32, "ext3": 32, "ext4": 64}
INODES_PER_BLOCK: Final = BLOCK_BYTES // INODE_BYTES
FIRST_INODES: Final = 11
"""Ten reserved inodes and lost+found."""

BYTES_PER_INODE: Final = 16384
"""One inode per 16 KiB as mke2fs does; a tree of smaller files gets more."""

RESERVED_PERCENT: Final = 1
"""Blocks that only root may use. mke2fs keeps 5 %, which on a disk that grows to many GiB is
space that nobody finds; 1 % still lets root log in and clean up. An automatic size adds them."""

MINIMUM_BYTES: Final = 4 * MIB

# lib/ext2fs/mkjournal.c, ext2fs_default_journal_size: blocks of the file system -> of the journal.
_JOURNAL_BLOCKS: Final = (
    (4096, 0), (32768, 1024), (256 << 10, 4096), (512 << 10, 8192), (4096 << 10, 16384),
    (8192 << 10, 32768), (16384 << 10, 65536), (32768 << 10, 131072),
)  # fmt: skip
_LARGEST_JOURNAL_BLOCKS: Final = 262144
# lib/ext2fs/initialize.c: a last group with less than this beside its own tables is dropped.
_SMALLEST_LAST_GROUP_BLOCKS: Final = 50
_ADDRESSES_PER_BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class Ext4Geometry:
    """An ext2, ext3 or ext4 as mke2fs would lay it out."""

    blocks: int
    inodes: int
    journal_blocks: int
    overhead_blocks: int
    """Superblocks, descriptors, bitmaps, inode tables, journal, the first directories."""

    @property
    def free_blocks(self) -> int:
        """What is left for files, the reserved blocks among it."""
        return self.blocks - self.overhead_blocks

    @property
    def free_inodes(self) -> int:
        """Inodes left for files."""
        return self.inodes - FIRST_INODES

    @property
    def reserved_blocks(self) -> int:
        """Blocks that only root may use."""
        return self.blocks * RESERVED_PERCENT // 100


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _has_superblock(group: int) -> bool:
    """Whether a group has a copy of the superblock (sparse_super)."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def journal_blocks(blocks: int, type: str = "ext4", wanted_mib: int | None = None) -> int:
    """The journal that mke2fs gives to a file system of so many blocks; none below 16 MiB.

    `wanted_mib` is its size where it was asked for.
    """
    if type == "ext2":
        return 0
    if wanted_mib is not None:
        return wanted_mib * MIB // BLOCK_BYTES
    return next((journal for limit, journal in _JOURNAL_BLOCKS if blocks < limit),
                _LARGEST_JOURNAL_BLOCKS)  # fmt: skip


def superblock_groups(blocks: int) -> list[int]:
    """The groups that have a copy of the superblock, the first one included."""
    return [g for g in range(_ceil(blocks, BLOCKS_PER_GROUP)) if _has_superblock(g)]


def inode_count(
    size_bytes: int, needed: int, bytes_per_inode: int | None = None, *, grows: bool = False
) -> int:
    """How many inodes to ask mke2fs for: the usual ratio, or a quarter more than needed.

    One that `grows` gets them by whole groups: resize2fs gives those that it adds as many as the
    first one has.
    """
    ratio = bytes_per_inode or BYTES_PER_INODE
    spare = needed + needed // 4 + 64 + FIRST_INODES
    group_bytes = BLOCKS_PER_GROUP * BLOCK_BYTES
    wanted_bytes = _ceil(size_bytes, group_bytes) * group_bytes if grows else size_bytes
    return max(wanted_bytes // ratio, spare)


def indirect_blocks(blocks: int) -> int:
    """The blocks that ext2 and ext3 need to find those of one file of so many."""
    single = _ceil(max(blocks - 12, 0), _ADDRESSES_PER_BLOCK)
    double = _ceil(max(single - 1, 0), _ADDRESSES_PER_BLOCK)
    return single + double + (double > 1)


def geometry(
    size_bytes: int, inodes: int, type: str = "ext4", journal_mib: int | None = None
) -> Ext4Geometry | None:
    """What `mke2fs -t type -N inodes` makes of a stretch of this size; None where it cannot.

    `journal_mib` is the size of the journal where mke2fs does not choose it.
    """
    descriptors_per_block = BLOCK_BYTES // DESCRIPTOR_BYTES[type]
    blocks = size_bytes // BLOCK_BYTES
    if size_bytes < MINIMUM_BYTES:
        return None
    while True:
        groups = _ceil(blocks, BLOCKS_PER_GROUP)
        per_group = _ceil(inodes, groups)
        if per_group > BLOCK_BYTES * 8:
            return None
        table_blocks = max(_ceil(per_group, INODES_PER_BLOCK), 1)
        descriptors = _ceil(groups, descriptors_per_block)
        largest = min(blocks * 1024, 0xFFFFFFFF)
        growth = _ceil(_ceil(largest, BLOCKS_PER_GROUP), descriptors_per_block) - descriptors
        superblock = 1 + descriptors + min(max(growth, 0), _ADDRESSES_PER_BLOCK)
        own = 2 + table_blocks
        rest = blocks % BLOCKS_PER_GROUP
        last_group = 1 + own + (superblock if _has_superblock(groups - 1) else 0)
        if rest and rest < last_group + _SMALLEST_LAST_GROUP_BLOCKS:
            if groups == 1:
                return None
            blocks -= rest
            continue
        break
    journal = journal_blocks(size_bytes // BLOCK_BYTES, type, journal_mib)
    overhead = groups * own + len(superblock_groups(blocks)) * superblock + journal
    # The root directory, lost+found (16 KiB), the resize inode's index, the journal's extents.
    mapping = (1 if journal > 4 * 32768 else 0) if type == "ext4" else indirect_blocks(journal)
    overhead += 1 + 4 + 1 + mapping
    # mke2fs refuses a journal that takes more than half of what is free.
    if overhead >= blocks or 2 * journal > blocks - overhead + journal:
        return None
    return Ext4Geometry(blocks, table_blocks * INODES_PER_BLOCK * groups, journal, overhead)
