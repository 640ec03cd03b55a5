"""Advisory locks on files: held by an open file description, so they end with their last holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goldsmith.errors import ResourceBusy


def try_lock(path: Path) -> int | None:
    """Lock a file, made if need be; returns its descriptor, or None when another holds it.

    The descriptor may be passed to children: the lock lasts until the last of them has closed it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextmanager
def locked(path: Path, what: str) -> Iterator[int]:
    """Hold a lock for the length of a block; raises ResourceBusy when another process has it."""
    fd = try_lock(path)
    if fd is None:
        raise ResourceBusy(f"{what} is in use by another goldsmith", hint=f"lock file: {path}")
    try:
        yield fd
    finally:
        os.close(fd)
