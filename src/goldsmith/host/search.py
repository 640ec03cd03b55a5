"""Looks for texts in the files of a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

_READ_BYTES: Final = 1 << 20
_MATCHER_BYTES: Final = 256 << 20
"""The most memory that an automaton may take; it takes what its texts need."""
Pattern = Any
"""A compiled pattern of google-re2, which has no types."""


def find_texts(top: Path, texts: Collection[str]) -> str | None:
    """The path, relative to `top`, of a file or link that holds one of the texts; None for none.

    The names of files are searched too. Nothing is followed, and no device or FIFO is opened.
    """
    wanted = sorted({os.fsencode(text) for text in texts if text}, key=len, reverse=True)
    if not wanted:
        return None
    pattern = _any_of(wanted)
    overlap = len(wanted[0]) - 1
    stack = [os.fsencode(top)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if _holds(entry, pattern, overlap):
                    return os.fsdecode(os.path.relpath(entry.path, os.fsencode(top)))
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return None


def _any_of(texts: Collection[bytes]) -> Pattern:
    """What finds any of the texts, in one pass over the bytes however many they are."""
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.max_mem = _MATCHER_BYTES
    pattern: Pattern = re2.compile(b"|".join(map(re2.escape, texts)), options)
    return pattern


def _holds(entry: os.DirEntry[bytes], pattern: Pattern, overlap: int) -> bool:
    if pattern.search(entry.name):
        return True
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return pattern.search(os.readlink(entry.path)) is not None
    if not stat.S_ISREG(status.st_mode):
        return False
    fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        kept = b""
        while piece := os.read(fd, _READ_BYTES):
            if pattern.search(kept + piece):
                return True
            kept = (kept + piece)[-overlap:] if overlap else b""
    finally:
        os.close(fd)
    return False
