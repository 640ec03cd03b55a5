"""/etc/fstab: by UUID, with options and pass numbers that are right for each file system."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from goldsmith.disk import mbr
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout, Volume

# The ESP holds what boots the machine: it is root's alone.
_OPTIONS: Final = {"vfat": "umask=0077", "ext4": "defaults", "swap": "sw", "squashfs": "ro",
                   "erofs": "ro"}  # fmt: skip
# mount(8) of xfs and btrfs refuses errors=.
_ROOT_OPTIONS: Final = {"ext2": "errors=remount-ro", "ext3": "errors=remount-ro",
                        "ext4": "errors=remount-ro"}  # fmt: skip
# The others have no check at boot (fsck.xfs(8) and fsck.btrfs(8) do nothing).
_CHECKED: Final = ("ext2", "ext3", "ext4", "vfat")


@dataclass(frozen=True, slots=True)
class FstabEntry:
    """One file system to mount, or swap (mount "none"); `uuid` as blkid writes it.

    `tag` is what the identifier is of: "UUID" of the file system, "PARTUUID" of the partition.
    """

    uuid: str
    mount: str
    type: str
    options: tuple[str, ...] = ()
    tag: str = "UUID"


def entries(layout: Layout, identity: DiskIdentity) -> list[FstabEntry]:
    """The entries of everything that has a mount point, and of swap; sizes play no part in them.

    A squashfs is named by its partition. One that is the whole disk has no name at all and no
    entry: who mounts it says where it is.
    """
    found = []
    for volume in layout.volumes():
        filesystem = volume.filesystem
        if filesystem is None or (volume.mount is None and filesystem.type != "swap"):
            continue
        options = volume.mount_options
        if filesystem.type == "vfat" and volume.type != "esp":
            options = options or ("defaults",)
        tag, uuid = "UUID", identity.filesystem_uuid(volume.name, filesystem.type)
        if filesystem.type == "squashfs":
            tag, uuid = "PARTUUID", _part_uuid(layout, identity, volume)
        if uuid:
            found.append(FstabEntry(uuid, volume.mount or "none", filesystem.type, options, tag))
    return found


def _part_uuid(layout: Layout, identity: DiskIdentity, volume: Volume) -> str:
    names = [p.name for p in layout.partitions]
    if volume.kind != "partition":
        return ""
    index = names.index(volume.name)
    number = mbr.number(layout.partitions).numbers[index] if layout.label == "mbr" else index + 1
    return identity.part_uuid(layout.label, volume.name, number)


def render(entries: Iterable[FstabEntry]) -> str:
    """The file's text: the root first, a mount point after all those above it, swap at the end."""
    lines = ["# <file system> <mount point> <type> <options> <dump> <pass>"]
    for entry in sorted(entries, key=_depth):
        source, options = f"{entry.tag}={entry.uuid}", _escaped(options_of(entry))
        lines.append(f"{source} {_escaped(entry.mount)} {entry.type} {options} 0 {pass_of(entry)}")
    return "\n".join([*lines, ""])


def _depth(entry: FstabEntry) -> tuple[bool, int, str]:
    return entry.type == "swap", entry.mount.rstrip("/").count("/"), entry.mount


def options_of(entry: FstabEntry) -> str:
    """How it is mounted, in one word: as was said, or as is right for its kind."""
    if entry.options:
        return ",".join(entry.options)
    if entry.mount == "/" and entry.type in _ROOT_OPTIONS:
        return _ROOT_OPTIONS[entry.type]
    return _OPTIONS.get(entry.type, "defaults")


def pass_of(entry: FstabEntry) -> int:
    """When fsck looks at it: the root first, others after it, what needs no check never."""
    if entry.type not in _CHECKED:
        return 0
    return 1 if entry.mount == "/" else 2


def _escaped(field: str) -> str:
    """fstab(5): what would end a field, a line or begin a comment is written in octal."""
    return re.sub(r"[\\#\s]", lambda match: f"\\{ord(match[0]):03o}", field, flags=re.ASCII)
