"""Raw images in a compressed container, and all that is to be known of the raw image, in one pass.

The image is cut into stretches of 8 MiB. Each mapped one is read once, and from that one reading
come the digest of the whole, the block map's digests and the compressed bytes; holes are not read.
A stretch becomes a gzip member or a zstd frame of its own: stretches are compressed on all cores,
and the bytes of the file do not depend on how many there are. Any gzip and zstd reads such files.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.block_map import (
    BLOCK_BYTES,
    STRETCH_BYTES,
    BlockMap,
    BlockRange,
    mapped_stretches,
)
from goldsmith.errors import GoldsmithError
from goldsmith.host.digests import HashedWriting
from goldsmith.host.parallel import cores
from goldsmith.host.sparse import OnBytes, full_file_system_named

Compress = Callable[[memoryview], bytes]

GZIP_LEVEL: Final = 2
"""Of 0 to 3: 3 saves another 1.5 % and takes more than twice the time."""
ZSTD_LEVEL: Final = 3

_ZEROS: Final = memoryview(bytes(STRETCH_BYTES))

_of_this_thread = threading.local()


def _gzip(data: memoryview) -> bytes:
    from isal import isal_zlib

    # 31: a gzip header. ISA-L writes one without name and time (RFC 1952: 0 is "no time").
    packed: bytes = isal_zlib.compress(data, GZIP_LEVEL, wbits=31)
    return packed


def _zstd(data: memoryview) -> bytes:
    import zstandard

    # A context has some MiB of tables, and belongs to one thread at a time.
    context: zstandard.ZstdCompressor | None = getattr(_of_this_thread, "zstd", None)
    if context is None:
        context = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        _of_this_thread.zstd = context
    return context.compress(data)


CONTAINERS: Final[Mapping[str, Compress | None]] = {"none": None, "gzip": _gzip, "zstd": _zstd}
"""What a raw image can be put into, and what makes one stretch of it."""


@dataclass(frozen=True, slots=True)
class RawContents:
    """What a raw image holds."""

    size_bytes: int
    sha256: str
    block_map: BlockMap
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A container that was written: its own size and digests, and those of the image in it.

    There is an MD5 of both where it was asked for.
    """

    raw: RawContents
    size_bytes: int
    sha256: str
    md5: str | None = None


def describe(
    image: Path, *, on_bytes: OnBytes | None = None, with_md5: bool = False
) -> RawContents:
    """The digests and the block map of a raw image, in one pass over its mapped stretches."""
    return _stream(image, None, lambda _: None, on_bytes=on_bytes, with_md5=with_md5)


def pack(
    image: Path,
    target: Path,
    container: str,
    *,
    on_bytes: OnBytes | None = None,
    threads: int | None = None,
    with_md5: bool = False,
) -> Packed:
    """Write a raw image into a container ("gzip", "zstd") under a new name, fsynced.

    Uses all cores, or `threads`; memory is bounded by some 40 MiB for each. A failed target is
    removed, also when `on_bytes` raises to give up. Raises FileExistsError, NoSpaceError.
    """
    compress = CONTAINERS.get(container)
    if compress is None:
        raise GoldsmithError(f"{container!r} is not a compressed container",
                             hint="choose gzip or zstd")  # fmt: skip
    with full_file_system_named(target):
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with open(fd, "wb", buffering=0) as writing:
                written = HashedWriting(fd, ("sha256", "md5") if with_md5 else ("sha256",))
                raw = _stream(image, compress, written.write, on_bytes=on_bytes, threads=threads,
                              with_md5=with_md5)  # fmt: skip
                os.fsync(fd)
                size_bytes = writing.tell()
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    digests = written.digests()
    return Packed(raw, size_bytes, digests["sha256"], digests.get("md5"))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch under way: what becomes of it, how far it reaches, the buffer to use again."""

    made: Future[tuple[Sequence[BlockRange], bytes]]
    end: int
    buffer: bytearray | None


def _stream(
    image: Path,
    compress: Compress | None,
    write: Callable[[bytes], None],
    *,
    on_bytes: OnBytes | None = None,
    threads: int | None = None,
    with_md5: bool = False,
) -> RawContents:
    workers = threads or cores()
    whole = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
    ranges: list[BlockRange] = []
    under_way: deque[_Stretch] = deque()
    free: list[bytearray] = []
    holes: dict[int, Future[tuple[Sequence[BlockRange], bytes]]] = {}

    def finish_oldest() -> None:
        oldest = under_way.popleft()
        found, packed = oldest.made.result()
        ranges.extend(found)
        write(packed)
        if oldest.buffer is not None:
            free.append(oldest.buffer)
        if on_bytes is not None:
            on_bytes(oldest.end, size_bytes)

    with open(image, "rb", buffering=0) as stream, ThreadPoolExecutor(workers) as pool:
        size_bytes = os.fstat(stream.fileno()).st_size
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        for offset, length, used in mapped_stretches(stream.fileno(), size_bytes):
            if used:
                buffer = free.pop() if free else bytearray(STRETCH_BYTES)
                data = memoryview(buffer)[:length]
                read_stretch(stream.fileno(), data, offset, used, image)
                made = pool.submit(_process, data, offset, used, compress)
            else:
                buffer, data = None, _ZEROS[:length]
                if length not in holes:
                    holes[length] = pool.submit(_process, data, offset, used, compress)
                made = holes[length]
            under_way.append(_Stretch(made, offset + length, buffer))
            whole.update(data)
            if md5 is not None:
                md5.update(data)
            if len(under_way) > 2 * workers:
                finish_oldest()
        while under_way:
            finish_oldest()
        if not size_bytes and compress is not None:
            write(compress(_ZEROS[:0]))
    return RawContents(size_bytes, whole.hexdigest(), BlockMap(size_bytes, tuple(ranges)),
                       None if md5 is None else md5.hexdigest())  # fmt: skip


def read_stretch(
    fd: int, data: memoryview, offset: int, used: Sequence[tuple[int, int]], image: Path
) -> None:
    """Fill a buffer with a stretch: its used blocks from the file, zeros in between."""
    done = 0
    for start, end in [*_places(offset, len(data), used), (len(data), len(data))]:
        data[done:start] = _ZEROS[: start - done]
        done = start
        while done < end:
            count = os.preadv(fd, [data[done:end]], offset + done)
            if not count:
                raise GoldsmithError(f"{image} was cut while it was read")
            done += count


def _places(offset: int, length: int, used: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Where the used blocks of a stretch start and end within it."""
    return [
        (first * BLOCK_BYTES - offset, min((first + count) * BLOCK_BYTES - offset, length))
        for first, count in used
    ]


def _process(
    data: memoryview, offset: int, used: Sequence[tuple[int, int]], compress: Compress | None
) -> tuple[Sequence[BlockRange], bytes]:
    """The digests of the used blocks of a stretch, and the stretch compressed."""
    places = _places(offset, len(data), used)
    found = [
        BlockRange(first, count, hashlib.sha256(data[start:end]).hexdigest())
        for (first, count), (start, end) in zip(used, places, strict=True)
    ]
    return found, b"" if compress is None else compress(data)
