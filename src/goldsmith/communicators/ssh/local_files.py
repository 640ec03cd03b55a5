"""What of this host's files goes to a machine: directories walked with their links followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from goldsmith.errors import GoldsmithError, explain_os_error


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory below another one; `leaves` says that the directory ends here."""

    path: Path
    relative: str
    mode: int
    is_directory: bool
    leaves: bool = False


def walk(top: Path) -> Iterator[Entry]:
    """Everything below a directory, sorted, each directory before and after its content.

    Links are followed, as Packer follows them. Raises GoldsmithError for what is neither a file nor
    a directory, and for directories that contain themselves.
    """
    try:
        yield from _below(top, "", [_identity(os.stat(top))])
    except OSError as e:
        raise explain_os_error(e) from e


def _below(directory: Path, relative: str, above: list[tuple[int, int]]) -> Iterator[Entry]:
    for name in sorted(os.listdir(directory)):
        path = directory / name
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        below = f"{relative}/{name}" if relative else name
        if stat.S_ISREG(status.st_mode):
            yield Entry(path, below, mode, False)
        elif stat.S_ISDIR(status.st_mode):
            identity = _identity(status)
            if identity in above:
                raise GoldsmithError(f"{path} leads to a directory that it lies in")
            yield Entry(path, below, mode, True)
            yield from _below(path, below, [*above, identity])
            yield Entry(path, below, mode, True, leaves=True)
        else:
            raise GoldsmithError(f"{path} is neither a file nor a directory")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def checked_name(name: str, source: str) -> str:
    """A name that a machine sent; raises GoldsmithError where it leads out of its directory."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise GoldsmithError(f"the machine sent {name!r} as the name of a file in {source}")
    return name


def open_to_write(path: Path) -> int:
    """A descriptor of a new or emptied file; a link at the end of the path is replaced."""
    if path.is_symlink():
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def made_directory(path: Path) -> Path:
    """The directory, made if need be; a link that stands there is replaced by it."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(exist_ok=True)
    return path
