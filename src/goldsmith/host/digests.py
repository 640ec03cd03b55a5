"""Digests of files and streams: the one list of algorithms, and reading that never fills memory.

For disk images see `sparse.hash_sparse`, which does not read holes.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import check_cancelled

ALGORITHMS: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
"""What a checksum may be made with; md5 and sha1 are there for those who must compare old ones."""

CHUNK_BYTES: Final = 1 << 20
_WRITE_BACK_BYTES: Final = 16 << 20
"""So often the kernel is told to write; else the fsync at the end waits for the whole file."""


class Digest(Protocol):
    """What `hashlib.new` returns."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far, as lower-case hexadecimal digits."""


def new_digest(algorithm: str) -> Digest:
    """An empty digest; raises GoldsmithError for an algorithm that is not in `ALGORITHMS`."""
    if algorithm not in ALGORITHMS:
        near = difflib.get_close_matches(algorithm, ALGORITHMS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(ALGORITHMS)}"
        raise GoldsmithError(f"{algorithm!r} is not a checksum algorithm", hint=hint)
    return hashlib.new(algorithm, usedforsecurity=False)


def stream_digests(stream: BinaryIO, algorithms: Sequence[str]) -> Mapping[str, str]:
    """Read a stream to its end, once; returns algorithm -> hexadecimal digest."""
    digests = {algorithm: new_digest(algorithm) for algorithm in algorithms}
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    readinto = getattr(stream, "readinto", None)
    while True:
        if readinto is not None:
            count = readinto(buffer) or 0
            piece = view[:count]
        else:
            piece = memoryview(stream.read(CHUNK_BYTES))
            count = len(piece)
        check_cancelled()
        if not count:
            return {name: digest.hexdigest() for name, digest in digests.items()}
        for digest in digests.values():
            digest.update(piece)


class HashedWriting:
    """A file that grows: hashed on its way, and on its way to the disk before it is complete."""

    def __init__(self, fd: int, algorithms: Sequence[str] = ("sha256",)) -> None:
        self._digests = {algorithm: new_digest(algorithm) for algorithm in algorithms}
        self._fd = fd
        self._at = 0
        self._told = 0

    def write(self, data: bytes, /) -> None:
        """Write all of the bytes."""
        for digest in self._digests.values():
            digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._at += len(data)
        if self._at - self._told >= _WRITE_BACK_BYTES:
            # Linux begins to write what is dirty and waits for nothing (mm/fadvise.c); only pages
            # that are on the disk already leave the cache.
            os.posix_fadvise(self._fd, self._told, self._at - self._told, os.POSIX_FADV_DONTNEED)
            self._told = self._at

    def digests(self) -> Mapping[str, str]:
        """Of all that was written: algorithm -> hexadecimal digest."""
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's bytes; OSError goes through."""
    with open(path, "rb", buffering=0) as stream:
        return stream_digests(stream, (algorithm,))[algorithm]


def bytes_digest(pieces: Iterable[bytes], algorithm: str = "sha256") -> str:
    """The hexadecimal digest of bytes at hand."""
    digest = new_digest(algorithm)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
