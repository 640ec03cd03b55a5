"""The hidden verb of processes that compare the packages of the store with what they were."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from goldsmith.packages.unpacked.content_store import compare
from goldsmith.ui.terminal import write_line


def run(words: list[str], machine_readable: bool) -> int:
    """Tell which packages of a store, of those that standard input lists, are changed."""
    (directory,) = words
    write_line(json.dumps(compare(Path(directory), sys.stdin.buffer.read())))
    return 0
