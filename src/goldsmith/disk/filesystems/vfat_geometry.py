"""How much a vfat of a given size holds, and the FAT width and cluster size that we ask for.

dosfstools chooses both from the size too, but by rules that changed between versions; an image
must not depend on that, so mkfs.vfat is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from goldsmith.units import GIB, MIB

SECTOR_BYTES: Final = 512
ROOT_ENTRIES: Final = 512
"""Entries of the root directory of FAT12 and FAT16; FAT32's grows."""

# Microsoft's FAT specification: up to 4084 clusters are FAT12, up to 65524 FAT16, more are FAT32.
# Of one sector each, 65525 clusters need less than 33 MiB, 65524 clusters more than 32 MiB.
_FAT32_FROM_BYTES: Final = 33 * MIB
_FAT16_SINGLE_SECTORS_UP_TO_BYTES: Final = 32 * MIB
_FAT16_FROM_BYTES: Final = 3 * MIB
_FAT16_MOST_CLUSTERS: Final = 65524
MINIMUM_BYTES: Final = 1 * MIB


@dataclass(frozen=True, slots=True)
class VfatGeometry:
    """The shape of a vfat; `free_clusters` is a lower bound, a few clusters below the truth."""

    fat_bits: int
    sectors_per_cluster: int
    free_clusters: int
    sector_bytes: int = SECTOR_BYTES

    @property
    def cluster_bytes(self) -> int:
        """The unit in which files take space."""
        return self.sectors_per_cluster * self.sector_bytes

    @property
    def free_bytes(self) -> int:
        """What is left for files and directories."""
        return self.free_clusters * self.cluster_bytes


def geometry(size_bytes: int, sector_bytes: int = SECTOR_BYTES) -> VfatGeometry | None:
    """The shape for a stretch of this size; None below 1 MiB.

    FAT32 from 33 MiB on, as firmware expects of an ESP on a fixed disk; where sectors are larger,
    as soon as there are the clusters for it.
    """
    if size_bytes < MINIMUM_BYTES:
        return None
    if sector_bytes != SECTOR_BYTES:
        return _of_large_sectors(size_bytes, sector_bytes)
    sectors = size_bytes // SECTOR_BYTES
    if size_bytes >= _FAT32_FROM_BYTES:
        fat_bits, cluster = 32, _fat32_cluster_sectors(size_bytes)
        fixed, per_cluster_bits = 32, 2 * 32
    elif size_bytes >= _FAT16_FROM_BYTES:
        fat_bits, cluster = 16, 1 if size_bytes <= _FAT16_SINGLE_SECTORS_UP_TO_BYTES else 2
        fixed, per_cluster_bits = 1 + ROOT_ENTRIES * 32 // SECTOR_BYTES, 2 * 16
    else:
        fat_bits, cluster = 12, 2
        fixed, per_cluster_bits = 1 + ROOT_ENTRIES * 32 // SECTOR_BYTES, 2 * 12
    # Two FATs cost their bits per cluster; alignment to clusters costs at most a few more.
    usable_bits = (sectors - fixed - 4 * cluster) * SECTOR_BYTES * 8
    clusters = usable_bits // (cluster * SECTOR_BYTES * 8 + per_cluster_bits) - 2
    return VfatGeometry(fat_bits, cluster, max(clusters, 0))


def _of_large_sectors(size_bytes: int, sector_bytes: int) -> VfatGeometry:
    """FAT32 where it has enough clusters, else FAT16, of larger ones if it had too many."""
    cluster = max(_fat32_cluster_sectors(size_bytes) * SECTOR_BYTES // sector_bytes, 1)
    wide = _shape_of_large_sectors(size_bytes, sector_bytes, 32, cluster)
    if wide.free_clusters > _FAT16_MOST_CLUSTERS:
        return wide
    narrow = _shape_of_large_sectors(size_bytes, sector_bytes, 16, cluster)
    # The truth may be this many more.
    if narrow.free_clusters + 64 <= _FAT16_MOST_CLUSTERS:
        return narrow
    return _shape_of_large_sectors(size_bytes, sector_bytes, 16, 2 * cluster)


def _shape_of_large_sectors(
    size_bytes: int, sector_bytes: int, fat_bits: int, cluster: int
) -> VfatGeometry:
    sectors = size_bytes // sector_bytes
    tables = 2 * -(-(sectors // cluster) * fat_bits // 8 // sector_bytes)
    clusters = (sectors - 32 - ROOT_ENTRIES * 32 // sector_bytes - tables) // cluster - 4
    return VfatGeometry(fat_bits, cluster, max(clusters, 0), sector_bytes)


def _fat32_cluster_sectors(size_bytes: int) -> int:
    for limit_bytes, sectors in ((260 * MIB, 1), (8 * GIB, 8), (16 * GIB, 16), (32 * GIB, 32)):
        if size_bytes <= limit_bytes:
            return sectors
    return 64
