"""The tree's /etc/resolv.conf while hooks run: the host's, with the tree's own kept beside it.

`/etc/resolv.conf.ORIG` is known to elements, which may write what the finished image is to have.
Between the phases the file is empty, so that no result depends on the host's name servers.
Source: `specs/diskimage-builder.md`, A2 and A11.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined

_HOST: Final = Path("/etc/resolv.conf")
_WITHOUT_HOST: Final = b"nameserver 8.8.8.8\n"
_MODE: Final = 0o777


def save(mount: Path) -> None:
    """Put the tree's file aside and an empty one in its place, for `fill`."""
    place = _place(mount)
    place.parent.mkdir(exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.rename(place.with_name("resolv.conf.ORIG"))
    place.touch()
    place.chmod(_MODE)


def fill(mount: Path) -> None:
    """Write the host's content; nothing is changed that hooks have made of the file since."""
    place = _place(mount)
    status = _status(place)
    if status is not None and status.st_size == 0 and stat.S_IMODE(status.st_mode) == _MODE:
        _overwrite(place, host_content())


def empty(mount: Path) -> None:
    """Take the host's content out again, if it is still that."""
    place = _place(mount)
    if _status(place) is not None and place.read_bytes() == host_content():
        # A file that hooks have made immutable is theirs.
        with contextlib.suppress(PermissionError):
            _overwrite(place, b"")


def host_content() -> bytes:
    """What programs in the tree are to resolve names by."""
    try:
        return _HOST.read_bytes()
    except FileNotFoundError:
        return _WITHOUT_HOST


def _place(mount: Path) -> Path:
    return confined(mount, "/etc/resolv.conf")


def _status(place: Path) -> os.stat_result | None:
    """That of a regular file; a link is a hook's own."""
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _overwrite(place: Path, content: bytes) -> None:
    fd = os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
