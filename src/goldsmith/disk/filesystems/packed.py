"""squashfs and erofs: compressed, made once from a tree, read ever after.

Both tools take SOURCE_DATE_EPOCH as the file system's time and as the latest time of any file;
then the same tree gives the same bytes on every run and on any number of processors.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.stretch import Stretch, copy_into
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import run, tool_environment
from goldsmith.host.sparse import full_file_system_named

MKFS_TIMEOUT_S: Final = 7200.0
BLOCK_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Packed:
    """What tells one compressed file system from another; `type` is squashfs or erofs.

    squashfs has no UUID, and neither has a label.
    """

    type: str
    uuid: str
    options: tuple[str, ...] = ()


def make(
    stretch: Stretch,
    filesystem: Packed,
    tree: Path | None,
    *,
    epoch_s: int,
    clamp_mtimes: bool = True,
    scratch: Path,
) -> None:
    """Make one in a stretch of an image from a tree (None: empty).

    Raises LayoutError when it is larger than the stretch.
    """
    with tempfile.TemporaryDirectory(prefix="goldsmith-", dir=scratch) as directory:
        path = Path(directory, filesystem.type)
        write_file(path, filesystem, tree, epoch_s=epoch_s, clamp_mtimes=clamp_mtimes)
        copy_into(path, stretch, filesystem.type)


def write_file(
    path: Path,
    filesystem: Packed,
    tree: Path | None,
    *,
    epoch_s: int,
    clamp_mtimes: bool = True,
) -> int:
    """Make one as a new file of its own and return its size, which is whole blocks of 4096 bytes.

    Raises NoSpaceError when the host's file system is full; what was begun is removed.
    """
    words = _mksquashfs if filesystem.type == "squashfs" else _mkfs_erofs
    with _tree_or_empty(tree) as source, full_file_system_named(path):
        argv, env = words(filesystem, path, source, epoch_s, clamp_mtimes)
        try:
            done = run(argv, env=env, timeout_s=MKFS_TIMEOUT_S)
            _refuse_left_out(filesystem.type, done.tail, tree)
            size_bytes = -(-path.stat().st_size // BLOCK_BYTES) * BLOCK_BYTES
            os.truncate(path, size_bytes)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return size_bytes


@contextmanager
def _tree_or_empty(tree: Path | None) -> Iterator[Path]:
    if tree is not None:
        yield tree.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="goldsmith-empty-") as directory:
        Path(directory).chmod(0o755)
        os.utime(directory, (0, 0))
        yield Path(directory)


_Argv = list[str | os.PathLike[str]]


def _mksquashfs(
    filesystem: Packed, path: Path, source: Path, epoch_s: int, clamp_mtimes: bool
) -> tuple[_Argv, dict[str, str]]:
    argv: _Argv = ["mksquashfs", source, path, "-noappend", "-no-progress", "-quiet"]
    argv += ["-exit-on-error"]
    if "-comp" not in filesystem.options:
        argv += ["-comp", "zstd"]
    argv += filesystem.options
    env = tool_environment()
    # It refuses to be told the time in both ways (4.5.1).
    env.pop("SOURCE_DATE_EPOCH", None)
    if clamp_mtimes:
        return argv, {**env, "SOURCE_DATE_EPOCH": str(epoch_s)}
    return [*argv, "-mkfs-time", str(epoch_s)], env


def _mkfs_erofs(
    filesystem: Packed, path: Path, source: Path, epoch_s: int, clamp_mtimes: bool
) -> tuple[_Argv, dict[str, str]]:
    if not clamp_mtimes:
        # With a fixed time for itself mkfs.erofs 1.5 gives that time to every file as well.
        raise GoldsmithError("erofs cannot keep times of modification that lie after its own")
    argv: _Argv = ["mkfs.erofs", "--quiet", "-U", filesystem.uuid]
    if not any(word.startswith("-z") for word in filesystem.options):
        # lz4hc saves a tenth and takes ten times as long where files are compressed already (1.5).
        argv.append("-zlz4")
    argv += [*filesystem.options, path, source]
    return argv, tool_environment(SOURCE_DATE_EPOCH=str(epoch_s))


def _refuse_left_out(type: str, lines: tuple[str, ...], tree: Path | None) -> None:
    """A file that cannot be read is passed over with a remark."""
    left_out = [line for line in lines if "ignoring" in line.lower() or "<E>" in line
                or "creating empty file" in line]  # fmt: skip
    if left_out:
        raise GoldsmithError(f"{type} has files of {tree} left out: " + "; ".join(left_out))
