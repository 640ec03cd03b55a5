"""A terminal that is handed to another machine: every key as it is, every byte as it comes."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from goldsmith.errors import UsageError


@contextmanager
def raw_terminal() -> Iterator[tuple[int, Callable[[bytes], None]]]:
    """The keyboard's descriptor and a function that shows bytes; put back as it was at the end.

    Raises UsageError when standard input or output is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("standard input and output are not a terminal that could be handed over",
                         hint="leave --console out: the console is printed then")  # fmt: skip
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    sys.stdout.flush()

    def show(data: bytes) -> None:
        while data:
            data = data[os.write(screen, data) :]

    before = termios.tcgetattr(keyboard)
    try:
        # What was typed ahead stays: TCSAFLUSH, the default, would drop it.
        tty.setraw(keyboard, termios.TCSADRAIN)
        yield keyboard, show
    finally:
        # A terminal that has gone needs nothing put back.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
