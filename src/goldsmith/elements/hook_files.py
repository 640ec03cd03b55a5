"""What files of elements name: every word that could be a variable of the environment."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

MOST_READ_BYTES: Final = 4 << 20
"""Larger files of elements are data in which names of variables stand by chance only."""
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")


def words_of(files: tuple[Path, ...]) -> frozenset[str]:
    """Every word in these files; large ones are not read."""
    return frozenset().union(*(_words_in(*_state(file)) for file in files))


def _state(file: Path) -> tuple[Path, int]:
    """A file with the time of its last change, -1 for one that is not to be read."""
    if not file.is_file():
        return file, -1
    status = file.stat()
    return file, status.st_mtime_ns if status.st_size <= MOST_READ_BYTES else -1


@functools.lru_cache(maxsize=4096)
def _words_in(file: Path, changed_ns: int) -> frozenset[str]:
    found = _WORD.findall(file.read_bytes()) if changed_ns >= 0 else ()
    return frozenset(word.decode() for word in found)
