"""Whether what was laid of a package is still as dpkg would have laid it, after its script."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from goldsmith.host.confined import confined, read_confined
from goldsmith.packages.unpacked.dpkg_state import DATABASE
from goldsmith.packages.unpacked.laying import NEW_CONFFILE
from goldsmith.packages.unpacked.tree_plan import MERGED, merged
from goldsmith.packages.unpacked.unpacking import MOVED


def missing_paths(
    tree: Path,
    package: Mapping[str, Any],
    since_s: float = math.inf,
    folders: dict[str, str] | None = None,
) -> Iterator[str]:
    """The paths of a laid package that are not there any more, or were written since then.

    `folders` has what was found out about directories a moment ago, and gets more of it. Paths are
    texts here: there are ten thousand.
    """
    conffiles = set(package["conffiles"])
    listed = f"/{DATABASE}/info/{package['info']}.list"
    text = read_confined(tree, listed)
    if text is None:
        yield listed
        return
    folders = {} if folders is None else folders
    # A name may hold what Python, but not dpkg, takes for the end of a line.
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        place = merged(line.strip("/"))
        if place in ("", ".", *MERGED):
            continue
        name = MOVED.get(place, place)
        if line in conffiles:
            name += NEW_CONFFILE
        folder, _, last = name.rpartition("/")
        if not _is_there(f"{_folder(tree, folder, folders)}/{last}", since_s):
            yield line


def _folder(tree: Path, folder: str, known: dict[str, str]) -> str:
    """Where a directory of the tree is on this host; "" is the tree itself."""
    if folder not in known:
        above, _, last = folder.rpartition("/")
        place = f"{_folder(tree, above, known)}/{last}" if folder else os.fspath(tree)
        if folder and (last == ".." or not _is_folder(place)):
            # A script may have made a link of it, or another list; neither leads to this host.
            place = os.fspath(confined(tree, folder, follow_last=True))
        known[folder] = place
    return known[folder]


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a NUL
        return False


def _is_there(path: str, since_s: float) -> bool:
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    if not stat.S_ISDIR(status.st_mode) and status.st_mtime >= since_s:
        return False
    # An overlay shows no whiteouts, but a file of that kind is none of a package's.
    return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
