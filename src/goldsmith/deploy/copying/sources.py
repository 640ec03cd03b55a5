"""Where images are read from: files, HTTP and S3, each from any offset on.

A source is asked for the bytes from an offset to the end. What it answers with says where it
begins, how long the whole is, and which version of the file it is (`tag`): only so can a reader
go on where a broken connection has left it.
"""

from __future__ import annotations

import os
import re
import stat
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USER: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@?#]*@")


class SourceError(GoldsmithError):
    """A source cannot be read; `is_passing` where the same question may succeed later."""

    def __init__(self, message: str, *, is_passing: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_passing = is_passing


class SourceChanged(SourceError):
    """The file is another one than the one whose beginning was read."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An answer: the bytes from `starts_at` on, which may be before the offset asked for.

    `read_into` fills a part of a buffer and returns how much, 0 at the end. `total_bytes` is the
    size of the whole file, or None; `tag` names its version, or is "". `seek` goes to an offset
    where that costs nothing.
    """

    read_into: Callable[[memoryview], int]
    close: Callable[[], object]
    starts_at: int = 0
    total_bytes: int | None = None
    tag: str = ""
    seek: Callable[[int], object] | None = None


class Source(Protocol):
    """One address of a file; `shown` is the address without what is secret in it."""

    @property
    def shown(self) -> str:
        """The address as errors and events have it."""
        ...

    def open(self, at: int, tag: str) -> Opening:
        """Ask for the bytes from an offset on, of the version `tag` unless that is "".

        Raises SourceError.
        """
        ...


def shown_address(uri: str) -> str:
    """An address without user, password and query: signatures and tokens stand there."""
    return re.sub(r"[?#].*", "", _USER.sub(r"\1", uri), flags=re.DOTALL)


def source_of(uri: str, *, stall_s: float, redactor: Redactor) -> Source:
    """The source for a path, or an address of file:, http:, https: or s3:.

    Passwords and signatures in it are redacted from now on. Raises SourceError for others.
    """
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme in ("http", "https"):
        from goldsmith.deploy.copying.http_source import HttpSource

        return HttpSource(uri, stall_s=stall_s, redactor=redactor)
    if scheme == "s3":
        from goldsmith.deploy.copying.s3_source import S3Source

        return S3Source(uri, redactor=redactor)
    if scheme == "file":
        return FileSource(_path_of(uri))
    if match and uri[match.end() :].startswith("//"):
        raise SourceError(
            f"{shown_address(uri)}: {scheme}: is not a kind of address that images are read from",
            hint="give a path, or an address of file:, http:, https: or s3:",
        )
    return FileSource(uri)


def local_path(uri: str) -> str | None:
    """The path of a file of this host, None for what lies elsewhere; raises SourceError."""
    match = _SCHEME.match(uri)
    if match and match[1].lower() == "file":
        return _path_of(uri)
    return None if match and uri[match.end() :].startswith("//") else uri


def _path_of(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise SourceError(f"{uri} names no file of this host", hint="write file:///PATH")
    return urllib.parse.unquote(parts.path)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of this host."""

    path: str

    @property
    def shown(self) -> str:
        """The path."""
        return self.path

    def open(self, at: int, tag: str) -> Opening:
        """Open the file; raises SourceError for what is none, and for another one than before."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as e:
            why = getattr(e, "strerror", None) or e
            raise SourceError(f"{self.path} cannot be read: {why}") from e
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SourceError(f"{self.path} is not a file")
            now = f"{found.st_dev}-{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
            if tag and tag != now:
                raise SourceChanged(f"{self.path} was changed while it was read")
            os.lseek(fd, at, os.SEEK_SET)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(fd)
            raise
        return Opening(
            read_into=lambda view: self._read(fd, view), close=lambda: os.close(fd), starts_at=at,
            total_bytes=found.st_size, tag=now, seek=lambda to: os.lseek(fd, to, os.SEEK_SET),
        )  # fmt: skip

    def _read(self, fd: int, view: memoryview) -> int:
        try:
            return os.readv(fd, [view])
        except OSError as e:
            raise SourceError(f"{self.path} cannot be read: {e.strerror}") from e
