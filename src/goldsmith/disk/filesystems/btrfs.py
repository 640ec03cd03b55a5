"""btrfs, filled by mkfs.btrfs in a sparse file of its own.

What mkfs.btrfs 6.2 does with a tree: hard links, attributes, owners and times of files are kept,
holes become zeros, and the root directory keeps mode 0755 and owner 0 whatever the tree says (that
is mended here). Its images are not the same bytes on every run: files keep the inode numbers that
they have on this host, and the device gets an identifier by chance.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.btrfs_tree import BtrfsFile
from goldsmith.disk.filesystems.stretch import Stretch, own_file
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError
from goldsmith.host.process import run
from goldsmith.units import format_size

MKFS_TIMEOUT_S: Final = 7200.0
_TOO_SMALL: Final = ("not enough free space", "No space left on device", "ENOSPC", "too small")


@dataclass(frozen=True, slots=True)
class Btrfs:
    """What tells one btrfs from another."""

    uuid: str
    label: str | None = None
    options: tuple[str, ...] = ()


def make(
    stretch: Stretch, filesystem: Btrfs, tree: Path | None, *, epoch_s: int, scratch: Path
) -> None:
    """Make a btrfs in a stretch of an image and fill it with a tree (None: empty).

    Raises LayoutError when the tree does not fit, GoldsmithError when its top directory has
    attributes, which mkfs.btrfs leaves out.
    """
    if tree is not None:
        _refuse_attributes(tree)
    with own_file(stretch, "btrfs", scratch=scratch, sized=True) as path:
        _run_mkfs(path, filesystem, tree, stretch.size_bytes)
        with open(path, "r+b", buffering=0) as stream:
            made = BtrfsFile.read(stream.fileno())
            if tree is None:
                made.set_root_directory(0o755, 0, 0, epoch_s)
            else:
                status = tree.stat()
                made.set_root_directory(
                    stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
                    max(min(int(status.st_mtime), epoch_s), 0),
                )  # fmt: skip


def _refuse_attributes(tree: Path) -> None:
    # What the host's SELinux policy has put on it is not the tree's.
    found = [name for name in os.listxattr(tree) if name != "security.selinux"]
    if found:
        raise GoldsmithError(
            f"mkfs.btrfs cannot give the top directory of {tree} its attributes {', '.join(found)}",
            hint="remove them (setfattr -x, setfacl -b), or take another file system",
        )


def _run_mkfs(path: Path, filesystem: Btrfs, tree: Path | None, size_bytes: int) -> None:
    argv: list[str | os.PathLike[str]] = ["mkfs.btrfs", "--quiet", "--force", "--nodiscard",
                                          "--uuid", filesystem.uuid]  # fmt: skip
    if filesystem.label is not None:
        argv += ["--label", filesystem.label]
    if tree is not None:
        argv += ["--rootdir", tree.absolute()]
    try:
        run([*argv, *filesystem.options, path], timeout_s=MKFS_TIMEOUT_S)
    except CommandFailed as e:
        if any(mark in line for line in e.tail for mark in _TOO_SMALL):
            raise LayoutError(
                [f"the files of {tree} do not fit in a btrfs of {format_size(size_bytes)}"],
                hint='make the partition larger, or write size = "auto"',
            ) from e
        raise
