"""How much an xfs of a given size holds, as mkfs.xfs 6.1 lays it out and kernel 6 keeps it.

An upper bound of what is lost, measured from 300 MiB to 64 GiB: the log, the pool that the kernel
keeps for itself, and the reservations of each allocation group for its trees.
"""

from __future__ import annotations

from typing import Final

from goldsmith.units import MIB

BLOCK_BYTES: Final = 4096
MINIMUM_BYTES: Final = 300 * MIB
"""mkfs.xfs refuses to make smaller ones since 5.19."""
INODES_PER_BLOCK: Final = 8

# xfsprogs 6.1, mkfs/xfs_mkfs.c: a log of 64 MiB, from 128 GiB on a 2048th of the device.
_LEAST_LOG_BLOCKS: Final = 16384
_LARGEST_LOG_BLOCKS: Final = 2038 * MIB // BLOCK_BYTES
# fs/xfs/xfs_mount.c, xfs_default_resblks.
_LARGEST_RESERVE_BLOCKS: Final = 8192
_FIXED_BLOCKS: Final = 1400


def free_blocks(size_bytes: int) -> int | None:
    """The blocks that are left for files and their inodes; None where mkfs.xfs refuses."""
    if size_bytes < MINIMUM_BYTES:
        return None
    blocks = size_bytes // BLOCK_BYTES
    log = min(max(_LEAST_LOG_BLOCKS, blocks // 2048), _LARGEST_LOG_BLOCKS)
    usable = blocks - log
    reserve = min(usable // 20, _LARGEST_RESERVE_BLOCKS)
    return usable - reserve - usable * 7 // 1000 - _FIXED_BLOCKS
