"""Which blocks of an ext4 are free, read from bitmaps that are made here byte by byte."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.disk.filesystems.ext4_free import free_ranges

BLOCK = 1024
PER_GROUP = 64
OFFSET = 4096
TABLE = 4
"""Blocks of each group's inode table: 32 inodes of 128 bytes."""


def superblock(count: int, **changed: int) -> bytes:
    fields = {"blocks": count, "first": 1, "log": 0, "per_group": PER_GROUP, "inodes": 32,
              "magic": 0xEF53, "state": 1, "revision": 1, "inode_bytes": 128, "incompat": 0x42,
              "ro_compat": 0x400 | 0x1, "reserved": 1, **changed}  # fmt: skip
    data = bytearray(1024)
    for at, form, name in (
        (0x4, "<I", "blocks"), (0x14, "<I", "first"), (0x18, "<I", "log"),
        (0x20, "<I", "per_group"), (0x28, "<I", "inodes"), (0x38, "<H", "magic"),
        (0x3A, "<H", "state"), (0x4C, "<I", "revision"), (0x58, "<H", "inode_bytes"),
        (0x60, "<I", "incompat"), (0x64, "<I", "ro_compat"), (0xCE, "<H", "reserved"),
    ):  # fmt: skip
        struct.pack_into(form, data, at, fields[name])
    return bytes(data)


def made(place: Path, used: set[int], groups: int = 3, unwritten: frozenset[int] = frozenset(),
         **changed: int) -> int:  # fmt: skip
    """A file system of `groups` groups in which these blocks are used, besides its tables."""
    blocks = 1 + groups * PER_GROUP
    image = bytearray(OFFSET + blocks * BLOCK)
    image[OFFSET + 1024 : OFFSET + 2048] = superblock(blocks, **changed)
    for group in range(groups):
        first = 1 + group * PER_GROUP
        # Behind the copy of the superblock, the descriptors and one reserved block.
        at = (first + 3, first + 4, first + 5)
        flags = 0x2 if group in unwritten else 0
        descriptor = struct.pack("<IIIHHHH", *at, 0, 0, 0, flags)
        start = OFFSET + 2 * BLOCK + group * 32
        image[start : start + len(descriptor)] = descriptor
        if group in unwritten:
            continue
        taken = used | set(range(first, first + 5 + TABLE))
        bits = sum(1 << n for n in range(PER_GROUP) if first + n in taken)
        start = OFFSET + at[0] * BLOCK
        image[start : start + 8] = bits.to_bytes(8, "little")
    place.write_bytes(image)
    return blocks


def free_blocks(place: Path, blocks: int) -> set[int] | None:
    fd = os.open(place, os.O_RDONLY)
    try:
        found = free_ranges(fd, OFFSET, blocks * BLOCK)
    finally:
        os.close(fd)
    if found is None:
        return None
    assert found == sorted(found)
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(found))
    return {
        (start + at - OFFSET) // BLOCK for start, length in found for at in range(0, length, BLOCK)
    }


def own(groups: int) -> Iterator[int]:
    """The blocks of the tables, and the one before the first group."""
    for group in range(groups):
        yield from range(1 + group * PER_GROUP, 1 + group * PER_GROUP + 5 + TABLE)


@given(st.sets(st.integers(1, 3 * PER_GROUP)))
def test_free_is_what_nothing_uses(
    tmp_path_factory: pytest.TempPathFactory, used: set[int]
) -> None:
    place = tmp_path_factory.getbasetemp() / "any.ext4"
    blocks = made(place, used)
    assert free_blocks(place, blocks) == set(range(1, blocks)) - used - set(own(3))


def test_a_group_without_bitmap_has_tables_all_the_same(tmp_path: Path) -> None:
    blocks = made(tmp_path / "fs", {20}, unwritten=frozenset({1}))
    assert free_blocks(tmp_path / "fs", blocks) == set(range(1, blocks)) - {20} - set(own(3))
    # The third group has no copy of the superblock, the descriptors and what is kept for them.
    blocks = made(tmp_path / "fs", {20}, unwritten=frozenset({2}))
    found = set(range(1, blocks)) - {20} - set(own(3)) | {129, 130, 131}
    assert free_blocks(tmp_path / "fs", blocks) == found


@pytest.mark.parametrize(
    "changed",
    [{"magic": 0}, {"state": 0}, {"state": 3}, {"incompat": 0x46}, {"incompat": 0x52},
     {"incompat": 1 << 30}, {"ro_compat": 0x201}, {"log": 20}, {"per_group": 0},
     {"per_group": 10**6}, {"first": 7}, {"blocks": 10**6}],
)  # fmt: skip
def test_what_is_not_sure_is_not_free(tmp_path: Path, changed: dict[str, int]) -> None:
    """A journal to be replayed, errors, clusters, features that nobody knows, nonsense."""
    blocks = made(tmp_path / "fs", set(), **changed)
    assert free_blocks(tmp_path / "fs", blocks) is None


def test_bitmaps_outside_of_the_file_system_are_not_believed(tmp_path: Path) -> None:
    blocks = made(tmp_path / "fs", set())
    with open(tmp_path / "fs", "r+b") as file:
        file.seek(OFFSET + 2 * BLOCK)
        file.write(struct.pack("<I", 10**6))
    assert free_blocks(tmp_path / "fs", blocks) is None


@given(st.binary(max_size=1024))
def test_no_bytes_are_a_defect(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    place = tmp_path_factory.getbasetemp() / "any-bytes"
    place.write_bytes(bytes(1024) + data[:0x38] + b"\x53\xef" + data[0x3A:])
    fd = os.open(place, os.O_RDONLY)
    try:
        free_ranges(fd, 0, 1 << 20)
    finally:
        os.close(fd)
