"""The list of everything in a layer's tree, as it is kept beside the tree.

One line an entry, in the bytewise order of paths. The columns up to the content make the digest of
the layer; the two last ones (change time, inode) only tell whether a file was touched since: a
copy of the store changes them, and they are written anew after the contents were read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_HEADER: Final = b"goldsmith listing 1\n"
_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n"}
_MEANINGS: Final = {escaped: plain for plain, escaped in _ESCAPES.items()}
_SPECIAL: Final = re.compile(rb"[\\\t\n]")
_ESCAPED: Final = re.compile(rb"\\[\\tn]")


class ListingError(ValueError):
    """The bytes are no listing, or not a whole one."""


class Entry(NamedTuple):
    """One name of a tree; names of one file have a line each."""

    path: bytes
    """Relative to the tree; b"." is its root."""
    status: bytes
    """Type (one letter, "w" for a whiteout), octal mode, uid, gid, size, mtime in ns, device."""
    first: bytes
    """The first path, in order, of a file that has several; else empty."""
    xattrs: bytes
    """Digest of the extended attributes; "-" without any."""
    content: bytes
    """SHA-256 of a file's bytes in hexadecimal, the text of a link; else "-"."""
    ctime_ns: int
    inode: int

    @property
    def lasting(self) -> bytes:
        """The columns that make the layer's digest, as they stand in the listing."""
        return b"\t".join(
            (_escaped(self.path), self.status, _escaped(self.first), self.xattrs,
             _escaped(self.content))
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The path for people."""
        return self.path.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Listing:
    """Every entry of a tree, in the bytewise order of paths."""

    entries: tuple[Entry, ...]

    @property
    def content(self) -> str:
        """The digest of all that a layer promises to keep."""
        digest = hashlib.sha256(_HEADER)
        for entry in self.entries:
            digest.update(entry.lasting + b"\n")
        return digest.hexdigest()

    def encoded(self) -> bytes:
        """The bytes of the listing's file."""
        lines = (b"%s\t%d\t%d\n" % (e.lasting, e.ctime_ns, e.inode) for e in self.entries)
        return _HEADER + b"".join(lines)

    @classmethod
    def decoded(cls, data: bytes) -> Listing:
        """Read `encoded`'s bytes; raises ListingError for anything else."""
        if not data.startswith(_HEADER) or not data.endswith(b"\n"):
            raise ListingError("it does not begin, or end, as a listing does")
        return cls(tuple(_decoded_lines(data)))


def _decoded_lines(data: bytes) -> Iterator[Entry]:
    for line in data[len(_HEADER) :].split(b"\n")[:-1]:
        try:
            path, status, first, xattrs, content, ctime_ns, inode = line.split(b"\t")
            yield Entry(
                _plain(path), status, _plain(first), xattrs, _plain(content),
                int(ctime_ns), int(inode),
            )  # fmt: skip
        except ValueError as e:
            raise ListingError(f"a line of it cannot be read: {line[:100]!r}") from e


def _escaped(text: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: _ESCAPES[found.group()], text)


def _plain(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: _MEANINGS[found.group()], text)
