"""Removes what nothing names any more: drafts of the dead, replaced layers, half-removed ones."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from goldsmith.errors import CommandFailed
from goldsmith.host.journal import remove_tree
from goldsmith.layers import record_files
from goldsmith.layers.directory import DOOMED, TEMPORARY, StoreDirectory
from goldsmith.layers.layer_locks import lock_alone, remove_free_locks
from goldsmith.layers.publish import doom


def collect_garbage(directory: StoreDirectory) -> int:
    """Remove every layer that no record names and nobody uses; returns how many there were."""
    doomed: list[Path] = []
    with contextlib.ExitStack() as held:
        with directory.registry():
            named = record_files.named_layers(directory)
            for path in sorted(directory.layers.iterdir()):
                if path.name.startswith(DOOMED):
                    doomed.append(path)
                elif path.name not in named and (lock := _locked(path)) is not None:
                    held.callback(os.close, lock)
                    doomed.append(doom(path))
            # Records are written while the registry is held: what is left of one is of a dead one.
            for place in directory.records:
                for left in place.glob(f"{TEMPORARY}*"):
                    left.unlink(missing_ok=True)
        for path in doomed:
            remove_doomed(path)
    remove_free_locks(directory.locks, keep="registry")
    return len(doomed)


def _locked(path: Path) -> int | None:
    """The lock of a layer that nobody uses; one that has none yet was never begun."""
    with contextlib.suppress(NotADirectoryError):
        return lock_alone(path / "lock")
    return None


def remove_doomed(path: Path) -> None:
    """Remove a layer that was taken out of the store; two may do so at once."""
    with contextlib.suppress(CommandFailed):
        remove_tree(path)
        return
    if path.exists():
        remove_tree(path)
