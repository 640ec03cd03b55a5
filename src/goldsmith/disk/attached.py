"""File systems that need a driver: made on a loop device, mounted, filled, and let go again.

Only those come here that no tool can fill in a file (xfs); others in the same image stay offline.
The caller is in a mount namespace of its own, so that the host never sees the mount.
"""

from __future__ import annotations

import errno
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError
from goldsmith.host import loop, mounts, user_namespace
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named, is_full_message
from goldsmith.units import format_size

TOOL_TIMEOUT_S: Final = 7200.0
# Another image with the same UUID may be mounted on this host: the same template built twice.
_MOUNT_OPTIONS: Final = {"xfs": "nouuid"}
_MS_NOATIME: Final = 0x400


@dataclass(frozen=True, slots=True)
class Attached:
    """What tells one such file system from another; `type` is xfs."""

    type: str
    uuid: str
    label: str | None = None
    options: tuple[str, ...] = ()


def why_not(type: str) -> str | None:
    """Why this host cannot attach and mount a file system of that type; None where it can.

    Opens the loop control device, and nothing else: a module may still be loaded by the mount.
    """
    if os.geteuid() != 0 or user_namespace.is_inside():
        return "it takes root to attach and mount it"
    try:
        os.close(os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        return f"this host offers no loop devices (/dev/loop-control: {os.strerror(e.errno or 0)})"
    if not _kernel_knows(type):
        return f"this host's kernel has no {type}"
    return None


def _kernel_knows(type: str) -> bool:
    known = Path("/proc/filesystems").read_text().split()
    if type in known:
        return True
    modules = Path("/lib/modules", platform.release())
    for name in ("modules.dep", "modules.builtin"):
        try:
            if f"/{type}.ko" in (modules / name).read_text():
                return True
        except OSError:
            continue
    return False


def make(
    stretch: Stretch,
    filesystem: Attached,
    tree: Path | None,
    *,
    epoch_s: int,
    clamp_mtimes: bool = True,
) -> None:
    """Make a file system in a stretch of an image and copy a tree into it (None: empty).

    The copy keeps links, holes, owners, attributes and times; times of access become `epoch_s`,
    those of modification too where they lie after it. Times of change are those of the copy, so
    two runs differ in their bytes. Raises LayoutError when the tree does not fit.
    """
    with full_file_system_named(stretch.image):
        with loop.attached(stretch.image, offset_bytes=stretch.offset_bytes) as device:
            run(mkfs_words(filesystem, str(device.path), stretch.size_bytes),
                timeout_s=TOOL_TIMEOUT_S)  # fmt: skip
            with _mounted(device.path, filesystem.type) as top:
                if tree is not None:
                    _copy(tree, top, filesystem, stretch)
                _set_times(top, epoch_s, clamp_mtimes=clamp_mtimes)
                _sync(top)


def mkfs_words(filesystem: Attached, device: str, size_bytes: int) -> list[str]:
    """The argument list that makes a file system of this size on a device that may be longer."""
    # The image is a hole: there is nothing to discard.
    words = ["mkfs.xfs", "-q", "-f", "-K", "-d", f"size={size_bytes}",
             "-m", f"uuid={filesystem.uuid}"]  # fmt: skip
    if filesystem.label is not None:
        words += ["-L", filesystem.label]
    return [*words, *filesystem.options, device]


@contextmanager
def _mounted(device: Path, type: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="goldsmith-mount-") as directory:
        options = _MOUNT_OPTIONS.get(type, "")
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC | _MS_NOATIME
        with mounts.mounted(os.fspath(device), Path(directory), type, flags=flags, options=options):
            yield Path(directory)


def _copy(tree: Path, top: Path, filesystem: Attached, stretch: Stretch) -> None:
    # `-a` would keep silent about attributes that it cannot set.
    argv = ["cp", "-dR", "--preserve=mode,ownership,timestamps,links,xattr", "--sparse=auto",
            "--", f"{tree.absolute()}/.", f"{top}/"]  # fmt: skip
    try:
        run(argv, timeout_s=TOOL_TIMEOUT_S)
    except CommandFailed as e:
        # A full host makes the loop device fail with an I/O error instead.
        if any(is_full_message(line) for line in e.tail):
            raise LayoutError(
                [f"the files of {tree} do not fit in an {filesystem.type} of "
                 f"{format_size(stretch.size_bytes)}"],
                hint='make the partition larger, or write size = "auto"',
            ) from e  # fmt: skip
        raise


def _set_times(top: Path, epoch_s: int, *, clamp_mtimes: bool) -> None:
    """Set the times of everything below and of the top itself, deepest first."""
    latest_ns = epoch_s * 10**9
    for directory, directories, files in os.walk(top, topdown=False):
        for name in (*files, *directories, ""):
            path = os.path.join(directory, name) if name else directory
            modified_ns = os.lstat(path).st_mtime_ns
            if clamp_mtimes:
                modified_ns = min(modified_ns, latest_ns)
            os.utime(path, ns=(latest_ns, modified_ns), follow_symlinks=False)


def _sync(top: Path) -> None:
    """Write everything to the image; a host without room shows itself here."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno == errno.EIO:
            raise GoldsmithError(
                "the file system could not be written to its image",
                hint="the file system that holds the image may be full",
            ) from e
        raise
    finally:
        os.close(fd)
