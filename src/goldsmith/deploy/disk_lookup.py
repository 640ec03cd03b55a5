"""Which disk of this host is meant: by lasting links, a place on a bus, or the kernel's name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from goldsmith.errors import GoldsmithError

_WORD = re.compile(r"[A-Za-z0-9][\w.,:+@=/!~-]*")


def find_device(name: str, place: str, links: Sequence[str], directory: Path = Path("/dev")) -> str:
    """The node of a disk, as fuel-agent looks for it; raises GoldsmithError for none.

    `links` are lasting names below /dev ("disk/by-id/..."), of which those that are here must all
    lead to one disk; `place` is another one ("disk/by-path/..."), `name` the kernel's ("sda"),
    which chooses among several that the links lead to.
    """
    found = {node for link in links if (node := _node(directory, link)) is not None}
    if len(found) == 1:
        return found.pop()
    if not found and (node := _node(directory, place)) is not None:
        return node
    node = _node(directory, name)
    if node is not None and (not found or node in found):
        return node
    if len(found) > 1:
        raise GoldsmithError(f"the names of disk {name} lead to several disks of this host: "
                             + ", ".join(sorted(found)))  # fmt: skip
    known = ", ".join([*links, place, name])
    raise GoldsmithError(f"there is no disk {name} on this host: looked for {known} below /dev")


def _node(directory: Path, word: str) -> str | None:
    """The block device behind a name below /dev, None where there is none."""
    word = word.removeprefix("/dev/")
    if not _WORD.fullmatch(word) or ".." in word.split("/"):
        return None
    path = directory / word
    try:
        if not stat.S_ISBLK(os.stat(path).st_mode):
            return None
    except OSError:
        return None
    # Multipath devices keep the name that their partitions are named after.
    return str(path) if word.startswith("mapper/") else os.path.realpath(path)
