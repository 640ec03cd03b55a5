"""What tells one tree from another, whatever the second one is made of.

The trees are compared, not the layers between them: so it does not matter how many steps there
were, whether they were flattened, or were copies. Where both are views of one overlay an untouched
file is the same inode with the same time of change, and is not read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import check_cancelled

_READ_BYTES: Final = 1 << 20
OVERLAY: Final = "trusted.overlay."
"""The overlay's own marks on the directory of a layer; seen through the overlay there are none."""

Identity = tuple[int, int]


@dataclass(slots=True)
class Difference:
    """How to make the first tree into the second; all paths are relative to the root.

    `files` holds groups of names of one file each, to be written anew; `directories` those that
    are new or have other attributes, above before below.
    """

    removed: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    files: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the trees are alike."""
        return not (self.removed or self.directories or self.files)


@dataclass(slots=True)
class _Tree:
    """One tree as it was walked."""

    top: Path
    entries: dict[str, os.stat_result] = field(default_factory=dict)
    groups: dict[Identity, list[str]] = field(default_factory=dict)
    """The names of each file that has several."""

    @classmethod
    def walked(cls, top: Path, apart: Collection[str]) -> _Tree:
        tree = cls(top)
        for path, status in _walk(top, apart):
            tree.entries[path] = status
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                tree.groups.setdefault((status.st_dev, status.st_ino), []).append(path)
        return tree

    def names_of(self, path: str) -> list[str]:
        """Every name of the file that has this one."""
        status = self.entries[path]
        return self.groups.get((status.st_dev, status.st_ino), [path])


def compare(before: Path, after: Path, *, apart: Collection[str] = ()) -> Difference:
    """The difference between two trees; what is below the paths in `apart` does not count.

    Raises OSError, and GoldsmithError where `apart` is not a directory any more.
    """
    old, new = _Tree.walked(before, apart), _Tree.walked(after, apart)
    for path in apart:
        if path not in new.entries or not stat.S_ISDIR(new.entries[path].st_mode):
            raise GoldsmithError(
                f"a provisioner removed /{path}, where a file system of the image is mounted",
                hint="remove what is in it, not the directory itself",
            )
    found = Difference()
    for path, status in old.entries.items():
        gone = path not in new.entries
        if gone or _is_directory(status) != _is_directory(new.entries[path]):
            found.removed.append(path)
    found.removed = _topmost(found.removed, old.entries)
    written: set[str] = set()
    for path, status in new.entries.items():
        if _is_directory(status):
            known = old.entries.get(path)
            if path not in apart and (
                known is None or not _is_directory(known) or not _same_attributes(path, old, new)
            ):
                found.directories.append(path)
        elif path not in written:
            names = new.names_of(path)
            written.update(names)
            if not _unchanged(names, old, new):
                found.files.append(tuple(names))
    return found


def _walk(top: Path, apart: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Everything with the root as ".", a directory before what is in it, nothing followed."""
    yield ".", os.lstat(top)
    pending = [""]
    while pending:
        check_cancelled()
        below = pending.pop()
        with os.scandir(os.path.join(top, below)) as entries:
            for entry in entries:
                path = os.path.join(below, entry.name)
                status = entry.stat(follow_symlinks=False)
                yield path, status
                if stat.S_ISDIR(status.st_mode) and path not in apart:
                    pending.append(path)


def _is_directory(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode)


def _topmost(removed: list[str], entries: Mapping[str, os.stat_result]) -> list[str]:
    """Without what goes away with a directory above it."""
    gone = {path for path in removed if _is_directory(entries[path])}
    return [path for path in removed if os.path.dirname(path) not in gone]


def _unchanged(names: list[str], old: _Tree, new: _Tree) -> bool:
    """Whether a file is as it was, under the same names as far as these are there at all."""
    first = names[0]
    if first not in old.entries or _is_directory(old.entries[first]):
        return False
    still = {path for path in old.names_of(first) if path in new.entries}
    return still == set(names) and all(_same(path, old, new) for path in names)


def _same(path: str, old: _Tree, new: _Tree) -> bool:
    one, other = old.entries[path], new.entries[path]
    if (one.st_ino, one.st_ctime_ns, one.st_size) == (
        other.st_ino, other.st_ctime_ns, other.st_size,
    ):  # fmt: skip
        return True
    if one.st_rdev != other.st_rdev or not _same_attributes(path, old, new):
        return False
    if stat.S_ISLNK(one.st_mode):
        return os.readlink(old.top / path) == os.readlink(new.top / path)
    if not stat.S_ISREG(one.st_mode):
        return True
    return one.st_size == other.st_size and _same_bytes(old.top / path, new.top / path)


def _same_attributes(path: str, old: _Tree, new: _Tree) -> bool:
    one, other = old.entries[path], new.entries[path]
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (
        other.st_mode, other.st_uid, other.st_gid, other.st_mtime_ns,
    ) and attributes_of(old.top / path) == attributes_of(new.top / path)  # fmt: skip


def attributes_of(path: Path) -> dict[str, bytes]:
    """The extended attributes of a file that is not followed, without the overlay's own."""
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not name.startswith(OVERLAY)
    }


def _same_bytes(one: Path, other: Path) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            check_cancelled()
            data = first.read(_READ_BYTES)
            if data != second.read(_READ_BYTES):
                return False
            if not data:
                return True
