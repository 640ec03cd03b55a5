"""What lsattr shows of a file: flags that file systems of Linux keep beside its mode."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

_FS_IOC_GETFLAGS: Final = 0x8008_6601
_FS_IMMUTABLE: Final = 0x10
# linux/fs.h: the request says long, the kernel writes an int.
_ROOM: Final = bytes(8)


def is_immutable(path: Path) -> bool:
    """Whether a plain file was made immutable (`chattr +i`); links are not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags: int = struct.unpack_from("i", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, _ROOM))[0]
    except OSError:
        return False  # this file system has no such flags
    finally:
        os.close(fd)
    return bool(flags & _FS_IMMUTABLE)
