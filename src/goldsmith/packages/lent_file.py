"""A file of a tree that has another content while the initramfs is made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.process import write_program

_ASIDE: Final = ".goldsmith"


@contextmanager
def lent_file(place: Path, content: bytes) -> Iterator[None]:
    """Have this content in a file for the length of a block, with its mode; a new one is a program.

    Afterwards the file itself is back, or none, and its directory has its time.
    """
    directory = place.parent.stat()
    aside = place.with_name(place.name + _ASIDE)
    is_there = os.path.lexists(place)
    mode = stat.S_IMODE(place.lstat().st_mode) if is_there else 0o755
    if is_there:
        os.rename(place, aside)
    try:
        write_program(place, content, mode)
        yield
    finally:
        if is_there:
            os.rename(aside, place)
        else:
            place.unlink(missing_ok=True)
        os.utime(place.parent, ns=(directory.st_atime_ns, directory.st_mtime_ns))
