"""Looks for texts in the files of a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

_READ_BYTES: Final = 1 << 20
_MATCHER_BYTES: Final = 256 << 20
"""The most memory that an automaton may take; it takes what its texts need."""
_HEAD_BYTES: Final = 32
"""So much of a text is looked for; where it stands, the whole is."""
Pattern = Any
"""A compiled pattern of google-re2, which has no types."""


def find_texts(top: Path, texts: Collection[str]) -> str | None:
    """The path, relative to `top`, of a file or link that holds one of the texts; None for none.

    The names of files are searched too. Nothing is followed, and no device or FIFO is opened.
    """
    wanted = sorted({os.fsencode(text) for text in texts if text}, key=len, reverse=True)
    if not wanted:
        return None
    sought = _Sought(wanted)
    stack = [os.fsencode(top)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if _holds(entry, sought):
                    return os.fsdecode(os.path.relpath(entry.path, os.fsencode(top)))
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return None


class _Sought:
    """Texts, the longest first, that are found in one pass over the bytes however many they are."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = texts
        self._heads = _any_of(sorted({text[:_HEAD_BYTES] for text in texts}))
        self.overlap = len(texts[0]) - 1

    def stands_in(self, data: bytes) -> bool:
        """Whether any of them does."""
        return self._heads.search(data) is not None and any(text in data for text in self._texts)


def _any_of(texts: Collection[bytes]) -> Pattern:
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.max_mem = _MATCHER_BYTES
    # Where the memory does not do, it searches in a slower way, and says so to nobody.
    options.log_errors = False
    pattern: Pattern = re2.compile(b"|".join(map(re2.escape, texts)), options)
    return pattern


def _holds(entry: os.DirEntry[bytes], sought: _Sought) -> bool:
    if sought.stands_in(entry.name):
        return True
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return sought.stands_in(os.readlink(entry.path))
    if not stat.S_ISREG(status.st_mode):
        return False
    fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        kept = b""
        while piece := os.read(fd, _READ_BYTES):
            if sought.stands_in(kept + piece):
                return True
            kept = (kept + piece)[-sought.overlap :] if sought.overlap else b""
    finally:
        os.close(fd)
    return False
