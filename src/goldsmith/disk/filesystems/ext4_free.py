"""Which blocks of an ext2, ext3 or ext4 no file and no table uses, by its own bitmaps.

Layout: https://docs.kernel.org/filesystems/ext4/ (superblock, group descriptors, bitmaps). Any
file system of this kind is read here, whoever made it; what cannot be told for sure is not free.
"""

from __future__ import annotations

import itertools
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_SUPERBLOCK_AT: Final = 1024
_MAGIC: Final = 0xEF53
_CLEAN: Final = 0x1
_HAS_ERRORS: Final = 0x2
_BLOCK_UNINIT: Final = 0x2
_64BIT: Final = 0x80
# filetype, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt,
# casefold: none of them moves a bitmap. Missing here: a journal to be replayed, meta_bg.
_KNOWN_INCOMPAT: Final = 0x2 | 0x40 | _64BIT | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | (
    0x10000 | 0x20000
)  # fmt: skip
_SPARSE_SUPER: Final = 0x1
_GROUP_CHECKSUMS: Final = 0x10 | 0x400
_BIGALLOC: Final = 0x200
_LARGEST_BLOCK_BYTES: Final = 65536
_MOST_GROUPS: Final = 1 << 22
_RUN: Final = re.compile("0+")


@dataclass(frozen=True, slots=True)
class _Groups:
    """How a file system is divided; all numbers are of its own blocks."""

    block_bytes: int
    blocks: int
    first_block: int
    per_group: int
    inode_table_blocks: int
    descriptor_bytes: int
    has_checksums: bool
    sparse_copies: bool
    reserved: int
    """The blocks behind each copy of the descriptors that are kept for more of them."""

    @property
    def count(self) -> int:
        """How many groups there are."""
        return -(-(self.blocks - self.first_block) // self.per_group)

    def has_copy(self, group: int) -> bool:
        """Whether a copy of the superblock and the descriptors may lie in a group."""
        if group <= 1 or not self.sparse_copies:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def free_ranges(fd: int, offset_bytes: int, size_bytes: int) -> list[tuple[int, int]] | None:
    """The free stretches of the file system at an offset of an open image, as (offset, length).

    Offsets are those of the image, in order. None where they cannot be told: no such file system,
    one that was not unmounted or has errors, or features by which bitmaps mean something else.
    """
    superblock = os.pread(fd, 1024, offset_bytes + _SUPERBLOCK_AT)
    groups = _read_groups(superblock, size_bytes)
    if groups is None:
        return None
    block_bytes = groups.block_bytes
    length = groups.count * groups.descriptor_bytes
    table = os.pread(fd, length, offset_bytes + (groups.first_block + 1) * block_bytes)
    if len(table) != length:
        return None
    places = [_places(table, at, groups) for at in range(0, length, groups.descriptor_bytes)]
    if any(not 0 < place < groups.blocks for three in places for place in three[:3]):
        return None
    taken = _tables(groups, places)
    found: list[tuple[int, int]] = []
    for group, (bitmap_at, _, _, unwritten) in enumerate(places):
        first = groups.first_block + group * groups.per_group
        count = min(groups.per_group, groups.blocks - first)
        runs: Iterator[tuple[int, int]] = iter([(0, count)])
        if not unwritten:
            bitmap = os.pread(fd, -(-count // 8), offset_bytes + bitmap_at * block_bytes)
            runs = _clear_runs(bitmap, count)
        for start, end in runs:
            for at, stop in _without(first + start, first + end, taken):
                _append(found, offset_bytes + at * block_bytes, (stop - at) * block_bytes)
    return found


def _read_groups(superblock: bytes, size_bytes: int) -> _Groups | None:
    if len(superblock) != 1024 or struct.unpack_from("<H", superblock, 0x38)[0] != _MAGIC:
        return None
    (state,) = struct.unpack_from("<H", superblock, 0x3A)
    incompat, ro_compat = struct.unpack_from("<II", superblock, 0x60)
    if not state & _CLEAN or state & _HAS_ERRORS:
        return None
    if incompat & ~_KNOWN_INCOMPAT or ro_compat & _BIGALLOC:
        return None
    (low,) = struct.unpack_from("<I", superblock, 0x4)
    (high,) = struct.unpack_from("<I", superblock, 0x150)
    first_block, log_size = struct.unpack_from("<II", superblock, 0x14)
    (per_group,) = struct.unpack_from("<I", superblock, 0x20)
    (inodes_per_group,) = struct.unpack_from("<I", superblock, 0x28)
    (revision,) = struct.unpack_from("<I", superblock, 0x4C)
    inode_bytes = struct.unpack_from("<H", superblock, 0x58)[0] if revision else 128
    (reserved,) = struct.unpack_from("<H", superblock, 0xCE)
    wide = struct.unpack_from("<H", superblock, 0xFE)[0] if incompat & _64BIT else 32
    block_bytes = 1024 << log_size if log_size <= 6 else 0
    if not 1024 <= block_bytes <= _LARGEST_BLOCK_BYTES or not 0 < per_group <= block_bytes * 8:
        return None
    blocks = low | (high << 32 if incompat & _64BIT else 0)
    if wide not in (32, 64) or first_block not in (0, 1) or blocks <= first_block:
        return None
    groups = _Groups(
        block_bytes, blocks, first_block, per_group,
        -(-inodes_per_group * inode_bytes // block_bytes), wide,
        bool(ro_compat & _GROUP_CHECKSUMS), bool(ro_compat & _SPARSE_SUPER), reserved,
    )  # fmt: skip
    return groups if blocks * block_bytes <= size_bytes and groups.count <= _MOST_GROUPS else None


def _places(table: bytes, at: int, groups: _Groups) -> tuple[int, int, int, bool]:
    """Where a group's bitmaps and inodes lie, and whether its bitmap of blocks was never made."""
    low = struct.unpack_from("<III", table, at)
    high = (0, 0, 0)
    if groups.descriptor_bytes == 64:
        high = struct.unpack_from("<III", table, at + 0x20)
    (flags,) = struct.unpack_from("<H", table, at + 0x12)
    blocks, inodes, inode_table = (lo | hi << 32 for lo, hi in zip(low, high, strict=True))
    return blocks, inodes, inode_table, groups.has_checksums and bool(flags & _BLOCK_UNINIT)


def _tables(
    groups: _Groups, places: Sequence[tuple[int, int, int, bool]]
) -> list[tuple[int, int]]:  # fmt: skip
    """Where the file system keeps its own tables, in order: groups without bitmap do not say it."""
    found: list[tuple[int, int]] = []
    descriptors = -(-len(places) * groups.descriptor_bytes // groups.block_bytes)
    for group, (blocks_at, inodes_at, table_at, _) in enumerate(places):
        found += [(blocks_at, blocks_at + 1), (inodes_at, inodes_at + 1),
                  (table_at, table_at + groups.inode_table_blocks)]  # fmt: skip
        if groups.has_copy(group):
            first = groups.first_block + group * groups.per_group
            found.append((first, first + 1 + descriptors + groups.reserved))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _clear_runs(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """Runs of clear bits among the first `count`; what the bitmap does not hold is not clear."""
    bits = format(int.from_bytes(bitmap, "little") | 1 << (len(bitmap) * 8), "b")[:0:-1]
    for match in _RUN.finditer(bits, 0, min(count, len(bits))):
        yield match.span()


def _without(start: int, end: int, taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """A range less those that are taken; `taken` is in order."""
    at = max(bisect_right(taken, (start, start)) - 1, 0)
    for first, last in itertools.islice(taken, at, None):
        if first >= end:
            break
        if last <= start:
            continue
        if first > start:
            yield start, first
        start = last
        if start >= end:
            return
    if start < end:
        yield start, end


def _append(found: list[tuple[int, int]], offset: int, length: int) -> None:
    if found and sum(found[-1]) == offset:
        offset, before = found.pop()
        length += before
    found.append((offset, length))
