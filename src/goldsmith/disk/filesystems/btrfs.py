"""btrfs, filled by mkfs.btrfs in a sparse file of its own.

What mkfs.btrfs 6.2 does with a tree: hard links, attributes, owners and times of files are kept
(times after the image's own too). Holes become zeros, which take space in the file system but none
in the image. Device nodes lose their numbers, the top directory gets mode 0755 and owner 0, and the
file system has no free space: that is mended here. Attributes of the top directory are lost, so
they are refused. The bytes differ from run to run: files keep the inode numbers that they have on
this host, and the device gets an identifier by chance.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.btrfs_tree import BtrfsFile
from goldsmith.disk.filesystems.stretch import Stretch, own_file
from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.process import run
from goldsmith.units import format_size

MKFS_TIMEOUT_S: Final = 7200.0
# mkfs/rootdir.c gives a file the number that it has on the host and this much more.
_INODE_OFFSET: Final = 256


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
    with (
        _tree_or_empty(tree, epoch_s) as source,
        own_file(stretch, "btrfs", scratch=scratch, sized=False) as path,
    ):
        _refuse_attributes(source)
        _run_mkfs(path, filesystem, source)
        if path.stat().st_size > stretch.size_bytes:
            raise LayoutError(
                [f"the files of {tree} do not fit in a btrfs of {format_size(stretch.size_bytes)}, "
                 f"they need {format_size(path.stat().st_size)}"],
                hint='make the partition larger, or write size = "auto"',
            )  # fmt: skip
        os.truncate(path, stretch.size_bytes)
        with open(path, "r+b", buffering=0) as stream:
            made = BtrfsFile.read(stream.fileno())
            status = source.stat()
            made.set_root_directory(
                stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
                max(min(int(status.st_mtime), epoch_s), 0),
            )  # fmt: skip
            made.set_devices(_devices(source))
            made.grow(stretch.size_bytes)


@contextmanager
def _tree_or_empty(tree: Path | None, epoch_s: int) -> Iterator[Path]:
    """`--shrink` is for trees only."""
    if tree is not None:
        yield tree
        return
    with tempfile.TemporaryDirectory(prefix="goldsmith-empty-") as directory:
        Path(directory).chmod(0o755)
        os.utime(directory, (epoch_s, epoch_s))
        yield Path(directory)


def _refuse_attributes(tree: Path) -> None:
    # What the host's SELinux policy has put on it is not the tree's.
    found = [name for name in os.listxattr(tree) if name != "security.selinux"]
    if found:
        raise GoldsmithError(
            f"mkfs.btrfs cannot give the top directory of {tree} its attributes {', '.join(found)}",
            hint="remove them (setfattr -x, setfacl -b), or take another file system",
        )


def _run_mkfs(path: Path, filesystem: Btrfs, tree: Path) -> None:
    argv: list[str | os.PathLike[str]] = [
        "mkfs.btrfs", "--quiet", "--force", "--nodiscard", "--uuid", filesystem.uuid,
        "--shrink", "--rootdir", tree.absolute(),
    ]  # fmt: skip
    if filesystem.label is not None:
        argv += ["--label", filesystem.label]
    run([*argv, *filesystem.options, path], timeout_s=MKFS_TIMEOUT_S)


def _devices(tree: Path) -> Mapping[int, tuple[int, int]]:
    """The device nodes of a tree by their inode in the btrfs: major and minor number."""
    found = {}
    for directory, _, files in os.walk(os.fsencode(tree)):
        for name in files:
            status = os.lstat(os.path.join(directory, name))
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                numbers = (os.major(status.st_rdev), os.minor(status.st_rdev))
                found[status.st_ino + _INODE_OFFSET] = numbers
    return found
