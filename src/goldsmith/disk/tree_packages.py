"""The Debian packages that a tree needs for its own disk: by the kinds in a layout, never sizes."""

from __future__ import annotations

from goldsmith.disk.filesystems import packages
from goldsmith.disk.model import Layout


def layout_packages(layout: Layout) -> list[str]:
    """What the tree must have to find, assemble and check its disk, sorted."""
    types = [v.filesystem.type for v in layout.volumes() if v.filesystem is not None]
    found = set(packages(types))
    if layout.raids:
        found.add("mdadm")
    if layout.volume_groups:
        found.add("lvm2")
    return sorted(found)
