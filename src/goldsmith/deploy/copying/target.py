"""The device that an image is written to: nothing of its past shows, nothing half done looks done.

First its start and its end are overwritten, where file systems and partition tables have their
signatures. Then all that the image will not write is given back to the device in the one way that
promises zeros (fallocate(2) on a block device: blkdev_issue_zeroout without a fallback), which is
tried against samples. The first MiB of the image waits in memory and is written last, when
everything else is on the disk and proved: whatever ends the copy before leaves a device that
nothing recognises.

Whole blocks are written past the page cache (O_DIRECT): on a loop device here 1 GiB took 1.4 s
with 0.04 s of processor time against 2.0 s and 0.4 s through it (kernel 6.18), and processor time
is what decompression and digests are short of.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.deploy.copying.images import CopyError
from goldsmith.errors import ResourceBusy
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.sparse import punch_hole
from goldsmith.units import GIB, MIB, format_size

HEAD_BYTES: Final = MIB
_TAIL_BYTES: Final = MIB
"""Backup tables (GPT), superblocks of md 0.90 and 1.0, labels of ZFS lie within it."""
_ALIGNED_BYTES: Final = 4096
_GIVEN_BACK_AT_ONCE_BYTES: Final = 4 * GIB
_SAMPLES: Final = 16
_ZEROS: Final = memoryview(bytes(MIB))
_GONE: Final = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOSPC)


class TargetError(CopyError):
    """The target cannot be written, or is not one."""


class ImageTooLarge(TargetError):
    """An image is larger than its target."""

    def __init__(self, path: Path, image_bytes: int, size_bytes: int, *, so_far: bool) -> None:
        at_least = "at least " if so_far else ""
        super().__init__(
            f"the image has {at_least}{format_size(image_bytes)} ({image_bytes} bytes), and {path} "
            f"only {format_size(size_bytes)} ({size_bytes} bytes)",
            hint="make the partition or volume larger, or the image smaller",
        )


class Target:
    """An open target; `write` and `zero` may be called by several threads."""

    def __init__(self, path: Path, fd: int, direct_fd: int | None) -> None:
        self.path = path
        self._fd, self._direct_fd = fd, direct_fd
        self.size_bytes = os.lseek(fd, 0, os.SEEK_END)
        self.reads_zeros = False
        """Whether all that was not written since `begin` reads as zeros."""
        self.written_bytes = 0
        self._head = bytearray()
        self._counting = threading.Lock()

    def require_room(self, image_bytes: int, *, so_far: bool = False) -> None:
        """Raise ImageTooLarge unless so many bytes fit; `so_far` says that there may be more."""
        if image_bytes > self.size_bytes:
            raise ImageTooLarge(self.path, image_bytes, self.size_bytes, so_far=so_far)

    def begin(self, overwritten: Iterable[tuple[int, int]] = ()) -> None:
        """Make the target forget what is on it, but where it will be `overwritten` anyway.

        Those are offsets and lengths, in order; a device has less to do where its blocks stay.
        """
        self._head = bytearray(min(HEAD_BYTES, self.size_bytes))
        self.written_bytes = 0
        self.wipe()
        with self._named("emptying"):
            gaps = list(_gaps(overwritten, self.size_bytes))
            self.reads_zeros = self._give_back(gaps) and self._samples_are_zero(gaps)

    def wipe(self) -> None:
        """Overwrite start and end with zeros, now."""
        with self._named("wiping"):
            for start, length in _both_ends(self.size_bytes):
                _write(self._fd, _ZEROS[:length], start)
            os.fsync(self._fd)

    def _give_back(self, gaps: Iterable[tuple[int, int]]) -> bool:
        for start, end in gaps:
            for at in range(start, end, _GIVEN_BACK_AT_ONCE_BYTES):
                check_cancelled()
                if not punch_hole(self._fd, at, min(_GIVEN_BACK_AT_ONCE_BYTES, end - at)):
                    return False
        return True

    def _samples_are_zero(self, gaps: Sequence[tuple[int, int]]) -> bool:
        """Whether some blocks of what was given back read as zeros, as the kernel has promised."""
        for start, end in gaps[:: len(gaps) // _SAMPLES + 1]:
            count = _SAMPLES // len(gaps) + 1
            places = {start + (end - start) * number // count for number in range(count)}
            for place in sorted(places):
                at = place // _ALIGNED_BYTES * _ALIGNED_BYTES
                if any(os.pread(self._fd, min(_ALIGNED_BYTES, end - at), at)):
                    return False
        return True

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes; those of the first MiB wait for `finish`."""
        if (held := min(max(HEAD_BYTES - offset, 0), len(data))) > 0:
            self._head[offset : offset + held] = data[:held]
        rest = data[held:]
        with self._named("writing"):
            self._write(offset + held, rest)
        with self._counting:
            self.written_bytes += len(data)

    def _write(self, offset: int, data: memoryview) -> None:
        direct = len(data) // _ALIGNED_BYTES * _ALIGNED_BYTES
        if self._direct_fd is None or offset % _ALIGNED_BYTES:
            direct = 0
        if direct:
            try:
                _write(self._direct_fd or -1, data[:direct], offset)
            except OSError as e:
                if e.errno != errno.EINVAL:  # a device of larger sectors, an odd buffer
                    raise
                self._direct_fd, direct = None, 0
        if rest := data[direct:]:
            at = offset + direct
            _write(self._fd, rest, at)
            # The kernel begins to write what is dirty: else the fsync has to wait for all of it.
            os.posix_fadvise(self._fd, at, len(rest), os.POSIX_FADV_DONTNEED)

    def zero(self, offset: int, length: int) -> None:
        """Make a stretch read as zeros, which costs nothing where everything does already."""
        if self.reads_zeros:
            return
        with self._named("writing"):
            # The head was zeros to begin with.
            at, end = max(offset, HEAD_BYTES), offset + length
            while at < end:
                check_cancelled()
                count = min(len(_ZEROS), end - at)
                self._write(at, _ZEROS[:count])
                at += count

    def finish(self, image_bytes: int) -> None:
        """Wait for the disk, then write the start of the image, and wait for that."""
        with self._named("writing"):
            os.fsync(self._fd)
            self.require_same_size()
            _write(self._fd, memoryview(self._head)[:image_bytes], 0)
            os.fsync(self._fd)

    def require_same_size(self) -> None:
        """Raise TargetError when the device has become another one, or none."""
        now = os.lseek(self._fd, 0, os.SEEK_END)
        if now != self.size_bytes:
            raise TargetError(
                f"{self.path} had {self.size_bytes} bytes, and now has {now}: it has vanished or "
                "was changed while the image was written"
            )

    @contextmanager
    def _named(self, doing: str) -> Iterator[None]:
        """Errors of the kernel with the target's name, and what they mean."""
        try:
            yield
        except OSError as e:
            hint = None
            if e.errno in _GONE:
                hint = "the device is damaged, or has vanished: see dmesg, then begin again"
            raise TargetError(f"{doing} {self.path} failed: {e.strerror}", hint=hint) from e


def _both_ends(size_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and length of what is wiped."""
    head = min(HEAD_BYTES, size_bytes)
    yield 0, head
    tail = min(_TAIL_BYTES, size_bytes - head)
    if tail:
        yield size_bytes - tail, tail


def _gaps(extents: Iterable[tuple[int, int]], size_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and end of what lies between extents and behind them, in whole blocks."""
    at = 0
    for start, length in (*extents, (size_bytes, 0)):
        first = at // _ALIGNED_BYTES * _ALIGNED_BYTES
        last = min(-(-start // _ALIGNED_BYTES) * _ALIGNED_BYTES, size_bytes)
        if start > at:
            yield first, last
        at = start + length


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


@contextmanager
def open_target(path: Path) -> Iterator[Target]:
    """Open a block device that nobody else uses, or a file that stands for one.

    Raises ResourceBusy for a device that is mounted or held (open(2), O_EXCL), TargetError.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = os.stat(path)
            is_device = stat.S_ISBLK(found.st_mode)
            if not is_device and not stat.S_ISREG(found.st_mode):
                raise TargetError(f"{path} is neither a block device nor a file")
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if is_device else 0))
            stack.callback(os.close, fd)
        except OSError as e:
            if e.errno == errno.EBUSY:
                raise ResourceBusy(
                    f"{path} is in use: it is mounted, or belongs to an array, a volume group or "
                    "another program",
                    hint=f"lsblk {path} shows by what",
                ) from e
            raise TargetError(f"{path} cannot be written: {e.strerror}") from e
        direct_fd = None
        with contextlib.suppress(OSError):  # not every file system has it
            # By way of /proc: the same device even if the name leads elsewhere by now.
            direct_fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
            stack.callback(os.close, direct_fd)
        yield Target(path, fd, direct_fd)
