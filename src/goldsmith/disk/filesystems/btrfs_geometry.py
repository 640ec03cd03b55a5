"""How large a btrfs must be when mkfs.btrfs 6.2 fills it: a bound from above.

`mkfs.btrfs --rootdir --shrink` hands out chunks of 8 MiB for data, and for metadata, which is
there twice, chunks of a twentieth of the size that it estimates beforehand; then it cuts the
device behind the last one. Up to a quarter of the data chunks stays free. Files of less than a
block lie in the metadata. System tests hold the bound against trees of tiny and of large files.
"""

from __future__ import annotations

from typing import Final

from goldsmith.disk.usage import TreeUsage
from goldsmith.units import MIB

BLOCK_BYTES: Final = 4096
MINIMUM_BYTES: Final = 128 * MIB
"""mkfs.btrfs takes 109 MiB; below 128 MiB hardly a third of it would be for files."""

_DATA_CHUNK_BYTES: Final = 8 * MIB
_LEAST_METADATA_CHUNK_BYTES: Final = 32 * MIB
# Superblocks, two system chunks, and the data chunk that is made before there are any files.
_FIXED_BYTES: Final = 37 * MIB
# mkfs.btrfs reckons with three times the longest path and a block for every inode, twice.
_ESTIMATE_PER_INODE: Final = 32 << 10
_METADATA_PER_INODE: Final = 700
# A chunk is made when about two thirds of the last one are in use or were a moment ago.
_METADATA_FACTOR: Final = 3


def needed_bytes(usage: TreeUsage) -> int:
    """The size of a btrfs that holds a tree; holes count as data (mkfs.btrfs 6.2 fills them)."""
    data = (usage.data_blocks - usage.small_files + usage.hole_blocks) * BLOCK_BYTES
    metadata = usage.inodes * _METADATA_PER_INODE + usage.small_bytes * 11 // 10
    metadata += usage.directory_blocks * 512 + usage.metadata_blocks * BLOCK_BYTES
    metadata += data // BLOCK_BYTES * 4  # checksums
    estimate = (data + usage.small_bytes + usage.inodes * _ESTIMATE_PER_INODE) * 5 // 4
    chunk = max(_LEAST_METADATA_CHUNK_BYTES, (estimate + MINIMUM_BYTES) // 20)
    chunks = 1 + -(-max(_METADATA_FACTOR * metadata - chunk, 0) // chunk)
    whole_data = -(-data * 4 // (3 * _DATA_CHUNK_BYTES)) * _DATA_CHUNK_BYTES
    return max(_FIXED_BYTES + whole_data + 2 * chunk * chunks, MINIMUM_BYTES)
