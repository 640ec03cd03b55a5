"""The hooks of all elements in one directory, each file with the element that it comes from.

Source: `specs/diskimage-builder.md`, A6.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements.catalog import Element, ElementError

_NOT_COPIED: Final = frozenset({"tests", "__pycache__"})


@dataclass(frozen=True, slots=True)
class HookFile:
    """A file of the merged directory: where it comes from, and where it goes (relative)."""

    element: str
    source: Path
    place: str


@dataclass(frozen=True, slots=True)
class Hooks:
    """The plan of a merged hooks directory, by place."""

    files: dict[str, HookFile]
    directories: tuple[str, ...] = ()
    """Directories of elements that must exist even if they are empty, relative."""

    def element_of(self, place: str) -> str:
        """The element that a hook comes from, "" for one that a hook wrote."""
        found = self.files.get(place)
        return found.element if found else ""


def merge(elements: Iterable[Element]) -> Hooks:
    """Plan the merged directory. Raises ElementError that names both owners of a duplicate.

    Only what lies in a phase's directory itself must not be in two elements. Of files of an
    element's own directory, and of deeper ones (`static/etc/motd`), the last one stays.
    """
    files: dict[str, HookFile] = {}
    directories: dict[str, None] = {}
    twice: list[str] = []
    for element in elements:
        for place, source in _files_of(element.path):
            if source.is_dir() and not source.is_symlink():
                directories[place] = None
                continue
            other = files.get(place)
            if other is not None and place.count("/") == 1:
                twice.append(f"/{place} ({other.element} and {element.name})")
                continue
            files[place] = HookFile(element.name, source, place)
    if twice:
        raise ElementError(
            f"There is a duplicated hook in your elements: {', '.join(twice)}",
            hint="rename the hook in one of the two elements, or leave one of them out",
        )
    return Hooks(files, tuple(directories))


def _files_of(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file below an element, and every directory before what is in it; links are kept.

    As upstream has it, a phase may be a link to a directory, and hidden files in it are no hooks.
    """
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            if entry.name not in _NOT_COPIED:
                directory = entry.resolve()
                yield entry.name, directory
                yield from (one for one in _below(directory, entry.name)
                            if not one[0].startswith(f"{entry.name}/."))  # fmt: skip
        elif not entry.name.endswith(".pyc") and entry.is_file():
            yield entry.name, entry


def _below(directory: Path, place: str) -> Iterator[tuple[str, Path]]:
    for entry in sorted(directory.iterdir()):
        inner = f"{place}/{entry.name}"
        if entry.name == "__pycache__" or entry.name.endswith(".pyc"):
            continue
        yield inner, entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _below(entry, inner)


def copy(file: HookFile, target: Path) -> None:
    """Copy one file with its mode and times, or a link as a link.

    Raises ElementError for what is neither: a device is never opened.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = stat.S_IFMT(file.source.lstat().st_mode)
    if kind == stat.S_IFLNK:
        target.unlink(missing_ok=True)
        os.symlink(os.readlink(file.source), target)
    elif kind == stat.S_IFREG:
        shutil.copy2(file.source, target, follow_symlinks=False)
    else:
        raise ElementError(f"{file.source} of element {file.element} is neither a file nor a link")
