"""Holds the tree of a layer against the listing that was made when it was published."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.layers.content import (
    Found,
    Measured,
    first_names,
    measure,
    path_text,
    scan,
    status_column,
)
from goldsmith.layers.listing import Entry, Listing

MOST_PROBLEMS: Final = 20
"""A damaged tree is described by so many differences at the most."""

_STATUS_WORDS: Final = ("type", "mode", "owner", "group", "size", "mtime", "device")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of a tree since its listing was made."""

    problems: tuple[str, ...]
    refreshed: Listing | None = None
    """The listing to keep from now on, where only change times or inodes differ."""


def compare(top: Path, listing: Listing, *, full: bool = False) -> Comparison:
    """Hold a tree against its listing: names and metadata always, contents where they are in doubt.

    In doubt is every file with another change time or inode than the listing has; with `full` all.
    """
    found = scan(top)
    firsts = first_names(found)
    known = {entry.path: entry for entry in listing.entries}
    problems = [
        f"{path_text(one.path)} is not of this layer" for one in found if one.path not in known
    ]
    problems += [_missing(entry) for entry in _without(listing.entries, found)]
    doubtful = []
    for one in found:
        entry = known.get(one.path)
        if entry is None:
            continue
        if (status := status_column(one.status)) != entry.status:
            problems.append(_status_differs(entry, status))
        elif firsts.get(one.path, b"") != entry.first:
            problems.append(f"{entry.name}: its hard links differ")
        elif full or _touched(one.status, entry):
            doubtful.append(one)
    if not problems and doubtful:
        measured = measure(top, doubtful, {})
        problems = list(_measures_differ(doubtful, measured, known))
    if problems:
        return Comparison(tuple(problems[:MOST_PROBLEMS]))
    touched = any(_touched(one.status, known[one.path]) for one in doubtful)
    return Comparison((), _refreshed(found, known) if touched else None)


def _missing(entry: Entry) -> str:
    return f"{entry.name} is missing"


def _without(entries: Sequence[Entry], found: Sequence[Found]) -> list[Entry]:
    present = {one.path for one in found}
    return [entry for entry in entries if entry.path not in present]


def _touched(status: os.stat_result, entry: Entry) -> bool:
    return status.st_ctime_ns != entry.ctime_ns or status.st_ino != entry.inode


def _refreshed(found: Sequence[Found], known: dict[bytes, Entry]) -> Listing:
    return Listing(
        tuple(
            known[path]._replace(ctime_ns=status.st_ctime_ns, inode=status.st_ino)
            for path, status in found
        )
    )


def _status_differs(entry: Entry, now: bytes) -> str:
    before = entry.status.decode().split(" ")
    words = [
        f"{word} {old} became {new}"
        for word, old, new in zip(_STATUS_WORDS, before, now.decode().split(" "), strict=True)
        if old != new
    ]
    return f"{entry.name}: {', '.join(words)}"


def _measures_differ(
    found: Sequence[Found], measured: Mapping[bytes, Measured], known: Mapping[bytes, Entry]
) -> Iterator[str]:
    for path, _ in found:
        entry, now = known[path], measured[path]
        if now.content != entry.content:
            yield f"{entry.name}: its content differs"
        elif now.xattrs != entry.xattrs:
            yield f"{entry.name}: its extended attributes differ"
