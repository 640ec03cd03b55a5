"""The files of a vfat in an image, taken out and put back by mtools: no driver, no mount.

So provisioners can work on an ESP where no kernel module for it is loaded. What strangers have
written into it is bounded: names that could lead elsewhere are left where they are, and files that
claim to hold more than the file system are an error.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.filesystems.vfat import Mtools, check_names, is_allowed, read_tree
from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.units import format_size

_MOST_ENTRIES: Final = 20_000
_MODE: Final = 0o700
"""As everywhere else an ESP is mounted with umask=0077: what boots the machine is root's alone."""


def take_out(stretch: Stretch, target: Path, *, epoch_s: int) -> list[str]:
    """Copy everything into an empty directory; returns the names that were left out.

    Raises GoldsmithError for a file system that makes no sense, and for a directory that holds
    anything: a link in it would lead what is copied elsewhere.
    """
    if any(target.iterdir()):
        raise GoldsmithError(f"files of a vfat are copied into empty directories only: {target}")
    tools = Mtools(stretch, epoch_s)
    left_out: list[str] = []
    taken_bytes = 0
    directories = {PurePosixPath()}
    for path, is_directory in _entries(tools, left_out):
        check_cancelled()
        if path.parent not in directories:
            left_out.append(str(path))
            continue
        place = target / path
        if is_directory:
            place.mkdir(mode=_MODE, exist_ok=True)
            directories.add(path)
            continue
        tools.run("mcopy", "-n", "-m", f"::/{path}", place.absolute())
        place.chmod(_MODE)
        taken_bytes += place.stat().st_size
        if taken_bytes > stretch.size_bytes:
            raise GoldsmithError(
                f"the files of the vfat claim to hold more than its "
                f"{format_size(stretch.size_bytes)}: it is damaged",
                hint="check it by fsck.vfat",
            )
    return left_out


def _entries(tools: Mtools, left_out: list[str]) -> Iterator[tuple[PurePosixPath, bool]]:
    """Every path with whether it is a directory, those above first."""
    found = []
    for line in tools.list():
        name = line.removeprefix("::/")
        path = PurePosixPath(name.rstrip("/"))
        readable = "\ufffd" not in name and all(map(is_allowed, path.parts))
        if not path.parts or path.is_absolute() or not readable:
            left_out.append(name)
            continue
        found.append((path, name.endswith("/")))
        if len(found) > _MOST_ENTRIES:
            raise GoldsmithError(f"the vfat has more than {_MOST_ENTRIES} files",
                                 hint="check it by fsck.vfat")  # fmt: skip
    yield from sorted(found, key=lambda pair: (len(pair[0].parts), str(pair[0])))


def put_back(stretch: Stretch, before: Path, after: Path, *, epoch_s: int) -> int:
    """Change in the file system what differs between two directories; returns how many files.

    `before` is what `take_out` made of it. Raises GoldsmithError for what vfat cannot hold, and
    where it is full.
    """
    old, new = read_tree(before), read_tree(after)
    check_names(new)
    removed = {
        path for path in old if path not in new or (old[path] is None) != (new[path] is None)
    }
    tools = Mtools(stretch, epoch_s)
    changed = 0
    try:
        for path in sorted(removed, key=lambda path: -len(path.parts)):
            tools.run("mrd" if old[path] is None else "mdel", f"::/{path}")
            changed += 1
        for path in sorted(new, key=lambda path: (len(path.parts), str(path))):
            source, known = new[path], None if path in removed else old.get(path)
            if source is None:
                if path not in old or path in removed:
                    tools.run("mmd", f"::/{path}")
                    changed += 1
            elif known is None or not filecmp.cmp(known, source, shallow=False):
                tools.run("mcopy", "-o", "-m", source.absolute(), f"::/{path}")
                changed += 1
    except LayoutError as e:
        raise GoldsmithError(
            f"the image's vfat of {format_size(stretch.size_bytes)} is full",
            hint="remove files of it in a provisioner, or take an image with a larger one",
        ) from e
    return changed
