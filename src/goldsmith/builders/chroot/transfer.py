"""Applies the difference between two trees to a third one that is like the first.

The third is the mounted file systems of the new image. Files are always written anew and never in
place, so names that were linked and are not any more part; hard links, owners, attributes, times
and holes become those of the second tree.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.builders.chroot.difference import OVERLAY, Difference, attributes_of
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.confined import confined
from goldsmith.host.sparse import copy_extents

_OURS: Final = ("user.", "security.", "trusted.", "system.posix_acl_")
"""Attributes that trees can hold wherever they lie; others belong to one kind of file system."""


def transfer(
    difference: Difference, source: Path, target: Path, *, mount_points: Collection[str]
) -> None:
    """Make `target` into `source`; `mount_points` are where further file systems are mounted.

    Raises GoldsmithError when a file system is full, cannot be written, or is no more mounted.
    """
    touched: set[str] = set()
    for path in difference.removed:
        with _named(path):
            _refuse_mount_points(path, mount_points)
            _remove(_place(target, path))
            touched.add(os.path.dirname(path) or ".")
    for path in difference.directories:
        with _named(path):
            place = _place(target, path)
            if path != "." and not place.is_dir():
                place.mkdir(mode=0o700)
                touched.add(os.path.dirname(path) or ".")
    for names in difference.files:
        check_cancelled()
        first = names[0]
        for path in names:
            with _named(path):
                place = _place(target, path)
                if path == first or not _linked(_place(target, first), place):
                    _remove(place)
                    _write(source / path, place)
                touched.add(os.path.dirname(path) or ".")
    # Times last, and those of directories below before those above.
    for path in sorted({*difference.directories, *touched}, key=len, reverse=True):
        with _named(path):
            if path in difference.directories:
                _copy_attributes(source / path, _place(target, path))
            else:
                _copy_times(os.lstat(source / path), _place(target, path))


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors of the block told as those of a path of the image."""
    try:
        yield
    except OSError as e:
        hint = "is its file system read-only, or the file immutable (chattr)?"
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make the source's file system larger, for example by pre_mount_commands"
        raise GoldsmithError(f"/{path} cannot be written to the new image: {e.strerror}",
                             hint=hint) from e  # fmt: skip


def _place(target: Path, path: str) -> Path:
    """Where a path lies in the target; raises GoldsmithError where a link leads elsewhere."""
    place = confined(target, path)
    if place != target / path:
        raise GoldsmithError(f"/{path} of the new image is not where it was in the source")
    return place


def _refuse_mount_points(path: str, mount_points: Collection[str]) -> None:
    for point in mount_points:
        if point == path or point.startswith(f"{path}/"):
            raise GoldsmithError(
                f"a provisioner removed /{point}, where a file system of the image is mounted",
                hint="remove what is in it, not the directory itself",
            )


def _remove(place: Path) -> None:
    """Remove whatever is there; links are not followed."""
    try:
        if stat.S_ISDIR(os.lstat(place).st_mode):
            shutil.rmtree(place)
        else:
            place.unlink()
    except FileNotFoundError:
        pass


def _linked(first: Path, place: Path) -> bool:
    """Make `place` another name of `first`; False where it lies on another file system."""
    _remove(place)
    try:
        os.link(first, place, follow_symlinks=False)
    except OSError as e:
        if e.errno == errno.EXDEV:
            return False
        raise
    return True


def _write(source: Path, place: Path) -> None:
    """Make a file, link or device like another one at a name that is free."""
    status = os.lstat(source)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), place)
    elif stat.S_ISREG(status.st_mode):
        _copy_content(source, place)
    else:
        os.mknod(place, status.st_mode, status.st_rdev)
    _copy_attributes(source, place)


def _copy_content(source: Path, place: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(source, "rb") as reading, open(os.open(place, flags, 0o600), "wb") as writing:
        os.ftruncate(writing.fileno(), os.fstat(reading.fileno()).st_size)
        copy_extents(reading.fileno(), writing.fileno(), on_bytes=lambda *_: check_cancelled())


def _copy_attributes(source: Path, place: Path) -> None:
    """Owner, extended attributes, mode and times: in this order, as a change of owner drops some.

    Attributes that the place has and the source has not are removed, but for overlays' own marks:
    these are not seen in the source.
    """
    status = os.lstat(source)
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    wanted = attributes_of(source)
    for name in os.listxattr(place, follow_symlinks=False):
        if name not in wanted and name.startswith(_OURS) and not name.startswith(OVERLAY):
            os.removexattr(place, name, follow_symlinks=False)
    for name, value in wanted.items():
        os.setxattr(place, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(place, stat.S_IMODE(status.st_mode))
    _copy_times(status, place)


def _copy_times(status: os.stat_result, place: Path) -> None:
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
