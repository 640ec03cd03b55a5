"""What plugins in this process print: it goes to their log, as it does from a process of their own.

Standard output is data and the lines of goldsmith, whose own printing goes past this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO, cast

Tell = Callable[[str], None]
LONGEST_LINE: Final = 64 << 10
"""Characters; what is longer is cut into several lines."""


def _to_nobody(line: str) -> None:
    """Between builds there is no log but that of Python's."""
    import logging

    logging.getLogger("goldsmith.plugin").info("%s", line)


class _Thread(threading.local):
    tell: Tell = staticmethod(_to_nobody)
    begun: str = ""


_thread: Final = _Thread()


class PrintedByPlugins:
    """Takes the place of `sys.stdout`; everything but writing is as with the stream behind it."""

    def __init__(self, of_process: TextIO) -> None:
        self.of_process = of_process
        """What goldsmith itself prints on."""

    def write(self, text: str) -> int:
        """Hand whole lines on to the log of the plugin that runs on this thread."""
        *lines, rest = (_thread.begun + text).split("\n")
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        _thread.begun = rest
        for line in lines:
            _thread.tell(line)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back but a line that has no end yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of_process, name)


@contextmanager
def logged_prints() -> Iterator[None]:
    """Give plugins a standard output of their own for the time of the block."""
    if isinstance(sys.stdout, PrintedByPlugins):
        yield
        return
    before, ours = sys.stdout, PrintedByPlugins(sys.stdout)
    sys.stdout = cast(TextIO, ours)
    try:
        yield
    finally:
        if sys.stdout is cast(TextIO, ours):
            sys.stdout = before


@contextmanager
def printing_to(tell: Tell) -> Iterator[None]:
    """Hand what this thread prints within the block on to `tell`, line by line."""
    outer, _thread.tell = _thread.tell, tell
    try:
        yield
    finally:
        if _thread.begun:
            begun, _thread.begun = _thread.begun, ""
            tell(begun)
        _thread.tell = outer
