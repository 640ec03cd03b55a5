"""The digests of a snapshot's blocks: what a later one is compared with, as AWS does not tell them.

In memory it takes one bit a block. As a file it is gzipped lines of JSON: a head, then one line a
block.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import os
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.cloud.ebs_direct.block_set import BlockSet
from goldsmith.errors import GoldsmithError
from goldsmith.host.sparse import full_file_system_named
from goldsmith.units import GIB

BLOCK_BYTES: Final = 512 << 10
BLOCKS_PER_GIB: Final = GIB // BLOCK_BYTES
LARGEST_GIB: Final = 65536
ZERO_DIGEST: Final = hashlib.sha256(bytes(BLOCK_BYTES)).digest()
_DIGEST_BYTES: Final = 32
_READ_BLOCKS: Final = 2048
_READ_BYTES: Final = _READ_BLOCKS * _DIGEST_BYTES
_VERSION: Final = 1
_LONGEST_LINE: Final = 512


class DigestIndexError(GoldsmithError):
    """A file is no index of digests, or a damaged one."""


class DigestIndex:
    """The SHA-256 of each block that a snapshot has, in the order of their numbers.

    Which blocks that are is in memory. The digests lie in a file without a name, in the directory
    for temporary files, each at the place of its block; up to 64 KiB of them were not written yet.
    """

    def __init__(self, size_gib: int) -> None:
        self.size_gib = size_gib
        self.numbers = BlockSet()
        self._last = -1
        self._rest = bytearray()
        """Of the blocks up to the last one, without a gap."""
        self._fd = -1

    def append(self, number: int, digest: bytes) -> None:
        """Add a block behind the last one; raises DigestIndexError for any other order.

        Raises NoSpaceError where the file finds no room, OSError.
        """
        if not 0 <= number < self.size_gib * BLOCKS_PER_GIB or len(digest) != _DIGEST_BYTES:
            raise DigestIndexError(f"block {number} is not one of a volume of {self.size_gib} GiB")
        if number <= self._last:
            raise DigestIndexError(f"block {number} comes after block {self._last}")
        if number != self._last + 1 or len(self._rest) >= _READ_BYTES:
            self._flush()
        self._rest += digest
        self._last = number
        self.numbers.add(number)

    def _flush(self) -> None:
        if not self._rest:
            return
        with full_file_system_named(Path(tempfile.gettempdir())):
            if self._fd < 0:
                # The descriptor lives as long as the index does.
                with tempfile.TemporaryFile(prefix="goldsmith-index-") as file:
                    self._fd = os.dup(file.fileno())
                weakref.finalize(self, os.close, self._fd)
            data, at = memoryview(self._rest), self._rest_start * _DIGEST_BYTES
            while data:
                count = os.pwrite(self._fd, data, at)
                data, at = data[count:], at + count
        self._rest = bytearray()

    @property
    def _rest_start(self) -> int:
        return self._last + 1 - len(self._rest) // _DIGEST_BYTES

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Nothing may be added meanwhile."""
        for start in range(0, self._last + 1, _READ_BLOCKS):
            data = b""
            for number in self.numbers.between(start, start + _READ_BLOCKS):
                data = data or self._read(start, _READ_BLOCKS)
                place = (number - start) * _DIGEST_BYTES
                yield number, data[place : place + _DIGEST_BYTES]

    def get(self, number: int) -> bytes | None:
        """The digest of a block; None for one that the snapshot does not have."""
        return self._read(number, 1) if number in self.numbers else None

    def _read(self, start: int, count: int) -> bytes:
        """The digests of so many blocks; where there are none, anything, or nothing at the end."""
        first, wanted = self._rest_start, count * _DIGEST_BYTES
        written = b""
        if start < first and self._fd >= 0:
            until = min(count, first - start) * _DIGEST_BYTES
            written = os.pread(self._fd, until, start * _DIGEST_BYTES)
        if start + count <= first:
            return written
        gap = max(first - start, 0) * _DIGEST_BYTES
        skipped = max(start - first, 0) * _DIGEST_BYTES
        return written.ljust(gap, b"\0") + bytes(self._rest[skipped : skipped + wanted - gap])

    @property
    def linear(self) -> str:
        """The aggregated checksum of the service: that of all digests in order, in base64."""
        whole = hashlib.sha256()
        for _, digest in self:
            whole.update(digest)
        return base64.b64encode(whole.digest()).decode()


def merged(below: DigestIndex | None, above: DigestIndex) -> DigestIndex:
    """An index of all blocks of both; where both have one, the second's counts."""
    if below is None:
        return above
    found = DigestIndex(above.size_gib)
    rest = iter(below)
    waiting = next(rest, None)
    for number, digest in above:
        while waiting is not None and waiting[0] < number:
            found.append(*waiting)
            waiting = next(rest, None)
        if waiting is not None and waiting[0] == number:
            waiting = next(rest, None)
        found.append(number, digest)
    while waiting is not None:
        found.append(*waiting)
        waiting = next(rest, None)
    return found


@dataclass(frozen=True, slots=True)
class KnownSnapshot:
    """A snapshot of a region, and what is in it."""

    snapshot_id: str
    region: str
    index: DigestIndex


def write_index(known: KnownSnapshot, path: Path) -> None:
    """Write an index to a file that does not count before it is renamed; raises OSError."""
    head = {"ebs_blocks": _VERSION, "snapshot_id": known.snapshot_id, "region": known.region,
            "size_gib": known.index.size_gib, "block_bytes": BLOCK_BYTES,
            "linear": known.index.linear}  # fmt: skip
    with open(path, "xb") as file:
        # No name and no time: the same index is the same file.
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            packed.write(json.dumps(head).encode() + b"\n")
            for number, digest in known.index:
                packed.write(b'[%d,"%s"]\n' % (number, base64.b64encode(digest)))
        file.flush()
        os.fsync(file.fileno())


def read_index(path: Path) -> KnownSnapshot:
    """Read it again; raises DigestIndexError for anything else, OSError."""
    try:
        with gzip.open(path, "rb") as file:
            head = _line(file.readline(_LONGEST_LINE))
            if not isinstance(head, dict) or head.get("ebs_blocks") != _VERSION:
                raise DigestIndexError(f"{path} is no index of blocks")
            size_gib = int(head["size_gib"])
            if head["block_bytes"] != BLOCK_BYTES or not 1 <= size_gib <= LARGEST_GIB:
                raise DigestIndexError(f"{path} is of blocks of another size")
            index = DigestIndex(size_gib)
            while line := file.readline(_LONGEST_LINE):
                number, digest = _line(line)
                index.append(int(number), base64.b64decode(digest, validate=True))
            if index.linear != head["linear"]:
                raise DigestIndexError(f"{path} does not hold the blocks that it was written with")
            return KnownSnapshot(str(head["snapshot_id"]), str(head["region"]), index)
    except (EOFError, gzip.BadGzipFile, zlib.error, binascii.Error, ValueError, KeyError, TypeError,
            OverflowError) as e:  # fmt: skip
        raise DigestIndexError(f"{path} is no index of blocks: {e}") from e


def _line(line: bytes) -> Any:
    return json.loads(line)
