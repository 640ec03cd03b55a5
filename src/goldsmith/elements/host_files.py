"""Files of the host that hooks read: those that variables name, and those that hooks name.

Hooks that run beside the tree can read anything; what can be known of it beforehand is here, for
the keys of their phases.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from goldsmith.elements.hook_files import MOST_READ_BYTES
from goldsmith.errors import GoldsmithError
from goldsmith.host.tree_digests import tree_digests

_IN_HOME: Final = re.compile(rb"(?:~|\$HOME|\$\{HOME\})/([A-Za-z0-9._/-]*[A-Za-z0-9_-])")
_BY_PATH: Final = re.compile(
    rb"(?:^|[\s=:(,])['\"]?(/(?:etc|root|home|srv|opt|mnt|media|data|usr/local)/"
    rb"[A-Za-z0-9._/@+-]*[A-Za-z0-9_-])", re.MULTILINE,
)  # fmt: skip
"""Where users keep what they put into images; in a tree (`$TMP_MOUNT_PATH/etc/x`) it is another."""
_MOST_BYTES: Final = 64 << 20
"""Of larger files (images of disks) the size and the time of the last change have to do."""
_MOST_FILES: Final = 2000
_NOT_INPUTS: Final = (".cache/",)
"""Where hooks keep what they fetch."""


def file_inputs(
    environment: Mapping[str, str],
    hooks: Iterable[Path],
    *,
    directory: Path,
    leave_out: frozenset[str],
    by_path: Iterable[Path] = (),
) -> dict[str, str]:
    """Digests of the files and directories that variables and hooks name, by the name of an input.

    Relative paths start at `directory`, where hooks run. Variables in `leave_out` name places of a
    run. What does not exist is not there, which is as good as a digest: a file that comes later is
    a new input. Of the hooks in `by_path` whole paths of files count, too.
    """
    found: dict[str, str] = {}
    for name, value in environment.items():
        if name in leave_out or "%%" in name:
            continue
        for number, path in enumerate(
            _paths_in(value, environment.get("HOME", "/root"), directory)
        ):
            digest = _digest(path)
            if digest is not None:
                found[f"file:{name}" + (f" {number + 1}" if number else "")] = digest
    for path in sorted(set(_named_in_home(hooks, environment.get("HOME", "/root")))):
        digest = _digest(path)
        if digest is not None:
            found[f"file:~/{path.relative_to(environment.get('HOME', '/root'))}"] = digest
    for path in sorted(set(_named_by_path(by_path))):
        digest = _digest(path, only_files=True)
        if digest is not None:
            found[f"file:{path}"] = digest
    return found


def _paths_in(value: str, home: str, directory: Path) -> Iterator[Path]:
    """What may be a path in a value: every word of it, and the parts of lists like PATH."""
    if len(value) > 1 << 16 or "\n" in value:
        return
    for word in value.split():
        path = word.removeprefix("file://")
        for part in dict.fromkeys((*path.split(":"), path)):
            below_home = part.startswith("~/")
            found = Path(home, part[2:]) if below_home else directory / part
            # An empty part names nothing, and the root is no input of anybody's.
            if part and found.name and len(str(found)) < os.pathconf("/", "PC_PATH_MAX"):
                yield found


def _named_in_home(hooks: Iterable[Path], home: str) -> Iterator[Path]:
    for below in _matches(hooks, _IN_HOME):
        if not below.startswith(_NOT_INPUTS):
            yield Path(home) / below


def _named_by_path(hooks: Iterable[Path]) -> Iterator[Path]:
    yield from map(Path, _matches(hooks, _BY_PATH))


def _matches(hooks: Iterable[Path], pattern: re.Pattern[bytes]) -> Iterator[str]:
    for hook in hooks:
        if not hook.is_file() or hook.stat().st_size > MOST_READ_BYTES:
            continue
        for match in pattern.finditer(hook.read_bytes()):
            found = match.group(1).decode()
            if ".." not in found.split("/"):
                yield found


def _digest(path: Path, *, only_files: bool = False) -> str | None:
    """What says whether a file or a directory is what it was; None when there is neither."""
    try:
        if path.is_dir():
            return None if only_files else _of_directory(path)
        if not path.is_file():
            return None
        status = path.stat()
        if status.st_size > _MOST_BYTES:
            return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _of_directory(path: Path) -> str | None:
    count, size = 0, 0
    for directory, _, names in os.walk(path):
        for name in names:
            count += 1
            size += os.lstat(os.path.join(directory, name)).st_size
            if count > _MOST_FILES or size > _MOST_BYTES:
                return f"changed at {path.stat().st_mtime_ns}"
    try:
        digests = tree_digests(path)
    except GoldsmithError:
        return f"changed at {path.stat().st_mtime_ns}"
    lines = "\n".join(f"{name} {digests[name]}" for name in sorted(digests))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
