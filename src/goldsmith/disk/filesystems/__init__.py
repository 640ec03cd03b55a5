"""File systems: for each type its geometry (pure) and how it is filled straight into an image.

`ext4_geometry` and `vfat_geometry` answer, without running anything, how much a file system of a
given size holds; `ext4` and `vfat` make them with the real tools.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TREE_PACKAGES: Final = {"ext4": "e2fsprogs", "vfat": "dosfstools", "xfs": "xfsprogs",
                        "btrfs": "btrfs-progs"}  # fmt: skip
"""The Debian package that an image needs to check a file system of its own."""

HOST_TOOLS: Final = {
    "ext4": ("mkfs.ext4", "debugfs"),
    "vfat": ("mkfs.vfat", "mmd", "mcopy", "mdir"),
}
"""The programs of the build host that make and fill a file system."""


def packages(types: Iterable[str]) -> list[str]:
    """The Debian packages that a tree needs for its file systems, sorted."""
    return sorted({TREE_PACKAGES[type] for type in types if type in TREE_PACKAGES})


def host_tools(types: Iterable[str]) -> list[str]:
    """The programs that this host needs to make these file systems, sorted."""
    return sorted({tool for type in types for tool in HOST_TOOLS.get(type, ())})
