"""What is wrong with a volume's file system: its type, label, options and mount options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from goldsmith.disk.filesystems.options import refused_words
from goldsmith.disk.findings import Finding, unknown
from goldsmith.disk.model import FileSystem, Volume

FILE_SYSTEM_TYPES: Final = ("ext4", "vfat", "ext2", "ext3", "xfs", "btrfs", "squashfs", "erofs",
                            "swap")  # fmt: skip
LABEL_LIMITS: Final = {"vfat": 11, "ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255,
                       "swap": 15}  # fmt: skip
"""The longest label of each file system, in bytes; the others have none (erofs-utils 1.5)."""

# mount(8): these file systems refuse to be mounted with errors=.
_WITHOUT_ERRORS_OPTION: Final = ("xfs", "btrfs", "squashfs", "erofs", "swap")


def check_file_systems(volume: Volume, *, is_member: bool) -> Iterator[Finding]:
    """What is wrong with the file system of a volume; `is_member`: it is a part of another one."""

    def finding(message: str, field: str, hint: str | None = None) -> Finding:
        return Finding(message, volume.name, field, hint, volume.kind)

    filesystem = volume.filesystem
    if is_member:
        yield from _check_member(volume)
        return
    if filesystem is None:
        if volume.type in ("esp", "root", "boot"):
            default = "vfat" if volume.type == "esp" else "ext4"
            yield finding("it has no file system", "filesystem", f'write filesystem = "{default}"')
        elif volume.mount is not None and volume.type not in ("bios-boot", "swap"):
            yield finding("it has a mount point and no file system", "filesystem")
        return
    if volume.type == "bios-boot":
        yield finding("a bios-boot partition holds GRUB itself and has no file system",
                      "filesystem", "remove filesystem")  # fmt: skip
        return
    if filesystem.type not in FILE_SYSTEM_TYPES:
        yield finding(f'"{filesystem.type}" is not a file system', "filesystem",
                      unknown(filesystem.type, FILE_SYSTEM_TYPES))  # fmt: skip
        return
    yield from _check_use(volume, filesystem)
    yield from _check_label(volume, filesystem)
    refused = refused_words(filesystem.type, filesystem.options)
    if refused:
        yield finding(f"goldsmith sets {', '.join(refused)} of {filesystem.type} itself",
                      "filesystem_options")  # fmt: skip
    yield from _check_mount_options(volume, filesystem)


def _check_member(volume: Volume) -> Iterator[Finding]:
    """A part of an array or of a volume group holds nothing of its own."""
    if volume.kind == "partition" and volume.type != "data":
        yield Finding(f"a {volume.type} partition cannot be a part of an array or volume group",
                      volume.name, "type", 'write type = "data"', volume.kind)  # fmt: skip
    if volume.filesystem is not None and volume.type != "swap":
        yield Finding("it is a part of an array or volume group and has a file system",
                      volume.name, "filesystem", "remove filesystem", volume.kind)  # fmt: skip
    if volume.mount is not None:
        yield Finding("it is a part of an array or volume group and has a mount point",
                      volume.name, "mount", "remove mount", volume.kind)  # fmt: skip


def _check_use(volume: Volume, filesystem: FileSystem) -> Iterator[Finding]:
    def finding(message: str, hint: str | None) -> Finding:
        return Finding(message, volume.name, "filesystem", hint, volume.kind)

    holds_system = volume.type in ("root", "boot") or volume.mount == "/boot"
    holds_system = holds_system or (volume.mount == "/" and volume.kind != "partition")
    if volume.type == "esp" and filesystem.type != "vfat":
        yield finding(f"an esp must be vfat, not {filesystem.type}", 'write filesystem = "vfat"')
    elif volume.type == "swap" and filesystem.type != "swap":
        yield finding(f"a swap partition cannot hold {filesystem.type}", "remove filesystem")
    elif filesystem.type == "swap" and volume.kind == "partition" and volume.type != "swap":
        yield finding(f"a {volume.type} partition cannot hold swap", 'write type = "swap"')
    elif filesystem.type == "swap" and volume.mount is not None:
        yield finding("swap cannot be mounted", "remove mount")
    elif holds_system and filesystem.type == "vfat":
        yield finding("vfat has no owners, modes or links: it cannot hold a system",
                      'write filesystem = "ext4"')  # fmt: skip


def _check_label(volume: Volume, filesystem: FileSystem) -> Iterator[Finding]:
    label, limit = filesystem.label, LABEL_LIMITS.get(filesystem.type)

    def finding(message: str, hint: str | None = None) -> Finding:
        return Finding(message, volume.name, "label", hint, volume.kind)

    if label is None:
        return
    if limit is None:
        yield finding(f"{filesystem.type} has no label", "remove label")
        return
    if len(label.encode()) > limit:
        yield finding(
            f'label "{label}" is longer than the {limit} bytes that {filesystem.type} allows'
        )
    if not label or not label.isprintable() or "/" in label:
        yield finding(f"label {label!r} is empty or has characters that no label may have")
    elif filesystem.type == "vfat" and (
        not label.isascii() or label != label.upper() or re.search(r'[*?.,;:\\|+=<>\[\]"]', label)
    ):
        yield finding(
            f'label "{label}" is not a vfat label: capital letters, digits, - and _ only',
            f'write "{label.upper()}"' if label.isascii() else None,
        )


def _check_mount_options(volume: Volume, filesystem: FileSystem) -> Iterator[Finding]:
    words = [word for option in volume.mount_options for word in option.split(",")]
    for word in words:
        # fstab(5): the fields of a line are separated by blanks.
        if not word or re.search(r"[\s#]", word) or not word.isprintable():
            yield Finding(f"mount option {word!r} cannot stand in fstab", volume.name,
                          "mount_options", kind=volume.kind)  # fmt: skip
        elif word.startswith("errors=") and filesystem.type in _WITHOUT_ERRORS_OPTION:
            yield Finding(f"{filesystem.type} refuses to be mounted with {word}", volume.name,
                          "mount_options", "remove it", volume.kind)  # fmt: skip
        elif word == "rw" and filesystem.type in ("squashfs", "erofs"):
            yield Finding(f"{filesystem.type} can only be read", volume.name, "mount_options",
                          'remove "rw"', volume.kind)  # fmt: skip
