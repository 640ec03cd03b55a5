"""Tar and zip archives of files, written as streams: what is in them follows from the files alone.

Owners are left out and times are not after SOURCE_DATE_EPOCH, so that equal files make equal
archives on every host.
"""

from __future__ import annotations

import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from goldsmith.errors import GoldsmithError

CHUNK_BYTES: Final = 1 << 20
_ZIP_FIRST: Final = (1980, 1, 1, 0, 0, 0)
_ZIP_LAST: Final = (2107, 12, 31, 23, 59, 58)
_ZIP64_BYTES: Final = 1 << 31

OnBytes = Callable[[int], None]
"""Called with the number of bytes of each piece that was read."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file for an archive: what its artifact calls it, and where it lies."""

    name: str
    path: Path

    def pieces(self, on_bytes: OnBytes) -> Iterator[bytes]:
        """Its content."""
        with open(self.path, "rb", buffering=0) as stream:
            while piece := stream.read(CHUNK_BYTES):
                yield piece
                on_bytes(len(piece))


def members(names: Sequence[str], directory: Path) -> list[Member]:
    """The files of an artifact; raises GoldsmithError for one that is not there."""
    found = []
    for name in names:
        path = directory / name
        if not path.is_file():
            raise GoldsmithError(f"cannot compress {name}: there is no such file")
        found.append(Member(name, path))
    return found


def write_tar(files: Sequence[Member], write: Callable[[bytes], object], on_bytes: OnBytes) -> None:
    """Write a tar archive (POSIX.1-2001) of files under their base names."""
    taken: set[str] = set()
    for member in files:
        name = member.path.name
        if name in taken:
            raise GoldsmithError(
                f"two files of the artifact are called {name}, and a tar archive has base names",
                hint="write a .zip, which keeps the directories",
            )
        taken.add(name)
        status = member.path.stat()
        info = tarfile.TarInfo(name)
        info.size, info.mode = status.st_size, stat.S_IMODE(status.st_mode)
        info.mtime = _time_s(status)
        write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        size_bytes = 0
        for piece in member.pieces(on_bytes):
            size_bytes += len(piece)
            write(piece)
        if size_bytes != status.st_size:
            raise GoldsmithError(f"{member.name} changed while it was read")
        write(bytes(-size_bytes % tarfile.BLOCKSIZE))
    write(bytes(2 * tarfile.BLOCKSIZE))


def write_zip(
    files: Sequence[Member], target: BinaryIO, level: int | None, on_bytes: OnBytes
) -> None:
    """Write a zip archive of files under their relative paths."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as box:
        for member in files:
            status = member.path.stat()
            moment = time.gmtime(_time_s(status))[:6]
            info = zipfile.ZipInfo(_zip_name(member), min(max(moment, _ZIP_FIRST), _ZIP_LAST))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (status.st_mode & 0xFFFF) << 16
            info.file_size = status.st_size
            with box.open(info, "w", force_zip64=status.st_size >= _ZIP64_BYTES) as entry:
                for piece in member.pieces(on_bytes):
                    entry.write(piece)


def _zip_name(member: Member) -> str:
    """The relative path; the base name of what lies outside of the directory."""
    name = os.path.normpath(member.name)
    outside = os.path.isabs(name) or name.startswith("..")
    return os.path.basename(name) if outside else name


def _time_s(status: os.stat_result) -> int:
    limit = os.environ.get("SOURCE_DATE_EPOCH", "")
    time_s = int(status.st_mtime)
    return min(time_s, int(limit)) if limit.isdecimal() else time_s
