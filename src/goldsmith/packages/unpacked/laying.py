"""Lays the files of unpacked packages into a tree, exactly as dpkg would.

Links to the store where the tree is only ever the lower directory of an overlay, else copies: what
a maintainer script writes into a file must never reach the store. The tree holds nothing but what
is laid here, so no path of it is ever a stranger's link.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from goldsmith.packages.errors import PackageError
from goldsmith.packages.unpacked.content_store import UnpackedPackage
from goldsmith.packages.unpacked.deb_file import Member
from goldsmith.packages.unpacked.links import Links
from goldsmith.packages.unpacked.tree_plan import MERGED, TreePlan, merged

_MOST_AT_ONCE: Final = 1 << 30
_ALWAYS_MERGED: Final = ("bin", "sbin", "lib", "lib64")
NEW_CONFFILE: Final = ".dpkg-new"


def lay_tree(
    plan: TreePlan,
    tree: Path,
    *,
    moved: Mapping[str, str] | None = None,
    links: Links | None = None,
) -> None:
    """Fill a tree that holds no file yet; `moved` has diverted paths by where packages have them.

    Conffiles get the ending that dpkg looks for when it configures their package. With `links` the
    files are links to the store where that is on the same file system.
    """
    for name in _ALWAYS_MERGED:
        (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (tree / name).is_symlink():
            (tree / name).symlink_to(f"usr/{name}")
    for directory in ("usr", *(f"usr/{name}" for name in _ALWAYS_MERGED)):
        (tree / directory).chmod(0o755)
    made: set[str] = set()
    for package in plan.laid:
        _lay(package, os.fspath(tree), made, moved or {}, links)


def _lay(
    package: UnpackedPackage,
    tree: str,
    made: set[str],
    moved: Mapping[str, str],
    links: Links | None,
) -> None:
    """Paths are texts here: most of the time of ten thousand files went into path objects."""
    conffiles = _conffiles(package)
    root = f"{package.directory}/root"
    for member in package.members:
        if member.kind == "l" and member.path in MERGED:
            _set_link_times(Path(tree, member.path), member)
            continue
        place = merged(member.path)
        place = moved.get(place, place)
        if member.kind == "d":
            _make_directory(tree, place, member, made)
            continue
        target = f"{tree}/{place}{NEW_CONFFILE if member.path in conffiles else ''}"
        if member.kind == "h":
            linked = _laid_name(merged(member.target), member.target, conffiles, moved)
            os.link(f"{tree}/{linked}", target, follow_symlinks=False)
        elif member.kind == "l":
            os.symlink(member.target, target)
            os.chown(target, member.uid, member.gid, follow_symlinks=False)
            os.utime(target, (member.mtime_s, member.mtime_s), follow_symlinks=False)
        elif links is None or member.mtime_s > links.until_s:
            _copy(f"{root}/{member.path}", target, member)
        else:
            _link(f"{root}/{member.path}", target, member, links)


def _laid_name(place: str, path: str, conffiles: Collection[str], moved: Mapping[str, str]) -> str:
    name = moved.get(place, place)
    return name + NEW_CONFFILE if path in conffiles else name


def _make_directory(tree: str, place: str, member: Member, made: set[str]) -> None:
    """The first package that has a directory says how it is; it may be there, as a mount point."""
    if place in made or place in MERGED:
        return
    made.add(place)
    target = f"{tree}/{place}" if place else tree
    with contextlib.suppress(FileExistsError):
        os.mkdir(target)
    os.chown(target, member.uid, member.gid)
    os.chmod(target, member.mode)


def _set_link_times(link: Path, member: Member) -> None:
    """One of the links that were made first: the package that has it says how it is dated."""
    if not link.is_symlink():
        link.symlink_to(member.target)
    os.utime(link, (member.mtime_s, member.mtime_s), follow_symlinks=False)


def _link(source: str, target: str, member: Member, links: Links) -> None:
    """Give the store's file one more name; a copy of it where the file system cannot."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP):
            raise
        _copy(source, target, member)
        return
    status = os.lstat(target)
    if (status.st_size, int(status.st_mtime)) != (member.size_bytes, member.mtime_s):
        raise _changed(source)
    links.contents[status.st_dev, status.st_ino, status.st_ctime_ns] = member.sha256


def _copy(source: str, target: str, member: Member) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writer = os.open(target, flags, 0o600)
        try:
            left = member.size_bytes
            while left > 0:
                # Between file systems, an overlay and its lower one among them, the kernel (5.19)
                # refuses copy_file_range(2).
                copied = os.sendfile(writer, reader, None, min(left, _MOST_AT_ONCE))
                if copied == 0:
                    raise _changed(source)
                left -= copied
            if member.uid or member.gid:
                os.fchown(writer, member.uid, member.gid)
            os.fchmod(writer, member.mode)
            os.utime(writer, (member.mtime_s, member.mtime_s))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _changed(source: str) -> PackageError:
    """The store was checked a moment ago."""
    return PackageError(
        f"{source} was changed while it was used", hint="build again: it is unpacked anew"
    )


def _conffiles(package: UnpackedPackage) -> frozenset[str]:
    return frozenset(path.lstrip("/") for path in package.conffiles)
