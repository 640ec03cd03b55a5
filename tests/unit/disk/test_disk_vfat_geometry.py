"""The kind of FAT is the one that its clusters make it, whatever the size of sectors."""

from __future__ import annotations

import pytest

from goldsmith.disk.filesystems.vfat_geometry import geometry
from goldsmith.units import MIB

# What mkfs.vfat 4.2 makes of so many sectors of 4096 bytes with FAT and sectors per cluster.
MADE = {
    65540: (16, 1, 65471), 65594: (16, 2, 32777), 65640: (16, 2, 32800), 65700: (32, 1, 65538),
    66560: (32, 1, 66398),
}  # fmt: skip


@pytest.mark.parametrize("sectors", MADE)
def test_large_sectors_around_the_end_of_fat16(sectors: int) -> None:
    fat_bits, cluster, clusters = MADE[sectors]
    shape = geometry(sectors * 4096, 4096)
    assert shape is not None
    assert (shape.fat_bits, shape.sectors_per_cluster) == (fat_bits, cluster)
    assert shape.free_clusters <= clusters <= shape.free_clusters + 64


@pytest.mark.parametrize("size_mib", range(250, 270))
def test_no_size_is_of_two_kinds(size_mib: int) -> None:
    shape = geometry(size_mib * MIB, 4096)
    assert shape is not None
    assert (shape.fat_bits == 32) == (shape.free_clusters > 65524)
    assert shape.fat_bits == 32 or shape.free_clusters <= 65524 - 32
