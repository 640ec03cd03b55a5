"""What an initramfs holds, and whether all of it came from files that its key speaks of.

A hook may take any file of the tree, or make one out of anything. So each file in an initramfs must
be one of the tree that the key covers, or one that mkinitramfs itself makes; else the result must
not stand for another tree. Source: initramfs-tools(7), mkinitramfs 0.142, Documentation/
driver-api/early-userspace/buffer-format.rst of Linux.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import zstandard

from goldsmith.host.confined import ConfinedPathError, confined
from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs import (
    CPIO_HEADER_BYTES,
    CPIO_MAGICS,
    MAGIC_BYTES,
    compression_of,
)

_READ_BYTES: Final = 1 << 20
_LONGEST_NAME_BYTES: Final = 4096
_TRAILER: Final = "TRAILER!!!"
_MADE: Final = re.compile(
    r"/conf/(arch\.conf|modules)|/scripts/[^/]+/ORDER|/etc/(ld\.so\.cache|fstab)"
    r"|(/usr)?/lib/modules/[^/]+/modules\.[a-z.]+"
)
"""What mkinitramfs makes itself, of what else is there."""
_UNPACKED: Final = (".xz", ".zst")
"""Modules lose these endings in the initramfs."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file or link in an initramfs: its path with a leading slash, and its digest or target."""

    path: str
    size_bytes: int
    sha256: str = ""
    target: str = ""
    at: int = field(default=0, compare=False)
    """Where its header begins, in bytes from the beginning of its part of the initramfs."""


def members(initramfs: Path) -> Iterator[Member]:
    """Every regular file and link of all the archives in an initramfs.

    Raises PackageError for one that cannot be read to its end.
    """
    try:
        with initramfs.open("rb") as file:
            kind = compression_of(file)
            if kind == "none":
                file.seek(0)
                yield from _archives(_Stream(file, None))
                return
            # Its magic bytes have been read.
            start = file.seek(-MAGIC_BYTES, os.SEEK_CUR)
            file.seek(0)
            yield from _archives(_Stream(file, start))
            yield from _archives(_Stream(unpacked(file, kind), None))
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as e:
        raise PackageError(f"{initramfs.name} cannot be read: {e}") from e


def archive_members(file: BinaryIO) -> Iterator[Member]:
    """Those of archives that are not compressed; raises ValueError and EOFError for others."""
    return _archives(_Stream(file, None))


class Readable(Protocol):
    """What an initramfs is read from."""

    def read(self, size: int, /) -> bytes:
        """Less than asked for only at the end, or where more has to be waited for."""
        ...


def unpacked(file: BinaryIO, kind: str) -> Readable:
    """The content of a file from here on; raises ValueError for a compression not known here."""
    if kind == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    if kind in ("xz", "lzma"):
        return lzma.LZMAFile(file)
    if kind == "bzip2":
        return bz2.BZ2File(file)
    raise ValueError(f"it is compressed with {kind}")


@dataclass(slots=True)
class _Stream:
    """Reads exactly, and no further than `end`."""

    file: Readable
    end: int | None
    at: int = 0

    def read(self, size_bytes: int) -> bytes:
        """Raises EOFError where there is less."""
        if self.end is not None:
            size_bytes = min(size_bytes, max(0, self.end - self.at))
        parts = []
        while size_bytes and (data := self.file.read(size_bytes)):
            parts.append(data)
            self.at += len(data)
            size_bytes -= len(data)
        return b"".join(parts)

    def exactly(self, size_bytes: int) -> bytes:
        data = self.read(size_bytes)
        if len(data) != size_bytes:
            raise EOFError("it ends in the middle of an archive")
        return data

    def skip_to_four(self) -> None:
        self.exactly(-self.at % 4)


def _archives(stream: _Stream) -> Iterator[Member]:
    """The members of archives that follow each other, zeros between them."""
    while magic := stream.read(4):
        header_at = stream.at - len(magic)
        if magic.strip(b"\0") == b"":
            continue
        header = magic + stream.exactly(CPIO_HEADER_BYTES - 4)
        if header[:6] not in CPIO_MAGICS:
            raise ValueError("something follows that is no cpio archive of the form newc")
        fields = [int(header[at : at + 8], 16) for at in range(6, CPIO_HEADER_BYTES, 8)]
        mode, size_bytes, name_bytes = fields[1], fields[6], fields[11]
        if name_bytes > _LONGEST_NAME_BYTES:
            raise ValueError("a name in it is too long")
        name = stream.exactly(name_bytes).rstrip(b"\0").decode("utf-8", "surrogateescape")
        stream.skip_to_four()
        path = "/" + name.removeprefix("./").lstrip("/")
        if stat.S_ISLNK(mode):
            target = stream.exactly(min(size_bytes, _LONGEST_NAME_BYTES))
            text = target.decode("utf-8", "surrogateescape")
            yield Member(path, size_bytes, target=text, at=header_at)
        else:
            digest = _digest(stream, size_bytes)
            if stat.S_ISREG(mode) and name != _TRAILER:
                yield Member(path, size_bytes, digest, at=header_at)
        stream.skip_to_four()


def _digest(stream: _Stream, size_bytes: int) -> str:
    digest = hashlib.sha256()
    while size_bytes:
        data = stream.exactly(min(size_bytes, _READ_BYTES))
        digest.update(data)
        size_bytes -= len(data)
    return digest.hexdigest()


def uncovered(tree: Path, initramfs: Path, covered: Mapping[str, int]) -> list[str]:
    """What of an initramfs does not come from these paths of its tree, in the order of names.

    `covered` is as in `InitramfsInputs`. Raises PackageError for one that cannot be read.
    """
    sources = _Sources(tree, covered)
    return sorted({one.path for one in members(initramfs) if not sources.explain(one)})


@dataclass(slots=True)
class _Sources:
    """The files of a tree that a key covers, found by path and by content."""

    tree: Path
    covered: Mapping[str, int]
    _by_size: dict[int, list[str]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, size_bytes in self.covered.items():
            self._by_size.setdefault(size_bytes, []).append(place)

    def explain(self, member: Member) -> bool:
        """Whether a member comes from what is covered, or from mkinitramfs alone."""
        place = self._place(member.path)
        if member.target:
            # Hooks make links of their own; one of the tree must be covered.
            return place is None or place in self.covered or not self._is_link(place, member.target)
        if member.size_bytes == 0 or _MADE.fullmatch(member.path):
            return True
        if place is not None and place not in self.covered and self._digest(place) == member.sha256:
            return False
        if place is not None and any(place + ending in self.covered for ending in _UNPACKED):
            return True
        candidates = self._by_size.get(member.size_bytes, ())
        return any(self._digest(candidate) == member.sha256 for candidate in candidates)

    def _place(self, path: str) -> str | None:
        try:
            folder = confined(self.tree, os.path.dirname(path), follow_last=True)
        except ConfinedPathError:
            return None
        return f"/{(folder / os.path.basename(path)).relative_to(self.tree)}"

    def _is_link(self, place: str, target: str) -> bool:
        try:
            return os.readlink(f"{self.tree}{place}") == target
        except OSError:
            return False

    def _digest(self, place: str) -> str:
        if place not in self._digests:
            self._digests[place] = ""
            # A FIFO would be waited for, a link followed out of the tree.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path = f"{self.tree}{place}"
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as file:
                        self._digests[place] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[place]
