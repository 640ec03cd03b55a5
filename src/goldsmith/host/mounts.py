"""The one module that mounts: every mount is a context manager, made in a private namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError, ResourceBusy
from goldsmith.host import kernel

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x4_0000
MNT_DETACH: Final = 0x2
BUSY_WAIT_S: Final = 5.0
OVERLAY_LOWERS: Final = 400
OPTIONS_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A line of mountinfo: where, what kind of file system, from what; proc(5)."""

    path: str
    kind: str
    source: str
    device: str = ""
    """The numbers of its device: mounts with the same ones show the same file system."""
    root: str = "/"
    """What of the file system it shows."""
    read_only: bool = False
    options: str = ""
    """Those of the file system itself."""


def list_mounts(pid: int | None = None) -> list[MountPoint]:
    """The mounts of a process's namespace (this one's), in the order in which they were made."""
    mounts = []
    place = Path("/proc", "self" if pid is None else str(pid), "mountinfo")
    for line in place.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        _, _, device, root, path, flags, *_ = left.split(" ")
        kind, source, options, *_ = [*right.split(" "), ""]
        mounts.append(
            MountPoint(_unescaped(path), kind, _unescaped(source), device, _unescaped(root),
                       "ro" in flags.split(","), options)
        )  # fmt: skip
    return mounts


def file_system_at(path: Path) -> str:
    """The kind of file system that a path lies in: "ext4", "proc"; "" where nothing is known."""
    place, found = path.resolve(), MountPoint("", "", "")
    for point in list_mounts():
        if place.is_relative_to(point.path) and len(point.path) >= len(found.path):
            found = point
    return found.kind


def _unescaped(field: str) -> str:
    # The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def make_private() -> None:
    """Stop mounts of this namespace from reaching the host, and the host's from reaching us."""
    kernel.mount("none", "/", "", MS_REC | MS_PRIVATE, "")


def mount(source: str, target: str, kind: str, *, flags: int = 0, options: str = "") -> None:
    """Mount without a guard: for an init whose namespace takes the mount with it when it ends.

    Raises GoldsmithError that names the target and the kernel's reason.
    """
    try:
        kernel.mount(source, target, kind, flags, options)
    except OSError as e:
        what = kind or "bind"
        raise GoldsmithError(f"cannot mount {what} at {target}: {e.strerror}") from e


def bind(source: str, target: str, *, read_only: bool = False, recursive: bool = False) -> None:
    """Make a file or directory appear at a second place, without a guard (see `mount`).

    `recursive`: with what is mounted below it.
    """
    mount(source, target, "", flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        # A bind mount takes its flags only from a second call (mount(2), MS_BIND).
        mount("none", target, "", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def umount(target: str | os.PathLike[str]) -> None:
    """Unmount; a busy mount is tried again for 5 s, then its holders are named in ResourceBusy."""
    path = os.fspath(target)
    deadline_s, pause_s = time.monotonic() + BUSY_WAIT_S, 0.01
    while True:
        try:
            kernel.umount(path)
            return
        except OSError as e:
            if e.errno != errno.EBUSY:
                raise GoldsmithError(f"cannot unmount {path}: {e.strerror}") from e
        if time.monotonic() > deadline_s:
            holders = ", ".join(find_holders(path)) or "unknown"
            raise ResourceBusy(f"{path} is still in use by: {holders}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.2)


def find_holders(path: str) -> list[str]:
    """The processes (as "pid name") that have a root, a directory or a file open below a mount."""
    device = os.stat(path).st_dev
    holders = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        links = [process / "root", process / "cwd", process / "exe"]
        try:
            links += list((process / "fd").iterdir())
            if any(_on_device(link, device) for link in links):
                holders.append(f"{process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    return holders


def _on_device(link: Path, device: int) -> bool:
    try:
        return link.stat().st_dev == device
    except OSError:
        return False


@contextmanager
def mounted(
    source: str, target: Path, kind: str, *, flags: int = 0, options: str = ""
) -> Iterator[Path]:
    """Mount for the length of a block."""
    mount(source, str(target), kind, flags=flags, options=options)
    with _unmounted(target):
        yield target


@contextmanager
def bound(source: Path, target: Path, *, read_only: bool = False) -> Iterator[Path]:
    """Bind for the length of a block."""
    bind(str(source), str(target), read_only=read_only)
    with _unmounted(target):
        yield target


@contextmanager
def _unmounted(target: Path) -> Iterator[None]:
    """Unmount at the end of a block.

    A block that fails leaves nothing that anybody will use, so then a mount may be taken out of
    the tree at once, busy or not: a program that was killed may have left mounts below it, which
    end with the worker's namespace.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            kernel.umount(str(target), MNT_DETACH)
        raise
    umount(target)


@contextmanager
def overlaid(lowers: Sequence[Path], target: Path, upper: Path, work: Path) -> Iterator[Path]:
    """Mount an overlay for the length of a block; `lowers` has the topmost layer first.

    It is volatile: fsync does nothing in it, so whoever keeps the upper directory syncs it. With
    `index=on,redirect_dir=on` hard links and renames of directories behave as on a plain
    directory, together with the pass over the upper directory that `layers.overlay` makes before
    it is unmounted. All directories must lie on one file system that can hold xattrs; the lowers
    are named from the directory that they share, because mount(2) takes one page of options.
    """
    base = os.path.commonpath([lower.parent for lower in lowers])
    names = ":".join(_escaped(os.path.relpath(lower, base)) for lower in lowers)
    options = (
        f"lowerdir={names},upperdir={_escaped(str(upper))},workdir={_escaped(str(work))},"
        "index=on,redirect_dir=on,xino=off,volatile"
    )
    if len(lowers) > OVERLAY_LOWERS or len(os.fsencode(options)) >= OPTIONS_BYTES:
        raise GoldsmithError(
            f"{len(lowers)} layers are more than one overlay can hold",
            hint="put several commands into one provisioner",
        )
    with contextlib.chdir(base):
        mount("overlay", str(target), "overlay", options=options)
    with _unmounted(target):
        yield target


def _escaped(path: str) -> str:
    # The kernel splits options at commas and lower directories at colons.
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def is_directory(path: str) -> bool:
    """Whether a real directory (no link to one) is there."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
