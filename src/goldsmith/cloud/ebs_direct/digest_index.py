"""The digests of a snapshot's blocks: what a later one is compared with, as AWS does not tell them.

36 bytes a block in memory. As a file it is gzipped lines of JSON: a head, then one line a block.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.units import GIB

BLOCK_BYTES: Final = 512 << 10
BLOCKS_PER_GIB: Final = GIB // BLOCK_BYTES
LARGEST_GIB: Final = 65536
ZERO_DIGEST: Final = hashlib.sha256(bytes(BLOCK_BYTES)).digest()
_DIGEST_BYTES: Final = 32
_VERSION: Final = 1
_LONGEST_LINE: Final = 512


class DigestIndexError(GoldsmithError):
    """A file is no index of digests, or a damaged one."""


@dataclass(slots=True)
class DigestIndex:
    """The SHA-256 of each block that a snapshot has, in the order of their numbers."""

    size_gib: int
    numbers: array[int] = field(default_factory=lambda: array("L"))
    _digests: bytearray = field(default_factory=bytearray)

    def append(self, number: int, digest: bytes) -> None:
        """Add a block behind the last one; raises DigestIndexError for any other order."""
        if not 0 <= number < self.size_gib * BLOCKS_PER_GIB or len(digest) != _DIGEST_BYTES:
            raise DigestIndexError(f"block {number} is not one of a volume of {self.size_gib} GiB")
        if self.numbers and number <= self.numbers[-1]:
            raise DigestIndexError(f"block {number} comes after block {self.numbers[-1]}")
        self.numbers.append(number)
        self._digests += digest

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for place, number in enumerate(self.numbers):
            yield number, self._at(place)

    def get(self, number: int) -> bytes | None:
        """The digest of a block; None for one that the snapshot does not have."""
        place = bisect_left(self.numbers, number)
        if place == len(self.numbers) or self.numbers[place] != number:
            return None
        return self._at(place)

    def _at(self, place: int) -> bytes:
        return bytes(self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES])

    @property
    def linear(self) -> str:
        """The aggregated checksum of the service: that of all digests in order, in base64."""
        return base64.b64encode(hashlib.sha256(self._digests).digest()).decode()


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
