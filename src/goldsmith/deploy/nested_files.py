"""Files that an image has below another file system's mount point move to that file system.

An image of the root alone has /var in it; on a target with a file system for /var they would be
hidden. Owners, times, ACLs, extended attributes, sparse stretches and hard links within what moves
are kept.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.deploy.node_facts import read_facts
from goldsmith.deploy.scheme import Scheme, TargetFilesystem
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host import kernel, mounts
from goldsmith.host.confined import confined
from goldsmith.host.process import run, tool_environment
from goldsmith.host.sparse import is_full_message

_STAGING: Final = ".goldsmith-moving"


def move_nested_files(scheme: Scheme, *, scratch: Path, say: Callable[[str], None]) -> None:
    """Move what lies below a mount point of the scheme, in the file system above, to its own one.

    Parents come first, so that files for /var/lib pass through /var. Where data is kept, a file
    that is there already wins. Nothing of the target may be mounted. Raises GoldsmithError, also
    when a file system has no room; what was not moved is still where it was.
    """
    done: list[TargetFilesystem] = []
    for filesystem in scheme.by_depth():
        above = _above(filesystem, done)
        done.append(filesystem)
        if above is not None and not _is_foreign(filesystem):
            _move(above, filesystem, scratch, say)


def _above(filesystem: TargetFilesystem, others: list[TargetFilesystem]) -> TargetFilesystem | None:
    """The nearest file system that a mount point lies in."""
    mount = PurePosixPath(filesystem.mount or "/")
    holders = [o for o in others if mount.is_relative_to(o.mount or "/") and o.mount != str(mount)]
    return max(holders, key=lambda o: len(PurePosixPath(o.mount or "/").parts), default=None)


def _is_foreign(filesystem: TargetFilesystem) -> bool:
    """A vfat cannot hold what a tree has, and what boots from it is written there by itself."""
    return filesystem.type in ("vfat", "fat", "fat32", "iso9660")


def _move(
    above: TargetFilesystem, own: TargetFilesystem, scratch: Path, say: Callable[[str], None]
) -> None:
    mount = PurePosixPath(own.mount or "/")
    inside = "/" + str(mount.relative_to(above.mount or "/"))
    with _mounted(above, scratch / "above") as upper:
        source = confined(upper, inside, follow_last=True)
        if not mounts.is_directory(str(source)) or not any(source.iterdir()):
            return
        say(f"Moving the files of {mount} to {own.node}")
        with _mounted(own, scratch / "own") as target:
            move_files(source, target, keep=own.keep_data)


@contextmanager
def _mounted(filesystem: TargetFilesystem, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    kind = read_facts(filesystem.node).type or filesystem.type
    try:
        with mounts.mounted(filesystem.node, place, kind):
            yield place
    finally:
        place.rmdir()


def move_files(source: Path, target: Path, *, keep: bool = False) -> None:
    """Copy a directory's contents and its own attributes, then empty it.

    With `keep` nothing that is there is changed, and what a copy that was killed has left is made
    anew: files get their names when they are whole. The directory itself stays, as the place to
    mount on.
    """
    place = target / _STAGING if keep else target
    if keep:
        _remove(place)
    # Files that are there are removed: one of another image may be a link out of its tree.
    argv = ["cp", "--archive", "--sparse=auto", "--one-file-system", "--no-target-directory",
            "--remove-destination", str(source), str(place)]  # fmt: skip
    try:
        run(argv, env=tool_environment())
        _sync(target)
        if keep:
            _merge(place, target)
            _sync(target)
    except CommandFailed as e:
        full = any(is_full_message(line) for line in e.tail)
        raise GoldsmithError(
            f"the files below {source} cannot be moved\n" + "\n".join(e.tail[-5:]),
            hint="make that file system larger: it has no room for what the image has there"
            if full else None,
        ) from e  # fmt: skip
    finally:
        if keep:
            _remove(place)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _remove(directory: Path) -> None:
    if os.path.lexists(directory):
        shutil.rmtree(directory)


def _merge(source: Path, target: Path) -> None:
    """Rename into a directory what it does not have, and never through a link."""
    for entry in list(os.scandir(source)):
        place = target / entry.name
        if not os.path.lexists(place):
            os.rename(entry.path, place)
        elif entry.is_dir(follow_symlinks=False) and stat.S_ISDIR(os.lstat(place).st_mode):
            _merge(Path(entry.path), place)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.syncfs(fd)
    finally:
        os.close(fd)
