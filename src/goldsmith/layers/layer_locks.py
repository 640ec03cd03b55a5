"""Locks of the store: on a layer while somebody uses it, on a key while its result is made.

A lock is held by an open descriptor, so it ends with its process however that ends. Lock files are
removed by whoever has locked them; so a lock counts only when its file still has its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.cancellation import check_cancelled, pause
from goldsmith.host.locks import try_lock
from goldsmith.host.sparse import full_file_system_named

OnWait = Callable[[float], None]
"""Called at each look at a lock that somebody else holds, with the seconds waited so far."""

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.25


def lock_alone(path: Path, *, make: bool = True) -> int | None:
    """Lock a file that nobody else has locked, by its name; returns its descriptor, else None.

    Without `make` None is also the answer when there is no such file.
    """
    while True:
        try:
            with full_file_system_named(path):
                fd = try_lock(path, make=make)
        except FileNotFoundError:
            if make:
                raise
            return None
        if fd is None or _has_name(fd, path):
            return fd
        os.close(fd)


def lock_shared(path: Path) -> int | None:
    """Lock a file together with others; None when it is not there any more.

    Waits for one who has it alone: that is a matter of moments (see `StoreDirectory.registry`).
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if _has_name(fd, path):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def share(fd: int) -> None:
    """Let others lock a file too that this descriptor has locked alone.

    flock(2) gives the lock back first, so whoever removes layers must be kept out meanwhile.
    """
    fcntl.flock(fd, fcntl.LOCK_SH)


@contextmanager
def waited_for(path: Path, on_wait: OnWait | None = None) -> Iterator[None]:
    """Hold a lock alone for the length of a block; waits for it until cancelled or interrupted."""
    started_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while (fd := lock_alone(path)) is None:
        check_cancelled()
        if on_wait is not None:
            on_wait(time.monotonic() - started_s)
        pause(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    try:
        yield
    finally:
        os.close(fd)


def remove_free_locks(directory: Path, keep: str) -> None:
    """Remove the lock files that nobody holds, except one."""
    for path in directory.iterdir():
        if path.name == keep or (fd := lock_alone(path, make=False)) is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(fd)


def _has_name(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False
