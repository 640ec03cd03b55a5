"""`goldsmith version`."""

from __future__ import annotations

import goldsmith
from goldsmith.ui.terminal import write_line


def run(words: list[str], machine_readable: bool) -> int:
    """Print the version; Packer's records with `-machine-readable`."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line("Usage: goldsmith version\n\nPrints the version of goldsmith.")
        return 0
    if machine_readable:
        import time

        write_line(f"{int(time.time())},,version,{goldsmith.__version__}")
        return 0
    write_line(f"goldsmith v{goldsmith.__version__}")
    return 0
