"""Paths that stay inside a tree: symbolic links are followed as `chroot` would follow them.

A tree's links are written by strangers: `/etc/resolv.conf -> /run/x` means the tree's `/run`, and
must never mean the host's. Nothing may change the tree while a path is resolved and used: the
steps that write to it have ended by then.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError

LINK_LIMIT: Final = 40
"""The kernel's own limit of links in one path (path_resolution(7))."""


class ConfinedPathError(GoldsmithError):
    """A path in a tree cannot be resolved: a loop of links, or a file where a directory must be."""


def confined(
    tree: str | os.PathLike[str], path: str | os.PathLike[str], *, follow_last: bool = False
) -> Path:
    """The host's path of `path` in `tree`, with every link of its directories resolved in the tree.

    Absolute and relative paths both start at the tree's root and `..` stops there. The last
    component is left as it is, even if it is a link, unless `follow_last` is given. What does not
    exist is kept as named. Raises ConfinedPathError.
    """
    root = Path(tree)
    pending = _components(path)
    done: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name == "..":
            del done[-1:]
            continue
        here = root.joinpath(*done, name)
        kind = _kind(here)
        if kind == stat.S_IFLNK and (pending or follow_last):
            links += 1
            if links > LINK_LIMIT:
                raise ConfinedPathError(f"too many symbolic links in {os.fspath(path)} of {root}")
            target = os.readlink(here)
            if target.startswith("/"):
                done.clear()
            pending.extend(_components(target))
            continue
        if pending and kind not in (None, stat.S_IFDIR):
            raise ConfinedPathError(f"{os.fspath(path)}: {here} is not a directory")
        done.append(name)
    return root.joinpath(*done)


def _components(path: str | os.PathLike[str]) -> list[str]:
    """The names in a path, last one first; a NUL would end the path early for the kernel."""
    text = os.fspath(path)
    if "\0" in text:
        raise ConfinedPathError(f"{text!r} has a NUL character")
    return [name for name in reversed(text.split("/")) if name not in ("", ".")]


def _kind(path: Path) -> int | None:
    """The file type bits of a path that is not followed, None when there is nothing."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_confined(tree: str | os.PathLike[str], path: str) -> bytes | None:
    """The content of a regular file of the tree, links followed inside it; None if there is none.

    A device or FIFO of that name is never opened.
    """
    place = confined(tree, path, follow_last=True)
    return place.read_bytes() if _kind(place) == stat.S_IFREG else None


def write_confined(
    tree: str | os.PathLike[str], path: str, content: bytes, *, mode: int = 0o644
) -> Path:
    """Put a file into the tree in one rename, in place of whatever (but a directory) was there.

    Missing directories are made with mode 0755; a link of that name is replaced, not followed.
    """
    place = confined(tree, path)
    make_directory(tree, os.path.dirname(path))
    temporary = place.with_name(f".{place.name}.goldsmith")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "wb") as file:
        file.write(content)
        os.fchmod(fd, mode)
    os.replace(temporary, place)
    return place


def make_directory(tree: str | os.PathLike[str], path: str, *, mode: int = 0o755) -> Path:
    """Make a directory of the tree, and those above it, where they are missing."""
    place = Path(tree)
    for name in confined(tree, path, follow_last=True).relative_to(tree).parts:
        place = place / name
        if _kind(place) is None:
            place.mkdir()
            place.chmod(mode)
    return place


def remove_confined(tree: str | os.PathLike[str], path: str) -> bool:
    """Remove one file or link of the tree (never a directory); returns whether there was one."""
    place = confined(tree, path)
    if _kind(place) in (None, stat.S_IFDIR):
        return False
    place.unlink()
    return True
