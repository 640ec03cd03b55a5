"""The hidden verb of processes that unpack packages into the store."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from goldsmith.packages.unpacked.ingest import run_share
from goldsmith.ui.terminal import write_line


def run(words: list[str], machine_readable: bool) -> int:
    """Unpack what standard input lists below the directory that is named."""
    (directory,) = words
    problem = run_share(Path(directory), sys.stdin.buffer.read())
    if problem is None:
        return 0
    write_line(json.dumps(problem))
    return 1
