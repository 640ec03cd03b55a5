"""What a tree will need on a disk: inodes and blocks per mount point, measured in one walk.

The numbers follow what `mkfs.ext4 -d` writes (e2fsprogs 1.47: holes stay holes, directories are
linear, one extent per stretch of data), so that an automatic size is neither a guess nor wasteful.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.host.sparse import data_extents

BLOCK_BYTES: Final = 4096
# An ext4 inode of 256 bytes: a target up to 59 bytes lies in the inode itself.
_FAST_SYMLINK_BYTES: Final = 59
# 256 - 128 - 32 (extra fields) - 4 (header) - 4 (end mark) bytes are left for attributes.
_INODE_XATTR_BYTES: Final = 88
_EXTENTS_IN_INODE: Final = 4
DIRECT_BLOCKS: Final = 12
"""The blocks of a file that an inode of ext2 and ext3 names itself."""
_EXTENTS_PER_BLOCK: Final = 340
_LONGEST_EXTENT_BLOCKS: Final = 32768
# A directory block holds 4096 bytes less its checksum record of 12.
_DIRECTORY_BLOCK_BYTES: Final = BLOCK_BYTES - 12


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """What the files of one mount point take; blocks are of 4 KiB."""

    inodes: int = 0
    data_blocks: int = 0
    """Contents of files, holes and second links left out."""
    directory_blocks: int = 0
    metadata_blocks: int = 0
    """Long symlinks, extended attributes and extent trees that do not fit in inodes."""
    hole_blocks: int = 0
    """Holes in files: nothing where the tool keeps them, zeros where it does not."""
    long_files: int = 0
    """Files of more than 12 blocks, which take indirect blocks in ext2 and ext3."""
    small_files: int = 0
    """Files of less than a block, each counted as one of data, which btrfs keeps in metadata."""
    small_bytes: int = 0
    """The contents of those."""

    @property
    def blocks(self) -> int:
        """All blocks together."""
        return self.data_blocks + self.directory_blocks + self.metadata_blocks

    def __add__(self, other: TreeUsage) -> TreeUsage:
        return TreeUsage(
            self.inodes + other.inodes,
            self.data_blocks + other.data_blocks,
            self.directory_blocks + other.directory_blocks,
            self.metadata_blocks + other.metadata_blocks,
            self.hole_blocks + other.hole_blocks,
            self.long_files + other.long_files,
            self.small_files + other.small_files,
            self.small_bytes + other.small_bytes,
        )


def extent_tree_blocks(extents: int) -> int:
    """The blocks of an extent tree with so many leaves; up to 4 lie in the inode."""
    total = 0
    while extents > _EXTENTS_IN_INODE:
        extents = -(-extents // _EXTENTS_PER_BLOCK)
        total += extents
    return total


def file_usage(size_bytes: int) -> TreeUsage:
    """What one plain file without holes takes."""
    blocks = -(-size_bytes // BLOCK_BYTES)
    extents = -(-blocks // _LONGEST_EXTENT_BLOCKS)
    return TreeUsage(
        1, blocks, 0, extent_tree_blocks(extents), long_files=int(blocks > DIRECT_BLOCKS)
    )


def measure(tree: Path, mounts: Collection[str] = ("/",)) -> Mapping[str, TreeUsage]:
    """Walk a tree once and split what it takes by the mount points of the layout.

    What lies below `/boot/efi` counts for `/boot/efi` when that is a mount point, else for the
    nearest one above it. A file with several links counts once per mount point. Reads no contents.
    """
    counters = {mount: _Counter() for mount in {"/", *mounts}}
    pending = [(os.fsencode(tree), "/", "/")]
    while pending:
        directory, path, mount = pending.pop()
        if path != "/" and path in counters:
            counters[mount].add_directory([])  # the mount point itself, empty
            mount = path
        counter = counters[mount]
        names = []
        with os.scandir(directory) as entries:
            for entry in entries:
                names.append(entry.name)
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    below = f"{path.rstrip('/')}/{os.fsdecode(entry.name)}"
                    pending.append((entry.path, below, mount))
                else:
                    counter.add_file(entry.path, status)
        counter.add_directory(names)
        counter.add_attributes(directory)
    return {mount: counter.total() for mount, counter in counters.items()}


class _Counter:
    """Adds up one mount point."""

    def __init__(self) -> None:
        self._inodes = 0
        self._data = 0
        self._directories = 0
        self._metadata = 0
        self._holes = 0
        self._long_files = 0
        self._small_files = 0
        self._small_bytes = 0
        self._seen: set[tuple[int, int]] = set()

    def total(self) -> TreeUsage:
        return TreeUsage(self._inodes, self._data, self._directories, self._metadata,
                         self._holes, self._long_files, self._small_files,
                         self._small_bytes)  # fmt: skip

    def add_directory(self, names: list[bytes]) -> None:
        self._inodes += 1
        # "." and "..", then eight bytes and the name, rounded to four; no entry spans two blocks.
        lengths = [(8 + len(name) + 3) & ~3 for name in names]
        longest = max(lengths, default=0)
        used = 24 + sum(lengths)
        if used <= _DIRECTORY_BLOCK_BYTES:
            self._directories += 1
            return
        blocks = -(-used // (_DIRECTORY_BLOCK_BYTES - longest + 4))
        self._directories += blocks
        # It grows a block at a time between the files of others: hardly two blocks adjoin.
        self._metadata += extent_tree_blocks(blocks)

    def add_file(self, path: bytes, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen:
                return
            self._seen.add(identity)
        self._inodes += 1
        if stat.S_ISREG(status.st_mode):
            extents = self._add_contents(path, status)
            self._metadata += extent_tree_blocks(extents)
        elif stat.S_ISLNK(status.st_mode) and status.st_size > _FAST_SYMLINK_BYTES:
            self._data += 1
        self.add_attributes(path)

    def _add_contents(self, path: bytes, status: os.stat_result) -> int:
        """Add a file's blocks and return the extents that they take."""
        whole = -(-status.st_size // BLOCK_BYTES)
        if status.st_blocks * 512 < status.st_size and (sparse := _mapped_blocks(path)):
            blocks, stretches = sparse
        else:
            blocks, stretches = whole, 1
        self._data += blocks
        self._holes += max(whole - blocks, 0)
        # A hole before the data takes indirect blocks as well.
        self._long_files += whole > DIRECT_BLOCKS
        if 0 < status.st_size < BLOCK_BYTES:
            self._small_files += 1
            self._small_bytes += status.st_size
        return stretches + blocks // _LONGEST_EXTENT_BLOCKS

    def add_attributes(self, path: bytes) -> None:
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError:  # the file system has none
            return
        if not names:
            return
        size = 0
        for name in names:
            try:
                value = os.getxattr(path, name, follow_symlinks=False)
            except OSError:  # not ours to read, and mkfs will not read it either
                continue
            size += 16 + ((len(os.fsencode(name)) + 3) & ~3) + ((len(value) + 3) & ~3)
        if size > _INODE_XATTR_BYTES:
            self._metadata += 1


def _mapped_blocks(path: bytes) -> tuple[int, int] | None:
    """Blocks with data and the stretches that they form; None where that cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        blocks = stretches = 0
        for start, length in data_extents(fd):
            blocks += -(-(start + length) // BLOCK_BYTES) - start // BLOCK_BYTES
            stretches += 1
        return blocks, stretches
    finally:
        os.close(fd)
