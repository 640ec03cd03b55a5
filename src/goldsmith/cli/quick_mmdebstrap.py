"""The hidden verb behind `programs/quick/mmdebstrap`, which upstream's elements call."""

from __future__ import annotations

import os
import sys

from goldsmith.elements.quick_mmdebstrap import LEFT, make_tree, understand
from goldsmith.ui.terminal import write_line


def run(words: list[str], machine_readable: bool) -> int:
    """Make the tree that mmdebstrap was asked for, or leave it to mmdebstrap."""
    call = understand(words, os.environ)
    if call is None:
        return LEFT
    return make_tree(call, _tell)


def _tell(stream: str, line: str) -> None:
    # mmdebstrap tells everything on stderr.
    write_line(line, stream=sys.stderr)
