"""What is in a layer's tree: walked once, hashed by a few threads, written down as a listing.

Whiteouts of an overlay are nothing but a name: the kernel links all of one mount to one inode, so
their mode, owner and times say nothing. Of the overlay's own attributes only those count that
change what is seen through it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.sparse import hash_sparse
from goldsmith.layers.listing import Entry, Listing

_READERS: Final = min(4, max(2, os.cpu_count() or 2))
_BATCH_FILES: Final = 256
_BATCH_BYTES: Final = 16 << 20
_READ_BYTES: Final = 1 << 20
_PRIVATE: Final = frozenset(
    f"trusted.overlay.{name}" for name in ("origin", "impure", "nlink", "upper", "uuid")
)
"""Marks by which the kernel finds its way; they hold inode numbers and differ for equal trees."""

_TYPES: Final = {
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFBLK: "b",
    stat.S_IFCHR: "c", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
}  # fmt: skip


ReadBefore = Mapping[tuple[int, int, int], str]
"""SHA-256 of files that were read a moment ago, by device, inode number and change time (ns).

Who touches such a file meanwhile gives it another change time: then it is read again.
"""
SeenAs = Callable[[int, int], tuple[int, int]]
"""From the owner and group of a file to those that count."""


class Found(NamedTuple):
    """A name that a walk has met."""

    path: bytes
    status: os.stat_result


class Measured(NamedTuple):
    """What only reading shows."""

    xattrs: bytes
    content: bytes


def scan(top: Path) -> list[Found]:
    """Everything in a tree, its root as b".", in the bytewise order of paths; nothing followed."""
    root = os.fsencode(top)
    found = [Found(b".", os.lstat(root))]
    stack = [(b"", root)]
    while stack:
        prefix, directory = stack.pop()
        check_cancelled()
        with os.scandir(directory) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                path = prefix + entry.name
                if stat.S_ISDIR(status.st_mode):
                    stack.append((path + b"/", entry.path))
                found.append(Found(path, status))
    found.sort(key=lambda one: one.path)
    return found


def disk_bytes(found: Sequence[Found]) -> int:
    """What a tree takes on its disk, a file with several names counted once."""
    blocks = {(one.status.st_dev, one.status.st_ino): one.status.st_blocks for one in found}
    return sum(blocks.values()) * 512


def describe(
    top: Path,
    found: Sequence[Found] | None = None,
    *,
    seen_as: SeenAs | None = None,
    read: ReadBefore | None = None,
) -> Listing:
    """The listing of a tree; reads every byte of it once, holes and what was `read` excepted.

    `seen_as` gives the owners by which others will see it, in another user namespace. Raises
    OSError, and GoldsmithError for a file that changes meanwhile.
    """
    found = scan(top) if found is None else found
    measured = measure(top, found, read or {})
    firsts = first_names(found)
    return Listing(tuple(_entry(one, firsts, measured[one.path], seen_as) for one in found))


def _entry(
    one: Found, firsts: Mapping[bytes, bytes], measured: Measured, seen_as: SeenAs | None
) -> Entry:
    path, status = one
    return Entry(
        path, status_column(status, seen_as), firsts.get(path, b""), measured.xattrs,
        measured.content, status.st_ctime_ns, status.st_ino,
    )  # fmt: skip


def path_text(path: bytes) -> str:
    """A path for people."""
    return path.decode(errors="backslashreplace")


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def status_column(status: os.stat_result, seen_as: SeenAs | None = None) -> bytes:
    """The column `Entry.status`; sizes of directories differ between equal trees."""
    if _is_whiteout(status):
        return b"w 0 0 0 0 0 0"
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    size = status.st_size if kind in "fl" else 0
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if kind in "bc" else "0"
    owner, group = status.st_uid, status.st_gid
    if seen_as is not None:
        owner, group = seen_as(owner, group)
    return (
        f"{kind} {stat.S_IMODE(status.st_mode):o} {owner} {group} {size}"
        f" {status.st_mtime_ns} {device}"
    ).encode()


def first_names(found: Sequence[Found]) -> dict[bytes, bytes]:
    """The first path of every name whose file has another name in this tree too."""
    groups: dict[tuple[int, int], list[bytes]] = {}
    for path, status in found:
        linked = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
        if linked and not _is_whiteout(status):
            groups.setdefault((status.st_dev, status.st_ino), []).append(path)
    return {path: paths[0] for paths in groups.values() if len(paths) > 1 for path in paths}


def measure(top: Path, found: Sequence[Found], read: ReadBefore) -> dict[bytes, Measured]:
    """Attributes and contents by path; each file is read once, however many names it has."""
    root = os.fsencode(top)
    names: dict[tuple[int, int], list[bytes]] = {}
    single: list[Found] = []
    for one in found:
        same = names.setdefault((one.status.st_dev, one.status.st_ino), [])
        if not same:
            single.append(one)
        same.append(one.path)
    result: dict[bytes, Measured] = {}
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="layer-content")
    try:
        waiting = [pool.submit(_measure_batch, root, batch, read) for batch in _batches(single)]
        for done in waiting:
            for one, measured in _awaited(done):
                paths = names[(one.status.st_dev, one.status.st_ino)]
                result.update(dict.fromkeys(paths, measured))
    finally:
        pool.shutdown(cancel_futures=True)
    return result


def _awaited(
    done: Future[list[tuple[Found, Measured]]],
) -> list[tuple[Found, Measured]]:
    while True:
        check_cancelled()
        with contextlib.suppress(TimeoutError):
            return done.result(timeout=0.2)


def _batches(found: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size_bytes = 0
    for one in found:
        batch.append(one)
        size_bytes += one.status.st_size
        if len(batch) >= _BATCH_FILES or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _measure_batch(
    root: bytes, batch: Sequence[Found], read: ReadBefore
) -> list[tuple[Found, Measured]]:
    return [(one, _measure(b"%s/%s" % (root, one.path), one.status, read)) for one in batch]


def _measure(path: bytes, status: os.stat_result, read: ReadBefore) -> Measured:
    if _is_whiteout(status):
        return Measured(b"-", b"-")
    content = b"-"
    if stat.S_ISREG(status.st_mode):
        known = read.get((status.st_dev, status.st_ino, status.st_ctime_ns))
        content = (known or _file_digest(path, status)).encode()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return Measured(_xattr_digest(path), content)


def _xattr_digest(path: bytes) -> bytes:
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
        return b"-"
    digest = hashlib.sha256()
    counted = [name for name in names if name not in _PRIVATE]
    for name in counted:
        for part in (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False)):
            digest.update(b"%d:%s" % (len(part), part))
    return digest.hexdigest().encode() if counted else b"-"


def _file_digest(path: bytes, status: os.stat_result) -> str:
    if status.st_size > _READ_BYTES and status.st_blocks * 512 < status.st_size:
        return hash_sparse(Path(os.fsdecode(path)))["sha256"]
    digest = hashlib.sha256()
    size_bytes = 0
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data := os.read(fd, _READ_BYTES):
            digest.update(data)
            size_bytes += len(data)
            if size_bytes >= status.st_size:
                break
    finally:
        os.close(fd)
    if size_bytes != status.st_size:
        raise GoldsmithError(f"{path_text(path)} changed while it was read")
    return digest.hexdigest()
