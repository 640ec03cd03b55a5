"""/etc/fstab: by UUID, with options and pass numbers that are right for each file system."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import Layout

# The ESP holds what boots the machine: it is root's alone.
_OPTIONS: Final = {"vfat": "umask=0077", "ext4": "defaults", "swap": "sw"}
# mount(8) of xfs and btrfs refuses errors=.
_ROOT_OPTIONS: Final = {"ext2": "errors=remount-ro", "ext3": "errors=remount-ro",
                        "ext4": "errors=remount-ro"}  # fmt: skip
# xfs, btrfs and swap have no check at boot (fsck.xfs(8) does nothing).
_CHECKED: Final = ("ext2", "ext3", "ext4", "vfat")


@dataclass(frozen=True, slots=True)
class FstabEntry:
    """One file system to mount; `uuid` as blkid writes it."""

    uuid: str
    mount: str
    type: str
    options: tuple[str, ...] = ()


def entries(layout: Layout, identity: DiskIdentity) -> list[FstabEntry]:
    """The entries of every partition that has a mount point; sizes play no part in them."""
    return [
        FstabEntry(identity.filesystem_uuid(p.name, p.filesystem.type), mount,
                   p.filesystem.type, p.mount_options)
        for mount, p in layout.by_mount().items() if p.filesystem is not None
    ]  # fmt: skip


def render(entries: Iterable[FstabEntry]) -> str:
    """The file's text: the root first, a mount point after all those above it."""
    lines = ["# <file system> <mount point> <type> <options> <dump> <pass>"]
    for entry in sorted(entries, key=lambda e: (e.mount.rstrip("/").count("/"), e.mount)):
        options = ",".join(entry.options) or _default_options(entry)
        lines.append(
            f"UUID={entry.uuid} {_escaped(entry.mount)} {entry.type} {options} 0 {_pass(entry)}"
        )
    return "\n".join([*lines, ""])


def _default_options(entry: FstabEntry) -> str:
    if entry.mount == "/" and entry.type in _ROOT_OPTIONS:
        return _ROOT_OPTIONS[entry.type]
    return _OPTIONS.get(entry.type, "defaults")


def _pass(entry: FstabEntry) -> int:
    """When fsck looks at it: the root first, others after it, what needs no check never."""
    if entry.type not in _CHECKED:
        return 0
    return 1 if entry.mount == "/" else 2


def _escaped(mount: str) -> str:
    """fstab(5): blanks in a mount point are written in octal."""
    return mount.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
