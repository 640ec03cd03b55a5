"""File systems: for each type its geometry (pure) and how it is filled straight into an image.

`space` answers for every type, without running anything, whether files fit in a given size; the
modules named after types make them with the real tools.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TREE_PACKAGES: Final = {
    "ext2": "e2fsprogs", "ext3": "e2fsprogs", "ext4": "e2fsprogs", "vfat": "dosfstools",
    "xfs": "xfsprogs", "btrfs": "btrfs-progs",
}  # fmt: skip
"""The Debian package that an image needs to check a file system of its own."""

HOST_TOOLS: Final = {
    "ext2": ("mkfs.ext4", "debugfs"),
    "ext3": ("mkfs.ext4", "debugfs"),
    "ext4": ("mkfs.ext4", "debugfs"),
    "vfat": ("mkfs.vfat", "mmd", "mcopy", "mdir"),
    "xfs": ("mkfs.xfs", "cp"),
    "btrfs": ("mkfs.btrfs",),
    "squashfs": ("mksquashfs",),
    "erofs": ("mkfs.erofs",),
    "swap": ("mkswap",),
}
"""The programs of the build host that make and fill a file system."""


def packages(types: Iterable[str]) -> list[str]:
    """The Debian packages that a tree needs for its file systems, sorted."""
    return sorted({TREE_PACKAGES[type] for type in types if type in TREE_PACKAGES})


def host_tools(types: Iterable[str]) -> list[str]:
    """The programs that this host needs to make these file systems, sorted."""
    return sorted({tool for type in types for tool in HOST_TOOLS.get(type, ())})
