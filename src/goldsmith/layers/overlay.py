"""One layer on top of others: mounted so that a step sees, and leaves, an ordinary directory.

The rules come from experiments on kernel 6.18. Copy-up breaks hard links and renames of lower
directories unless the overlay has `index=on,redirect_dir=on` and every name of a multi-link file
that was touched is copied up before the overlay is unmounted. A fresh upper directory would also
change the mode and owner of the tree's root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from goldsmith.host import mounts
from goldsmith.host.journal import remove_tree


@contextmanager
def step_overlay(
    lowers: Sequence[Path],
    upper: Path,
    *,
    scratch: Path,
    merged: Path,
    clamp_to_s: int | None,
    is_kept: bool = True,
) -> Iterator[Path]:
    """Mount `upper` over `lowers` (topmost first) at `merged` for the length of a block.

    `upper` is made, `scratch` too: a directory beside it for the mount's own needs, removed on a
    clean end. Every process that uses the tree must be dead when the block is left. On a clean end
    hard links are completed, if it `is_kept`, and times after `clamp_to_s` (seconds since 1970) are
    set to it.
    """
    upper.mkdir(mode=0o755)
    work, empty = scratch / "work", scratch / "empty"
    for directory in (work, empty):
        directory.mkdir(parents=True, mode=0o755)
    merged.mkdir(exist_ok=True)
    if lowers:
        copy_root_attributes(lowers[0], upper)
    with mounts.overlaid(lowers or [empty], merged, upper, work):
        yield merged
        if lowers and is_kept:
            complete_hard_links(merged, upper, work, lowers)
    remove_tree(scratch)
    if clamp_to_s is not None:
        clamp_times(upper, clamp_to_s)


@contextmanager
def filled(upper: Path, *, clamp_to_s: int | None) -> Iterator[Path]:
    """Make a directory for the first layer of a tree, which no program of the tree changes.

    Files of it may be links to others outside; none after `clamp_to_s` may be.
    """
    upper.mkdir(mode=0o755)
    yield upper
    if clamp_to_s is not None:
        clamp_times(upper, clamp_to_s)


@contextmanager
def stacked(lowers: Sequence[Path], merged: Path, scratch: Path) -> Iterator[Path]:
    """Show the layers (topmost first) as one tree whose changes are thrown away.

    `scratch` is made and removed; it must lie on the file system of the layers.
    """
    scratch.mkdir(mode=0o700)
    with step_overlay(
        lowers, scratch / "upper", scratch=scratch / "mount", merged=merged, clamp_to_s=None,
        is_kept=False,
    ) as tree:  # fmt: skip
        yield tree
    remove_tree(scratch)


def copy_root_attributes(source: Path, target: Path) -> None:
    """Give a fresh upper directory the mode, owner, xattrs and times of the root below it."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in sorted(os.listxattr(source)):
        # The overlay's own marks describe the layer below, not this one.
        if not name.startswith("trusted.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def complete_hard_links(merged: Path, upper: Path, work: Path, lowers: Sequence[Path]) -> None:
    """Copy up every name of each multi-link file of which a name was touched or lost.

    Setting a file's times to what they are makes the kernel link that name into the upper
    directory, where the index already knows the file. A chown to nobody (-1, -1) would do so too,
    but drops setuid bits and file capabilities (kernel 6.18). A file of which no touched name is
    left shows in the index alone, with its changes: then the names that it has in the layers tell
    which file it was.
    """
    touched = _touched_links(upper)
    names_lost = _has_nameless(work / "index")
    if not touched and not names_lost:
        return
    # What was touched has another name below, or in a store that files are linked from: only the
    # former counts. On one file system the merged inode numbers are those of the layers.
    several = _names_of_linked(lowers)
    wanted = {os.lstat(merged / relative).st_ino for relative in touched} & several.keys()
    if names_lost:
        wanted |= {inode for inode, names in several.items()
                   if any(_inode_at(merged / name) != inode for name in names)}  # fmt: skip
    if not wanted:
        return
    for entry, status in _walk(merged):
        if status.st_ino in wanted and not stat.S_ISDIR(status.st_mode):
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(entry.path, ns=times, follow_symlinks=False)


def _touched_links(upper: Path) -> list[str]:
    """The multi-link files that a step touched and left."""
    return [
        os.path.relpath(entry.path, upper)
        for entry, status in _walk(upper)
        if _is_linked(status)
    ]  # fmt: skip


def _has_nameless(index: Path) -> bool:
    """Whether the kernel holds a file with several links of which no touched name is left."""
    try:
        with os.scandir(index) as entries:
            statuses = [entry.stat(follow_symlinks=False) for entry in entries]
    except FileNotFoundError:
        return False
    return any(
        status.st_nlink == 1 and not stat.S_ISDIR(status.st_mode) and not _is_whiteout(status)
        for status in statuses
    )


def _names_of_linked(lowers: Sequence[Path]) -> dict[int, list[str]]:
    """The names of files with several in one layer, by inode; those elsewhere do not count."""
    found: dict[int, list[str]] = {}
    for layer in lowers:
        names: dict[int, list[str]] = {}
        for entry, status in _walk(layer):
            if _is_linked(status):
                names.setdefault(status.st_ino, []).append(entry.path[len(f"{layer}/") :])
        found |= {inode: same for inode, same in names.items() if len(same) > 1}
    return found


def _is_linked(status: os.stat_result) -> bool:
    is_directory = stat.S_ISDIR(status.st_mode)
    return status.st_nlink > 1 and not is_directory and not _is_whiteout(status)


def _inode_at(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


def _walk(top: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Everything below a directory, nothing followed, in no order."""
    stack = [os.fspath(top)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    stack.append(entry.path)
                yield entry, status


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def clamp_times(top: Path, latest_s: int) -> None:
    """Set every modification time after `latest_s` to it, so that equal builds are equal bytes.

    Works on the layer itself: through an overlay it would copy every such file up.
    """
    latest_ns = latest_s * 1_000_000_000
    for entry, status in _walk(top):
        if status.st_mtime_ns > latest_ns and not _is_whiteout(status):
            os.utime(entry.path, ns=(latest_ns, latest_ns), follow_symlinks=False)
    if os.stat(top).st_mtime_ns > latest_ns:
        os.utime(top, ns=(latest_ns, latest_ns))
