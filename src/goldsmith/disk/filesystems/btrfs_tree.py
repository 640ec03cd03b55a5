"""Mending a btrfs that mkfs.btrfs has just made: its top directory, device nodes and size.

Layout: https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html. One device, checksums of
crc32c; everything else is refused.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.disk.filesystems.crc32c import crc32c
from goldsmith.errors import GoldsmithError

_SUPERBLOCK_AT: Final = 64 << 10
_SUPERBLOCK_COPIES_AT: Final = (64 << 10, 64 << 20, 256 << 30)
_SUPERBLOCK_BYTES: Final = 4096
_TOTAL_BYTES_AT: Final = 0x70
_DEVICE_AT: Final = 0xC9
_MAGIC: Final = b"_BHRfS_M"
_ROOTS_AT: Final = 0x50
_NODE_SIZE_AT: Final = 0x94
_CHUNK_ARRAY_SIZE_AT: Final = 0xA0
_CHECKSUM_TYPE_AT: Final = 0xC4
_CHUNK_ARRAY_AT: Final = 0x32B

_CHECKSUM_BYTES: Final = 32
_KEY: Final = "<QBQ"
_KEY_BYTES: Final = 17
_CHUNK_BYTES: Final = 48
_STRIPE_BYTES: Final = 32
_HEADER_BYTES: Final = 0x65
_ITEM_BYTES: Final = 25
_POINTER_BYTES: Final = 33

_CHUNK_ITEM: Final = 228
_DEVICE_ITEM: Final = 216
_ROOT_ITEM: Final = 132
_INODE_ITEM: Final = 1
_FILE_TREE: Final = 5
_ROOT_DIRECTORY: Final = 256
_ROOT_ITEM_NODE_AT: Final = 176
# struct btrfs_inode_item: uid, gid, mode; then atime, ctime, mtime, otime of 12 bytes each.
_OWNER_AT: Final = 44
_TIMES_AT: Final = 112
_TIMES: Final = 4
_DEVICE_NUMBER_AT: Final = 56
_DEVICE_TOTAL_AT: Final = 8


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A range of logical addresses and where its copies begin on the device."""

    logical: int
    length: int
    copies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a leaf: its key and the place of its data in the node."""

    objectid: int
    type: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class BtrfsFile:
    """A btrfs in an open file."""

    fd: int
    node_bytes: int
    root_node: int
    chunk_node: int
    chunks: tuple[_Chunk, ...]

    @classmethod
    def read(cls, fd: int) -> BtrfsFile:
        """Read superblock and chunk tree; raises GoldsmithError when it is not one of ours."""
        block = os.pread(fd, _SUPERBLOCK_BYTES, _SUPERBLOCK_AT)
        if block[0x40:0x48] != _MAGIC:
            raise GoldsmithError("there is no btrfs in the file that mkfs.btrfs has made")
        (checksum_type,) = struct.unpack_from("<H", block, _CHECKSUM_TYPE_AT)
        if checksum_type != 0:
            raise GoldsmithError("the btrfs has checksums other than crc32c")
        root, chunk_root = struct.unpack_from("<QQ", block, _ROOTS_AT)
        (node_bytes,) = struct.unpack_from("<I", block, _NODE_SIZE_AT)
        (size,) = struct.unpack_from("<I", block, _CHUNK_ARRAY_SIZE_AT)
        array = block[_CHUNK_ARRAY_AT : _CHUNK_ARRAY_AT + size]
        system = cls(fd, node_bytes, root, chunk_root, tuple(_chunks_of_array(array)))
        chunks = [
            _chunk(struct.unpack_from(_KEY, leaf, at)[2], leaf[item.start :])
            for leaf, _ in system._leaves(chunk_root)
            for at, item in _items(leaf)
            if item.type == _CHUNK_ITEM
        ]
        return cls(fd, node_bytes, root, chunk_root, tuple(chunks))

    def _copies(self, logical: int) -> list[int]:
        for chunk in self.chunks:
            if chunk.logical <= logical < chunk.logical + chunk.length:
                return [copy + logical - chunk.logical for copy in chunk.copies]
        raise GoldsmithError(f"the btrfs has no chunk at {logical}")

    def _leaves(self, logical: int) -> Iterator[tuple[bytes, int]]:
        """The leaves below a node in the order of their keys, each with its address."""
        node = os.pread(self.fd, self.node_bytes, self._copies(logical)[0])
        (count,) = struct.unpack_from("<I", node, 0x60)
        if node[0x64] == 0:
            yield node, logical
            return
        for number in range(count):
            at = _HEADER_BYTES + number * _POINTER_BYTES + _KEY_BYTES
            yield from self._leaves(struct.unpack_from("<Q", node, at)[0])

    def _file_tree(self) -> int:
        """The address of the top node of the files' tree."""
        for leaf, _ in self._leaves(self.root_node):
            for _, item in _items(leaf):
                if (item.objectid, item.type) == (_FILE_TREE, _ROOT_ITEM):
                    (node,) = struct.unpack_from("<Q", leaf, item.start + _ROOT_ITEM_NODE_AT)
                    return int(node)
        raise GoldsmithError("the btrfs has no file tree")

    def _write_leaf(self, leaf: bytearray, logical: int) -> None:
        """Write a changed leaf with its checksum, in every copy."""
        struct.pack_into("<I", leaf, 0, crc32c(bytes(leaf[_CHECKSUM_BYTES:])) ^ 0xFFFFFFFF)
        for at in self._copies(logical):
            os.pwrite(self.fd, leaf, at)

    def set_root_directory(self, mode: int, uid: int, gid: int, time_s: int) -> None:
        """Give the top directory its mode, owner and times."""
        # The root directory's inode is the first item of the first leaf.
        leaf, logical = next(self._leaves(self._file_tree()))
        _, item = next(_items(leaf))
        if (item.objectid, item.type) != (_ROOT_DIRECTORY, _INODE_ITEM):
            raise GoldsmithError("the file tree of the btrfs does not begin with its root")
        changed = bytearray(leaf)
        owner = (uid, gid, stat.S_IFDIR | mode)
        struct.pack_into("<III", changed, item.start + _OWNER_AT, *owner)
        for number in range(_TIMES):
            struct.pack_into("<QI", changed, item.start + _TIMES_AT + 12 * number, time_s, 0)
        self._write_leaf(changed, logical)

    def set_devices(self, devices: Mapping[int, tuple[int, int]]) -> None:
        """Give device nodes their major and minor numbers, by inode."""
        if not devices:
            return
        left = set(devices)
        for leaf, logical in self._leaves(self._file_tree()):
            changed = bytearray(leaf)
            for _, item in _items(leaf):
                if item.type == _INODE_ITEM and item.objectid in left:
                    major, minor = devices[item.objectid]
                    # The kernel's own encoding: twenty bits of the minor number.
                    number = major << 20 | minor
                    struct.pack_into("<Q", changed, item.start + _DEVICE_NUMBER_AT, number)
                    left.discard(item.objectid)
            if changed != leaf:
                self._write_leaf(changed, logical)
        if left:
            raise GoldsmithError(f"the btrfs has no device node with the inode {min(left)}")

    def grow(self, size_bytes: int) -> None:
        """Make the file system believe that its device is so large, as a resize would."""
        for leaf, logical in self._leaves(self.chunk_node):
            for _, item in _items(leaf):
                if item.type == _DEVICE_ITEM:
                    changed = bytearray(leaf)
                    struct.pack_into("<Q", changed, item.start + _DEVICE_TOTAL_AT, size_bytes)
                    self._write_leaf(changed, logical)
        for at in _SUPERBLOCK_COPIES_AT:
            block = bytearray(os.pread(self.fd, _SUPERBLOCK_BYTES, at))
            if block[0x40:0x48] == _MAGIC:
                struct.pack_into("<Q", block, _TOTAL_BYTES_AT, size_bytes)
                struct.pack_into("<Q", block, _DEVICE_AT + _DEVICE_TOTAL_AT, size_bytes)
                checksum = crc32c(bytes(block[_CHECKSUM_BYTES:])) ^ 0xFFFFFFFF
                struct.pack_into("<I", block, 0, checksum)
                os.pwrite(self.fd, block, at)


def _chunk(logical: int, data: bytes) -> _Chunk:
    (length,) = struct.unpack_from("<Q", data)
    (stripes,) = struct.unpack_from("<H", data, 44)
    offsets = [
        struct.unpack_from("<Q", data, _CHUNK_BYTES + number * _STRIPE_BYTES + 8)[0]
        for number in range(stripes)
    ]
    return _Chunk(logical, length, tuple(offsets))


def _chunks_of_array(array: bytes) -> Iterator[_Chunk]:
    at = 0
    while at < len(array):
        logical = struct.unpack_from(_KEY, array, at)[2]
        chunk = _chunk(logical, array[at + _KEY_BYTES :])
        yield chunk
        at += _KEY_BYTES + _CHUNK_BYTES + len(chunk.copies) * _STRIPE_BYTES


def _items(leaf: bytes) -> Iterator[tuple[int, _Item]]:
    """The items of a leaf, each with the place of its key."""
    (count,) = struct.unpack_from("<I", leaf, 0x60)
    for number in range(count):
        at = _HEADER_BYTES + number * _ITEM_BYTES
        objectid, type, _ = struct.unpack_from(_KEY, leaf, at)
        start, size = struct.unpack_from("<II", leaf, at + _KEY_BYTES)
        yield at, _Item(objectid, type, _HEADER_BYTES + start, size)
