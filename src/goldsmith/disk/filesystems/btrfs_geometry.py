"""How much a btrfs of a given size holds when mkfs.btrfs 6.2 fills it: an estimate from above.

btrfs hands out space in chunks, for data and for metadata, the latter twice. Small files lie in
the metadata. Measured with trees of tiny and of large files; system tests hold it against them.
"""

from __future__ import annotations

from typing import Final

from goldsmith.units import MIB

BLOCK_BYTES: Final = 4096
MINIMUM_BYTES: Final = 128 * MIB
"""mkfs.btrfs takes 109 MiB; below 128 MiB hardly a third of it is for files."""

# Two system chunks, the first metadata chunks and the unused ends of the last ones.
_FIXED_BYTES: Final = 64 * MIB
# An inode with its name in the directory twice and once by itself, and half-empty leaves.
_METADATA_PER_INODE: Final = 700


def needed_bytes(inodes: int, data_blocks: int, metadata_blocks: int) -> int:
    """The size of a btrfs for so many files; `metadata_blocks` counts directories too."""
    checksums = data_blocks * 4
    metadata = inodes * _METADATA_PER_INODE + metadata_blocks * 3 * BLOCK_BYTES + checksums * 2
    data = data_blocks * BLOCK_BYTES
    # mkfs allocates chunks of a tenth of the device: the last of each kind is half empty.
    return _FIXED_BYTES + (data + 2 * metadata) * 23 // 20
