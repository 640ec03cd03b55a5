"""Which scripts of a phase run, and in which order: the rules of `dib-run-parts`.

Source: `specs/diskimage-builder.md`, A4; each rule was seen in the real program.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements.catalog import ElementError

DEFAULT_NAMES: Final = r"^[0-9A-Za-z_-]+$"
"""RUN_PARTS_REGEX unless the environment has another: no dots, so no `foo.sh` and no `10-c~`."""
_CLASSES: Final = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z",
    "xdigit": "0-9A-Fa-f", "space": r"\s", "blank": r" \t", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip
"""The classes of characters that Python's expressions do not have."""
_SNIPPETS = re.compile(r"[0-9A-Za-z_.-]+")
_EXECUTE_BITS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_NUMBER = re.compile(r"\s*(-?[0-9]*\.?[0-9]*)")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a directory holds: the scripts in order, and what is left out, with the reason."""

    scripts: tuple[str, ...]
    not_executable: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()


def scripts_of(directory: Path, names: str = DEFAULT_NAMES) -> Parts:
    """Sort the files of a phase; one that is missing is a phase without scripts.

    `names` is an extended regular expression that the name has a match of. Links to files count,
    broken ones and directories do not.
    """
    wanted = _expression(names)
    scripts, not_executable, other_names = [], [], []
    for entry in (
        sorted(os.scandir(directory), key=lambda one: one.name) if directory.is_dir() else ()
    ):
        if not _is_file(entry):
            continue
        if not entry.stat().st_mode & _EXECUTE_BITS:
            not_executable.append(entry.name)
        elif wanted.search(entry.name) is None:
            other_names.append(entry.name)
        else:
            scripts.append(entry.name)
    return Parts(in_order(scripts), tuple(not_executable), tuple(other_names))


def _expression(text: str) -> re.Pattern[str]:
    """What `grep -E` would look for, with the letters of LC_ALL=C. Raises ElementError."""
    for name, members in _CLASSES.items():
        text = text.replace(f"[:{name}:]", members)
    try:
        return re.compile(text, re.ASCII)
    except re.error as e:
        raise ElementError(f"RUN_PARTS_REGEX={text} is no regular expression: {e}") from e


def snippets_of(directory: Path) -> tuple[str, ...]:
    """The files of `environment.d` that are sourced, in order; names may have dots.

    They need not be executable. The order is that of their bytes: upstream sorts whole paths by
    the number at their start, and a path has none (`10-a` comes before `2-b`; seen in 3.43.0).
    """
    return snippets_in_order(entry.name for entry in _files_in(directory))


def snippets_in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are sourced, as `snippets_of` has them."""
    return tuple(sorted((name for name in names if _SNIPPETS.fullmatch(name)), key=os.fsencode))


def _files_in(directory: Path) -> list[os.DirEntry[str]]:
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        return sorted(filter(_is_file, entries), key=lambda one: one.name)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a link that leads to itself


def in_order(names: list[str]) -> tuple[str, ...]:
    """As `LC_ALL=C sort -n`: by the number at the start, none is 0; then by the bytes of all."""
    return tuple(sorted(names, key=lambda name: (_number(name), os.fsencode(name))))


def _number(name: str) -> float:
    match = _NUMBER.match(name)
    digits = match.group(1) if match else ""
    try:
        return float(digits)
    except ValueError:
        return 0.0
