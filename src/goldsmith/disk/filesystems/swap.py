"""Swap areas: a header of one page, the rest is never written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.stretch import Stretch, own_file
from goldsmith.host.process import run

TOOL_TIMEOUT_S: Final = 60.0


def make(
    stretch: Stretch, uuid: str, label: str | None, options: tuple[str, ...], *, scratch: Path
) -> None:
    """Make a swap area with pages of 4096 bytes; the same words give the same bytes."""
    with own_file(stretch, "swap", scratch=scratch, sized=True) as path:
        # It remarks on holes: they concern swap files, a partition has none.
        argv = ["mkswap", "--quiet", "--pagesize", "4096", "--uuid", uuid]
        if label is not None:
            argv += ["--label", label]
        run([*argv, *options, path], timeout_s=TOOL_TIMEOUT_S)
