"""Digests of the files that a user hands to a step: modes and contents, by their paths."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError

MOST_SINGLE_FILES: Final = 2000
"""Above so many entries the table has one digest for each directory, not for each file."""

_READERS: Final = 4
# Handing a small file to a thread takes longer than reading it; large ones are read side by side.
_BATCH_FILES: Final = 256
_BATCH_BYTES: Final = 16 << 20
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    relative: str
    path: str
    status: os.stat_result


def tree_digests(top: Path) -> dict[str, str]:
    """Mode and content of a file, or of everything below a directory, by path relative to it.

    "." is the top itself. A link below it is its text, times and owners do not count. With more
    than `MOST_SINGLE_FILES` entries what lies in one directory has one digest, under the
    directory's path with a slash at its end. Raises OSError, and GoldsmithError for what is
    neither a file, a directory nor a link: opening a FIFO would wait for ever.
    """
    top = Path(os.path.realpath(top))
    entries = list(_entries(top))
    with ThreadPoolExecutor(_READERS) as readers:
        found = itertools.chain.from_iterable(readers.map(_digests, _batches(entries)))
        digests = {entry.relative: digest for entry, digest in zip(entries, found, strict=True)}
    return digests if len(digests) <= MOST_SINGLE_FILES else _by_directory(digests)


def _entries(top: Path) -> Iterator[_Entry]:
    """The top and everything below it, in order of names within each directory."""
    status = os.stat(top)
    yield _Entry(".", str(top), status)
    stack = [("", str(top))] if stat.S_ISDIR(status.st_mode) else []
    while stack:
        prefix, directory = stack.pop()
        with os.scandir(directory) as found:
            for entry in sorted(found, key=lambda one: one.name):
                status = entry.stat(follow_symlinks=False)
                relative = prefix + entry.name
                yield _Entry(relative, entry.path, status)
                if stat.S_ISDIR(status.st_mode):
                    stack.append((f"{relative}/", entry.path))


def _batches(entries: Sequence[_Entry]) -> Iterator[Sequence[_Entry]]:
    start, size_bytes = 0, 0
    for number, entry in enumerate(entries, 1):
        size_bytes += entry.status.st_size
        if number - start >= _BATCH_FILES or size_bytes >= _BATCH_BYTES:
            yield entries[start:number]
            start, size_bytes = number, 0
    yield entries[start:]


def _digests(entries: Sequence[_Entry]) -> list[str]:
    return [_digest(entry) for entry in entries]


def _digest(entry: _Entry) -> str:
    mode = entry.status.st_mode
    if stat.S_ISLNK(mode):
        return f"link:{os.readlink(entry.path)}"
    if stat.S_ISDIR(mode):
        return f"{stat.S_IMODE(mode):o}:directory"
    if not stat.S_ISREG(mode):
        raise GoldsmithError(f"{entry.path} is neither a file, a directory nor a link")
    return f"{stat.S_IMODE(mode):o}:{_content(entry.path)}"


def _content(path: str) -> str:
    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while piece := os.read(fd, _READ_BYTES):
            digest.update(piece)
    finally:
        os.close(fd)
    return digest.hexdigest()


def _by_directory(digests: dict[str, str]) -> dict[str, str]:
    """One digest for what lies directly in each directory."""
    tables: dict[str, list[str]] = {}
    for relative, digest in digests.items():
        directory = "./" if relative == "." else os.path.dirname(relative) + "/"
        tables.setdefault(directory, []).append(f"{os.path.basename(relative)}\0{digest}\0")
    return {
        directory: hashlib.sha256(os.fsencode("".join(sorted(lines)))).hexdigest()
        for directory, lines in tables.items()
    }
