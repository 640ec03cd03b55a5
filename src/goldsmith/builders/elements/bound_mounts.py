"""Mounts that hooks leave in the tree: written down by one phase, made again for the next.

A phase's mounts end with its namespaces. Elements that bind a directory of the host into the tree
(APT's archives, pip's cache) expect to find it there in every later phase.
Source: proc(5), mountinfo.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.host import mounts
from goldsmith.host.confined import confined

_RECORD: Final = "mounts.json"
_OWN: Final = ("proc", "sys", "dev", "tmp/in_target.d")
"""Where every phase has mounts that are not the hooks'."""


@dataclass(frozen=True, slots=True)
class LeftMount:
    """A mount below the tree: where (relative to it), and what."""

    target: str
    source: str
    kind: str = ""
    """The file system; "" where a file or directory of the host is bound."""
    options: str = ""
    read_only: bool = False


def find_left(pid: int, build: Path, mount: Path) -> tuple[list[LeftMount], list[str]]:
    """The mounts that hooks have made below `mount` in the namespace of a process, in order.

    The second list has those of which nobody can say where they come from, and those of devices: a
    later phase may find another file system on a loop device of that number. `build` is where the
    namespace shows the build: what is bound from there is never taken for a place of the host.
    """
    lines = mounts.list_mounts(pid)
    deviceless = _kinds_without_device()
    found: list[LeftMount] = []
    unknown: list[str] = []
    for line in lines:
        below = os.path.relpath(line.path, mount)
        if below == "." or below.startswith("..") or _is_own(below):
            continue
        origin = _origin(pid, line, lines, build)
        shared = any(one.device == line.device and not _is_below(one.path, build) for one in lines)
        if origin is not None:
            found.append(LeftMount(below, origin, read_only=line.read_only))
        elif shared or line.root != "/" or line.kind not in deviceless:
            unknown.append(below)
        else:
            found.append(LeftMount(below, line.source, line.kind, line.options,
                                   line.read_only))  # fmt: skip
    return found, unknown


def keep(left: Sequence[LeftMount], records: Path) -> None:
    """Write the mounts down; a record that says the same is left as it is."""
    text = json.dumps([asdict(one) for one in left], indent=1)
    if _read(records) != list(left):
        records.mkdir(exist_ok=True)
        (records / _RECORD).write_text(text)


def make_again(records: Path, mount: Path) -> None:
    """Make the mounts of an earlier phase; runs as the init of a step's namespaces.

    A directory of the host that has gone is made anew: a cache that somebody emptied.
    """
    for one in _read(records):
        target = confined(mount, one.target, follow_last=True)
        if one.kind:
            target.mkdir(parents=True, exist_ok=True)
            flags = mounts.MS_RDONLY if one.read_only else 0
            mounts.mount(one.source, str(target), one.kind, flags=flags, options=one.options)
            continue
        source = Path(one.source)
        if not source.exists():
            if target.is_file():
                raise GoldsmithError(
                    f"{source} has gone, which a hook had bound at /{one.target} of the tree",
                    hint="build without the cache of steps: --no-cache",
                )
            source.mkdir(parents=True)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        mounts.bind(one.source, str(target), read_only=one.read_only)


def _read(records: Path) -> list[LeftMount]:
    try:
        return [LeftMount(**one) for one in json.loads((records / _RECORD).read_text())]
    except FileNotFoundError:
        return []


def _kinds_without_device() -> frozenset[str]:
    """The file systems that the kernel makes of their names and options alone; proc(5)."""
    lines = [line.split() for line in Path("/proc/filesystems").read_text().splitlines()]
    return frozenset(words[1] for words in lines if words[0] == "nodev")


def _is_own(below: str) -> bool:
    return any(below == own or below.startswith(f"{own}/") for own in _OWN)


def _is_below(path: str, directory: Path) -> bool:
    return path == str(directory) or path.startswith(f"{directory}/")


def _origin(
    pid: int, line: mounts.MountPoint, lines: Sequence[mounts.MountPoint], build: Path
) -> str | None:
    """The path that shows the same as a mount: through another mount of its device.

    What lies in the build itself goes by the path that is the same in every run.
    """
    target = f"/proc/{pid}/root{line.path}"
    own = [other for other in lines if other.path == str(build)]
    for other in (*own, *(other for other in lines if not _is_below(other.path, build))):
        relative = os.path.relpath(line.root, other.root)
        if other.device != line.device or relative.startswith(".."):
            continue
        path = os.path.normpath(os.path.join(other.path, relative))
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/root{path}"), os.stat(target)):
                return path
        except OSError:
            continue
    return None
