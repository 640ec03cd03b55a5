"""Reads a binary package from memory: its control files, and its files as a stream of members.

The content has been compared with a signed index before it comes here; it is checked all the same:
a member that leads out of the tree, or is of a kind that packages rarely have, is refused, and such
a package takes dpkg's own way. Source: deb(5), ar(5), tar(5).
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, cast

from goldsmith.packages.errors import PackageError

_MAGIC: Final = b"!<arch>\n"
_HEADER_BYTES: Final = 60
_CONTROL_LIMIT_BYTES: Final = 16 << 20
_WHOLE_LIMIT_BYTES: Final = 256 << 20
"""A larger archive is read as a stream."""
_DAMAGE: Final = (
    tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError,
)  # fmt: skip
_SYMLINK, _HARD_LINK, _DIRECTORY, _FILE = "l", "h", "d", "f"
_MOST: Final = (1 << 32) - 2
"""No user, group or time of a package is greater; the kernel takes the next number for "none"."""


class UnusualPackage(PackageError):
    """A package that only dpkg itself should unpack."""


@dataclass(frozen=True, slots=True)
class Member:
    """One path of a package, relative to the tree; `kind` is one of f, d, l and h (hard link)."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_s: int
    size_bytes: int
    target: str = ""
    sha256: str = ""
    """Of a file's content, once it was unpacked."""


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A file of a package's control archive."""

    mode: int
    mtime_s: int
    content: bytes


@dataclass(frozen=True, slots=True)
class DebFile:
    """The two archives in a package, still compressed."""

    control: tuple[str, bytes]
    data: tuple[str, bytes]

    @classmethod
    def parse(cls, content: bytes) -> DebFile:
        """Find them; raises UnusualPackage for what is no package of format 2."""
        members = dict(_ar_members(content))
        if members.get("debian-binary", b"")[:2] != b"2.":
            raise UnusualPackage("it is no package of format 2")
        control = next(
            (item for item in members.items() if item[0].startswith("control.tar")), None
        )
        data = next((item for item in members.items() if item[0].startswith("data.tar")), None)
        if control is None or data is None:
            raise UnusualPackage("it has no control.tar or no data.tar")
        return cls(control, data)

    def control_files(self) -> dict[str, ControlFile]:
        """The control files by name; always with `control`."""
        found: dict[str, ControlFile] = {}
        left_bytes = _CONTROL_LIMIT_BYTES
        with _tar(self.control) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir() or name in (".", ""):
                    continue
                left_bytes -= member.size
                is_plain = member.isreg() and not {"/", "\n"} & {*name} and name != ".."
                if not is_plain or left_bytes < 0 or not _is_of_kernel(member):
                    raise UnusualPackage(f"its control archive has {member.name!r}")
                file = archive.extractfile(member)
                content = file.read() if file is not None else b""
                found[name] = ControlFile(member.mode & 0o777, int(member.mtime), content)
        if "control" not in found:
            raise UnusualPackage("its control archive has no file control")
        return found

    @contextmanager
    def files(self) -> Iterator[Iterator[tuple[Member, IO[bytes] | None]]]:
        """Every member in order, with the content of plain files; raises UnusualPackage."""
        with _tar(self.data) as archive:
            yield _members(archive)


def _ar_members(content: bytes) -> Iterator[tuple[str, bytes]]:
    if not content.startswith(_MAGIC):
        raise UnusualPackage("it does not begin as an ar archive")
    at = len(_MAGIC)
    while at + _HEADER_BYTES <= len(content):
        header = content[at : at + _HEADER_BYTES]
        digits = header[48:58].strip()
        if header[58:] != b"`\n" or not digits.isdigit():
            raise UnusualPackage("its ar archive is damaged")
        size = int(digits)
        start = at + _HEADER_BYTES
        if start + size > len(content):
            raise UnusualPackage("its ar archive is cut short")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        yield name, content[start : start + size]
        at = start + size + size % 2


@contextmanager
def _tar(member: tuple[str, bytes]) -> Iterator[tarfile.TarFile]:
    name, content = member
    try:
        with _decompressed(name, content) as stream:
            whole = isinstance(stream, io.BytesIO)
            with tarfile.open(fileobj=stream, mode="r:" if whole else "r|", encoding="utf-8",
                              errors="surrogateescape") as archive:  # fmt: skip
                yield archive
    except _errors_of(name) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise  # the kernel's: a full disk says nothing about the package
        raise UnusualPackage(f"{name} cannot be read: {e}") from e


def _errors_of(name: str) -> tuple[type[Exception], ...]:
    """What is raised where an archive is damaged."""
    if not name.endswith(".zst"):
        return _DAMAGE
    import zstandard

    return (*_DAMAGE, zstandard.ZstdError)


def _decompressed(name: str, content: bytes) -> IO[bytes]:
    raw = io.BytesIO(content)
    match name.rpartition(".tar")[2]:
        case "":
            return raw
        case ".xz":
            # In one go, outside of the interpreter's lock, where memory allows.
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
            whole = unpacker.decompress(content, max_length=_WHOLE_LIMIT_BYTES)
            if unpacker.eof and not unpacker.unused_data:
                return io.BytesIO(whole)
            return lzma.open(raw)
        case ".gz":
            import gzip

            return cast(IO[bytes], gzip.open(raw))
        case ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().stream_reader(raw, closefd=False)
        case ending:
            raise UnusualPackage(f"it is compressed by {ending}")


_KINDS: Final = {
    tarfile.REGTYPE: _FILE, tarfile.AREGTYPE: _FILE, tarfile.DIRTYPE: _DIRECTORY,
    tarfile.SYMTYPE: _SYMLINK, tarfile.LNKTYPE: _HARD_LINK,
}  # fmt: skip


def _members(archive: tarfile.TarFile) -> Iterator[tuple[Member, IO[bytes] | None]]:
    for info in archive:
        kind = _KINDS.get(info.type)
        if kind is None or info.pax_headers or info.issparse():
            raise UnusualPackage(f"{info.name} is of a kind that only dpkg unpacks")
        if not _is_of_kernel(info):
            raise UnusualPackage(f"{info.name} has an owner or a time that no file has")
        path = _plain_path(info.name)
        target = info.linkname
        if kind == _HARD_LINK:
            target = _plain_path(target)
        if "\0" in target or "\n" in path:
            raise UnusualPackage(f"{info.name!r} has a character that paths do not have")
        member = Member(
            path, kind, info.mode & 0o7777, info.uid, info.gid, int(info.mtime),
            info.size if kind == _FILE else 0, target if kind in (_SYMLINK, _HARD_LINK) else "",
        )  # fmt: skip
        yield member, archive.extractfile(info) if kind == _FILE else None


def _is_of_kernel(info: tarfile.TarInfo) -> bool:
    """Whether the kernel takes its owner and time as they are."""
    return all(0 <= number <= _MOST for number in (info.uid, info.gid, info.mtime))


def _plain_path(name: str) -> str:
    """A member's name without `./` and slashes at its ends; "" is the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/"):
        raise UnusualPackage(f"{name!r} leads out of the tree")
    return "/".join(parts)
