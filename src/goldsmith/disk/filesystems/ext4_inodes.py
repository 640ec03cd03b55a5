"""Reading and mending the few fields of an ext2, ext3 or ext4 that mke2fs takes from the host.

Layout: https://docs.kernel.org/filesystems/ext4/ (superblock, group descriptors, inodes). Only
file systems that `ext4.make` has just made are read here: 4 KiB blocks, 256-byte inodes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from goldsmith.disk.filesystems.crc32c import crc32c
from goldsmith.disk.filesystems.ext4_geometry import (
    BLOCK_BYTES,
    BLOCKS_PER_GROUP,
    INODE_BYTES,
    superblock_groups,
)
from goldsmith.errors import GoldsmithError

ROOT_INODE: Final = 2
FIRST_FILE_INODE: Final = 11
"""lost+found; the inodes before it, the root's apart, hold the file system's own tables."""

_SUPERBLOCK_AT: Final = 1024
_SUPERBLOCK_BYTES: Final = 1024
_CHECKSUM_AT: Final = 0x3FC
_KBYTES_WRITTEN_AT: Final = 0x178
_MAGIC_AT: Final = 0x38
_MAGIC: Final = b"\x53\xef"
_INODE_UNINIT: Final = 0x1
_INCOMPAT_AT: Final = 0x60
_INCOMPAT_64BIT: Final = 0x80
_RO_COMPAT_AT: Final = 0x64
_RO_COMPAT_METADATA_CSUM: Final = 0x400


@dataclass(frozen=True, slots=True)
class Ext4File:
    """A file system inside an open image: where it begins and its superblock's numbers."""

    fd: int
    offset_bytes: int
    blocks: int
    inodes_per_group: int
    descriptor_bytes: int = 64
    has_checksums: bool = True

    @classmethod
    def read(cls, fd: int, offset_bytes: int) -> Ext4File:
        """Read the superblock; raises GoldsmithError when there is none."""
        superblock = os.pread(fd, _SUPERBLOCK_BYTES, offset_bytes + _SUPERBLOCK_AT)
        if superblock[_MAGIC_AT : _MAGIC_AT + 2] != _MAGIC:
            raise GoldsmithError(f"there is no ext4 at byte {offset_bytes} of the image")
        (low,) = struct.unpack_from("<I", superblock, 0x4)
        (high,) = struct.unpack_from("<I", superblock, 0x150)
        (per_group,) = struct.unpack_from("<I", superblock, 0x28)
        (incompat,) = struct.unpack_from("<I", superblock, _INCOMPAT_AT)
        (ro_compat,) = struct.unpack_from("<I", superblock, _RO_COMPAT_AT)
        is_64bit = bool(incompat & _INCOMPAT_64BIT)
        return cls(
            fd, offset_bytes, low | (high << 32 if is_64bit else 0), per_group,
            64 if is_64bit else 32, bool(ro_compat & _RO_COMPAT_METADATA_CSUM),
        )  # fmt: skip

    def _block(self, number: int, count: int = 1) -> bytes:
        return os.pread(self.fd, BLOCK_BYTES * count, self.offset_bytes + number * BLOCK_BYTES)

    def inodes_in_use(self) -> Iterator[tuple[int, bytes]]:
        """Number and raw inode of the root, lost+found and every file."""
        groups = -(-self.blocks // BLOCKS_PER_GROUP)
        descriptors = self._block(1, -(-groups * self.descriptor_bytes // BLOCK_BYTES))
        for group in range(groups):
            at = group * self.descriptor_bytes
            bitmap_low, table_low = struct.unpack_from("<II", descriptors, at + 4)
            (flags,) = struct.unpack_from("<H", descriptors, at + 0x12)
            bitmap_high = table_high = 0
            if self.descriptor_bytes > 32:
                bitmap_high, table_high = struct.unpack_from("<II", descriptors, at + 0x24)
            if flags & _INODE_UNINIT:
                continue
            bitmap = int.from_bytes(self._block(bitmap_low | bitmap_high << 32), "little")
            table = table_low | table_high << 32
            yield from self._of_group(group, bitmap, table)

    def _of_group(self, group: int, bitmap: int, table: int) -> Iterator[tuple[int, bytes]]:
        used = bitmap & ((1 << self.inodes_per_group) - 1)
        inodes = self._block(table, -(-used.bit_length() * INODE_BYTES // BLOCK_BYTES))
        bits = bin(used)[:1:-1]
        index = bits.find("1")
        while index >= 0:
            number = group * self.inodes_per_group + index + 1
            if number == ROOT_INODE or number >= FIRST_FILE_INODE:
                yield number, inodes[index * INODE_BYTES : (index + 1) * INODE_BYTES]
            index = bits.find("1", index + 1)

    def zero_kbytes_written(self) -> None:
        """Clear the count of kilobytes ever written, in every copy of the superblock.

        mke2fs puts there what its own process has written, which depends on how writes fell
        together; debugfs changes the first copy alone.
        """
        for group in superblock_groups(self.blocks):
            at = self.offset_bytes + group * BLOCKS_PER_GROUP * BLOCK_BYTES
            at += _SUPERBLOCK_AT if group == 0 else 0
            superblock = bytearray(os.pread(self.fd, _SUPERBLOCK_BYTES, at))
            if superblock[_MAGIC_AT : _MAGIC_AT + 2] != _MAGIC:
                raise GoldsmithError(f"ext4 has no superblock copy in group {group}")
            superblock[_KBYTES_WRITTEN_AT : _KBYTES_WRITTEN_AT + 8] = bytes(8)
            if self.has_checksums:
                checksum = crc32c(bytes(superblock[:_CHECKSUM_AT]))
                superblock[_CHECKSUM_AT:] = struct.pack("<I", checksum)
            os.pwrite(self.fd, superblock, at)


def modified_s(inode: bytes) -> int:
    """An inode's time of modification, in seconds; ext4 keeps 34 bits of them."""
    (seconds,) = struct.unpack_from("<i", inode, 0x10)
    (extra,) = struct.unpack_from("<I", inode, 0x88)
    return int(seconds) + ((int(extra) & 3) << 32)
