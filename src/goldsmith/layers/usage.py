"""What a store takes on its disk."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from goldsmith.layers import record_files
from goldsmith.layers.store import Store


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store takes on its disk; a file with several names is counted once."""

    total_bytes: int
    layer_bytes: Mapping[str, int]
    """By name of the layer, what no record names included."""
    garbage_bytes: int
    """What lies in layers that no record names: drafts in the making, and what the dead left."""


Seen = set[tuple[int, int]]
"""Files that were counted: device and inode."""


def usage(store: Store, seen: Seen | None = None) -> Usage:
    """Measure the whole store; walks all of it. What is in `seen` was counted elsewhere."""
    seen = set() if seen is None else seen
    layers = {
        path.name: taken_bytes(path, seen) for path in sorted(store.directory.layers.iterdir())
    }
    total_bytes = sum(layers.values()) + taken_bytes(store.directory.path, seen)
    named = record_files.named_layers(store.directory)
    garbage_bytes = sum(taken for name, taken in layers.items() if name not in named)
    return Usage(total_bytes, layers, garbage_bytes)


def taken_bytes(top: Path, seen: Seen) -> int:
    """The blocks of everything in a directory that was not seen before; what vanishes is left."""
    total = 0
    stack = [os.fsencode(top)]
    while stack:
        path = stack.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                stack += [os.path.join(path, name) for name in os.listdir(path)]
    return total
