"""Advisory locks on files: held by an open file description, so they end with their last holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def try_lock(path: Path, *, make: bool = True, mode: int = 0o600) -> int | None:
    """Lock a file, made if need be; returns its descriptor, or None when another holds it.

    Without `make` a file that is not there is a FileNotFoundError. The descriptor may be passed to
    children: the lock lasts until the last of them has closed it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), mode)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
