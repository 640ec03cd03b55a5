"""Disks that the kernel has under several names: one for each path that leads to them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SYS: Final = Path("/sys/class/block")
_WWID_FILES: Final = ("wwid", "device/wwid")
"""Where NVMe and SCSI have the name that a disk has in all the world."""


def other_paths(name: str, *, directory: Path = _SYS) -> tuple[str, ...]:
    """The kernel's other names of a whole disk, () where a disk does not say which one it is.

    Disks of the same identifier and another size are not the same: some makers number badly.
    """
    identity = _identity(directory / name)
    if identity is None:
        return ()
    return tuple(sorted(
        entry.name for entry in directory.iterdir()
        if entry.name != name and _identity(entry) == identity
    ))  # fmt: skip


def _identity(entry: Path) -> tuple[str, str] | None:
    # NVMe's own multipath names each path besides; hidden ones have no node, so nobody uses them.
    if (entry / "partition").exists() or _text(entry / "hidden") == "1":
        return None
    for file in _WWID_FILES:
        if wwid := _text(entry / file):
            return wwid, _text(entry / "size")
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
