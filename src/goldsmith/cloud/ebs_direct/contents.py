"""Which blocks of an image must be right in a snapshot, and what is in them.

A block that nobody writes reads as zeros only where the volume is not encrypted: an encrypted one
of it holds garbage there. And a hole of the file is no proof that nothing relies on its zeros: an
image made on a loop device has holes where it was told to write zeros. So a block is left out only
if it holds nothing but zeros and is free, by the bitmaps of its file system or because it lies
outside of all partitions.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCK_BYTES,
    LARGEST_GIB,
    ZERO_DIGEST,
    DigestIndex,
)
from goldsmith.disk.filesystems.ext4_free import free_ranges
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.parallel import cores
from goldsmith.host.signals import check_interrupted
from goldsmith.host.sparse import data_extents
from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import ImagePartition, read_partitions
from goldsmith.units import GIB, MIB

_EXT: Final = frozenset({"ext2", "ext3", "ext4"})
_SECTOR_BYTES: Final = 512
_GPT: Final = b"EFI PART"
_AT_ONCE: Final = 64
Ranges = list[tuple[int, int]]
"""Stretches of bytes as (start, end), in order and apart."""


def size_gib_of(image: Path) -> int:
    """The size of the volume that an image needs; raises GoldsmithError for none, or too large."""
    size_bytes = image.stat().st_size
    size_gib = -(-size_bytes // GIB)
    if not 1 <= size_gib <= LARGEST_GIB:
        raise GoldsmithError(f"{image} has {size_bytes} bytes: no volume is made of that",
                             hint=f"a volume has 1 to {LARGEST_GIB} GiB")  # fmt: skip
    return size_gib


def read_block(fd: int, number: int) -> bytes:
    """A block of an open image; behind its end there are zeros."""
    data = os.pread(fd, BLOCK_BYTES, number * BLOCK_BYTES)
    while len(data) < BLOCK_BYTES:
        more = os.pread(fd, BLOCK_BYTES - len(data), number * BLOCK_BYTES + len(data))
        if not more:
            return data + bytes(BLOCK_BYTES - len(data))
        data += more
    return data


@dataclass(frozen=True, slots=True)
class Contents:
    """An image as a snapshot sees it: the digests of all blocks that must be right."""

    image: Path
    index: DigestIndex
    free: Ranges
    """What no file system of the image uses, and what lies outside of all partitions."""


def read_contents(image: Path, *, size_gib: int = 0, everything: bool = False) -> Contents:
    """Look at an image, and hash its blocks on all cores; the file is synced first.

    `size_gib` is that of a volume that may be larger. `everything`: no block is left out.
    """
    size_gib = max(size_gib, size_gib_of(image))
    with open(image, "rb") as file:
        fd = file.fileno()
        # What is only in memory yet looks like more data than there is.
        os.fsync(fd)
        data = [(start, start + length) for start, length in data_extents(fd)]
        free: Ranges = [] if everything else provably_free(image)
        used = [(0, size_gib * GIB)] if everything else _complement(free, image.stat().st_size)
        index = DigestIndex(size_gib)
        for number, digest in _hashed(fd, _blocks([*data, *used]), data):
            # Holes that were read look like data.
            if digest != ZERO_DIGEST or not _is_free(free, number, image.stat().st_size):
                index.append(number, digest)
    return Contents(image, index, free)


def refreshed(contents: Contents, changed: DigestIndex) -> Contents:
    """The contents after the free parts of these blocks have become holes."""
    index = DigestIndex(contents.index.size_gib)
    with open(contents.image, "rb") as file:
        for number, digest in contents.index:
            if changed.get(number) is None:
                index.append(number, digest)
            elif not _is_free(contents.free, number, contents.image.stat().st_size):
                data = read_block(file.fileno(), number)
                index.append(number, hashlib.sha256(data).digest())
    return Contents(contents.image, index, contents.free)


def _is_free(free: Ranges, number: int, size_bytes: int) -> bool:
    """Whether a whole block is free, as far as the image reaches."""
    place = bisect_right(free, (number * BLOCK_BYTES, LARGEST_GIB * GIB)) - 1
    return place >= 0 and free[place][1] >= min((number + 1) * BLOCK_BYTES, size_bytes)


def provably_free(image: Path) -> Ranges:
    """The stretches of a raw image whose content nobody reads, as far as that can be proved."""
    size_bytes = image.stat().st_size
    try:
        partitions = read_partitions(image, image)
    except PackageError:
        # Nothing that is known: all of it may be used.
        return []
    used: Ranges = []
    free: Ranges = []
    with open(image, "rb") as file:
        for part in partitions:
            used.append((part.offset_bytes, part.offset_bytes + part.size_bytes))
            free += _free_of(file.fileno(), part)
        tables = list(_tables(file.fileno(), size_bytes))
    # What lies in two partitions is nobody's to give away.
    outside = _complement(_united(used), size_bytes)
    never = [*tables, *_overlaps(used)]
    return _intersected(_united([*outside, *free]), _complement(_united(never), size_bytes))


def _tables(fd: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Where partition tables are: at both ends, and where a GPT says that its copy is.

    That is in the middle of a volume that has grown.
    """
    yield 0, MIB
    yield max(size_bytes - MIB, 0), size_bytes
    header = os.pread(fd, 40, _SECTOR_BYTES)
    if header.startswith(_GPT):
        end = (int.from_bytes(header[32:], "little") + 1) * _SECTOR_BYTES
        yield max(end - MIB, 0), min(end, size_bytes)


def _free_of(fd: int, part: ImagePartition) -> Ranges:
    if part.filesystem not in _EXT:
        return []
    found = free_ranges(fd, part.offset_bytes, part.size_bytes)
    return [(start, start + length) for start, length in found or ()]


def _united(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found: Ranges = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found


def _overlaps(ranges: Ranges) -> Ranges:
    found: Ranges = []
    highest = 0
    for start, end in sorted(ranges):
        if start < highest:
            found.append((start, min(end, highest)))
        highest = max(highest, end)
    return _united(found)


def _complement(ranges: Ranges, size_bytes: int) -> Ranges:
    found: Ranges = []
    at = 0
    for start, end in ranges:
        if start > at:
            found.append((at, start))
        at = max(at, end)
    if at < size_bytes:
        found.append((at, size_bytes))
    return found


def _intersected(one: Ranges, other: Ranges) -> Ranges:
    found: Ranges = []
    a = b = 0
    while a < len(one) and b < len(other):
        start, end = max(one[a][0], other[b][0]), min(one[a][1], other[b][1])
        if start < end:
            found.append((start, end))
        if one[a][1] < other[b][1]:
            a += 1
        else:
            b += 1
    return found


def _blocks(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """The numbers of the blocks that stretches touch, in order and each once."""
    following = 0
    for start, end in _united(ranges):
        for number in range(max(start // BLOCK_BYTES, following), -(-end // BLOCK_BYTES)):
            yield number
            following = number + 1


def _hashed(fd: int, numbers: Iterator[int], data: Ranges) -> Iterator[tuple[int, bytes]]:
    """The digests of blocks in their order; those that are holes altogether are not read."""
    with_data = _blocks(data)
    next_data = next(with_data, None)

    def digest(given: tuple[int, bool]) -> tuple[int, bytes]:
        number, has_data = given
        if not has_data:
            return number, ZERO_DIGEST
        return number, hashlib.sha256(read_block(fd, number)).digest()

    with ThreadPoolExecutor(cores()) as pool:
        while True:
            check_interrupted()
            check_cancelled()
            batch: list[tuple[int, bool]] = []
            for number in numbers:
                while next_data is not None and next_data < number:
                    next_data = next(with_data, None)
                batch.append((number, next_data == number))
                if len(batch) == _AT_ONCE:
                    break
            if not batch:
                return
            yield from pool.map(digest, batch)
