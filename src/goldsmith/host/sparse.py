"""Sparse files: copying, hashing and thinning them without touching their holes.

Disk images are mostly holes. Everything here walks the mapped extents (SEEK_DATA, SEEK_HOLE), so
that the cost follows the data and not the size of the disk. A full file system is reported by its
name and its free space, because "No space left on device" alone does not say which device.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed, NoSpaceError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.digests import new_digest
from goldsmith.units import format_size

CHUNK_BYTES: Final = 1 << 20
BLOCK_BYTES: Final = 4096
_ZEROS: Final = memoryview(bytes(CHUNK_BYTES))

# linux/falloc.h; the os module has no fallocate(2) with a mode.
_FALLOC_FL_KEEP_SIZE: Final = 0x01
_FALLOC_FL_PUNCH_HOLE: Final = 0x02

OnBytes = Callable[[int, int], None]
"""Called with the bytes done so far and the bytes in all."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_MESSAGES: Final = ("No space left on device", "Disk quota exceeded")


def mount_point_of(path: Path) -> Path:
    """The mount point of the file system that holds `path`, or would hold it."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    place = place.resolve()
    device = place.stat().st_dev
    while place != place.parent and place.parent.stat().st_dev == device:
        place = place.parent
    return place


def no_space(path: Path) -> NoSpaceError:
    """The error for a write to `path` that its file system had no room for."""
    mount = mount_point_of(path)
    free = os.statvfs(mount)
    free_bytes = free.f_bavail * free.f_frsize
    return NoSpaceError(
        f"{path} cannot be written: the file system at {mount} is full "
        f"({format_size(free_bytes)} free)",
        hint=f"make room on {mount}, or put the output on another file system",
    )


def is_full_message(line: str) -> bool:
    """Whether a program says in this line that the file system is full."""
    return any(message in line for message in _FULL_MESSAGES)


@contextmanager
def full_file_system_named(path: Path) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT of the block, our own or a program's, into NoSpaceError."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL:
            raise no_space(path) from e
        raise
    except CommandFailed as e:
        if any(is_full_message(line) for line in e.tail):
            raise no_space(path) from e
        raise


def create_sparse(path: Path, size_bytes: int) -> None:
    """Make a new file that is one hole; raises FileExistsError when the name is taken."""
    with full_file_system_named(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, size_bytes)
        finally:
            os.close(fd)


def data_extents(fd: int) -> Iterator[tuple[int, int]]:
    """The mapped stretches of an open file as (offset, length), in order."""
    size_bytes = os.fstat(fd).st_size
    offset = 0
    while offset < size_bytes:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
        if end > start:
            yield start, end - start
        offset = end


def mapped_bytes(path: Path) -> int:
    """How many bytes of a file are data."""
    with open(path, "rb") as stream:
        return sum(length for _, length in data_extents(stream.fileno()))


def copy_extents(
    source_fd: int,
    target_fd: int,
    *,
    source_offset: int = 0,
    length: int | None = None,
    target_offset: int = 0,
    on_bytes: OnBytes | None = None,
) -> int:
    """Copy the mapped stretches of a part of one file into another; returns the bytes copied.

    The target must read as zeros where the source has holes: nothing is written there.
    """
    end = os.fstat(source_fd).st_size if length is None else source_offset + length
    pieces = [
        (max(start, source_offset), min(start + size, end))
        for start, size in data_extents(source_fd)
        if start < end and start + size > source_offset
    ]
    total = sum(stop - start for start, stop in pieces)
    done = 0
    for start, stop in pieces:
        while start < stop:
            moved = _move(source_fd, target_fd, start, target_offset + start - source_offset,
                          min(64 * CHUNK_BYTES, stop - start))  # fmt: skip
            if not moved:  # the source was cut while we read it
                return done
            start += moved  # noqa: PLW2901 (the rest of the extent)
            done += moved
            check_cancelled()
            if on_bytes is not None:
                on_bytes(done, total)
    return done


def _move(source_fd: int, target_fd: int, source_at: int, target_at: int, count: int) -> int:
    """Copy at most `count` bytes, in the kernel where both file systems allow it."""
    try:
        return os.copy_file_range(source_fd, target_fd, count, source_at, target_at)
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    data = memoryview(os.pread(source_fd, min(count, CHUNK_BYTES), source_at))
    written = 0
    while written < len(data):
        written += os.pwrite(target_fd, data[written:], target_at + written)
    return written


def copy_sparse(source: Path, target: Path, *, on_bytes: OnBytes | None = None) -> None:
    """Copy a file by extents to a new name, fsynced; a failed copy leaves no target.

    Raises FileExistsError when the target is there, NoSpaceError when it does not fit.
    """
    size_bytes = source.stat().st_size
    create_sparse(target, size_bytes)
    try:
        with (
            full_file_system_named(target),
            open(source, "rb") as reading,
            open(target, "r+b", buffering=0) as writing,
        ):
            copy_extents(reading.fileno(), writing.fileno(), on_bytes=on_bytes)
            os.fsync(writing.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def hash_sparse(
    path: Path, algorithms: Sequence[str] = ("sha256",), *, on_bytes: OnBytes | None = None
) -> Mapping[str, str]:
    """Digests of a file in one pass, algorithm -> hexadecimal; holes count as zeros, unread."""
    digests = {algorithm: new_digest(algorithm) for algorithm in algorithms}

    def feed(piece: memoryview) -> None:
        for digest in digests.values():
            digest.update(piece)

    def feed_zeros(count: int) -> None:
        while count > 0:
            feed(_ZEROS[: min(count, CHUNK_BYTES)])
            count -= CHUNK_BYTES

    buffer = memoryview(bytearray(CHUNK_BYTES))
    with open(path, "rb", buffering=0) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        at = 0
        for start, length in data_extents(stream.fileno()):
            feed_zeros(start - at)
            at = start
            while at < start + length:
                count = os.preadv(stream.fileno(), [buffer[: start + length - at]], at)
                if not count:
                    break
                feed(buffer[:count])
                at += count
                check_cancelled()
                if on_bytes is not None:
                    on_bytes(at, size_bytes)
        feed_zeros(size_bytes - at)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return libc


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Give a stretch back to the file system; it reads as zeros.

    Returns False where the file system cannot do that (then nothing has changed).
    """
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    if _libc().fallocate64(fd, mode, offset, length) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))


def punch_zeros(path: Path) -> int:
    """Turn every mapped block that holds only zeros into a hole; returns the bytes given back."""
    given_back = 0
    with open(path, "r+b", buffering=0) as stream:
        fd = stream.fileno()
        for start, length in list(data_extents(fd)):
            for zeros_at, zeros_length in _zero_runs(fd, start, start + length):
                if not punch_hole(fd, zeros_at, zeros_length):
                    return given_back
                given_back += zeros_length
    return given_back


def _zero_runs(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of whole zero blocks between two offsets."""
    zero_block = _ZEROS[:BLOCK_BYTES]
    run_start: int | None = None
    at = -(-start // BLOCK_BYTES) * BLOCK_BYTES
    while at + BLOCK_BYTES <= end:
        data = memoryview(
            os.pread(fd, min(CHUNK_BYTES, (end - at) // BLOCK_BYTES * BLOCK_BYTES), at)
        )
        if len(data) == CHUNK_BYTES and data == _ZEROS:
            run_start = at if run_start is None else run_start
            at += len(data)
            continue
        for block_at in range(0, len(data) - BLOCK_BYTES + 1, BLOCK_BYTES):
            is_zero = data[block_at : block_at + BLOCK_BYTES] == zero_block
            if is_zero and run_start is None:
                run_start = at + block_at
            elif not is_zero and run_start is not None:
                yield run_start, at + block_at - run_start
                run_start = None
        if len(data) < BLOCK_BYTES:
            break
        at += len(data) // BLOCK_BYTES * BLOCK_BYTES
    if run_start is not None:
        yield run_start, at - run_start
