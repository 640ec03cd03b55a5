"""The hooks directory of a build while a phase runs: the elements' files, and what hooks made.

The elements' files are there only as long as the phase runs, so what a phase leaves is the same
whatever the hooks of later phases are; a hook that is changed does not touch the results before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.elements.hooks import HookFile, Hooks, copy
from goldsmith.elements.phases import Phase, Place, Tree
from goldsmith.elements.setup import Setup

RUN_PARTS: Final = "dib-run-parts"
INSTALL_TYPE: Final = "environment.d/11-dib-install-type.bash"
_REMOVED: Final = "hooks-removed.json"


def generated_for(phase: Phase, setup: Setup, install_type: str) -> dict[str, bytes]:
    """The files that no element has, with their content: the install type, and the program itself.

    Upstream writes the one after root.d, and copies the other before the first phase in the tree.
    """
    files: dict[str, bytes] = {}
    if phase.tree is not Tree.EMPTY:
        text = f'export DIB_DEFAULT_INSTALLTYPE=${{DIB_DEFAULT_INSTALLTYPE:-"{install_type}"}}\n'
        files[INSTALL_TYPE] = text.encode()
    if phase.place is Place.IN_TREE:
        files[RUN_PARTS] = (setup.library / RUN_PARTS).read_bytes()
    return files


def write(hooks: Hooks, directory: Path, generated: Mapping[str, bytes], records: Path) -> None:
    """Write the elements' files; `records` is where an earlier phase said what hooks removed.

    A file that is there already was made, or changed, by a hook: it stays.
    """
    _write(hooks, directory, generated, records)


@contextmanager
def laid_out(
    hooks: Hooks, directory: Path, generated: Mapping[str, bytes], records: Path
) -> Iterator[None]:
    """As `write`; a block that ends well takes the files away again, but for what hooks changed.

    After an error all is left for whoever looks into the tree.
    """
    written, made = _write(hooks, directory, generated, records)
    yield
    removed = _removed(records)
    for place, before in written.items():
        path = directory / place
        now = _state(path)
        if now is None:
            removed.add(place)
        elif now == before:
            path.unlink()
    for below in reversed(made):
        with contextlib.suppress(OSError):
            (directory / below).rmdir()
    if removed:
        records.mkdir(exist_ok=True)
        (records / _REMOVED).write_text(json.dumps(sorted(removed)))


def _write(
    hooks: Hooks, directory: Path, generated: Mapping[str, bytes], records: Path
) -> tuple[dict[str, object], list[str]]:
    """Returns the state of every file that was written, and the directories that were made."""
    directory.mkdir(exist_ok=True)
    removed = _removed(records)
    written: dict[str, object] = {}
    made: list[str] = []
    for place in hooks.directories:
        _make(directory, place, made)
    for place, file in hooks.files.items():
        target = directory / place
        if place not in removed and not os.path.lexists(target):
            _make(directory, os.path.dirname(place), made)
            copy(HookFile(file.element, file.source, place), target)
            written[place] = _state(target)
    for place, content in generated.items():
        target = directory / place
        if place not in removed and not os.path.lexists(target):
            _make(directory, os.path.dirname(place), made)
            target.write_bytes(content)
            target.chmod(0o755 if place == RUN_PARTS else 0o644)
            written[place] = _state(target)
    return written, made


def _make(directory: Path, place: str, made: list[str]) -> None:
    """Make a directory and those above it, and note which were not there."""
    parts = Path(place).parts
    for count in range(1, len(parts) + 1):
        below = os.path.join(*parts[:count])
        with contextlib.suppress(FileExistsError):
            (directory / below).mkdir()
            made.append(below)


def _removed(records: Path) -> set[str]:
    """The elements' files that hooks took away."""
    try:
        return set(json.loads((records / _REMOVED).read_text()))
    except FileNotFoundError:
        return set()


def _state(path: Path) -> tuple[int, int, int, str] | None:
    """What changes when a file does; None where there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
    return status.st_mode, status.st_size, status.st_mtime_ns, target
