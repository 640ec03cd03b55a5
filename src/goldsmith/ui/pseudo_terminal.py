"""A terminal of its own for a program in other namespaces, relayed to the user's."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from goldsmith.ui.raw_terminal import raw_terminal

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class PseudoTerminal:
    """The three descriptors for a program, and the relay to the user.

    Without a terminal on our side the program gets our own streams.
    """

    stdio: tuple[int, int, int]
    master: int = -1

    @property
    def is_interactive(self) -> bool:
        """Whether there is a terminal."""
        return self.master >= 0

    def relay(self) -> None:
        """Pass bytes both ways until the program and its children have closed their side."""
        if not self.is_interactive:
            return
        os.close(self.stdio[0])
        with raw_terminal() as (keyboard, show), _following_size(keyboard, self.master):
            sources = [keyboard, self.master]
            while True:
                ready, _, _ = select.select(sources, [], [])
                if self.master in ready:
                    try:
                        data = os.read(self.master, _CHUNK_BYTES)
                    except OSError as e:
                        # A master whose other side is closed says so with an I/O error (pty(7)).
                        if e.errno == errno.EIO:
                            return
                        raise
                    show(data)
                if keyboard in ready:
                    typed = os.read(keyboard, _CHUNK_BYTES)
                    if typed:
                        os.write(self.master, typed)
                    else:
                        sources.remove(keyboard)


@contextmanager
def pseudo_terminal() -> Iterator[PseudoTerminal]:
    """A new terminal if standard input and output are one; closed at the end."""
    with ExitStack() as scope:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            # Copies: under their own numbers a worker has other streams.
            copies = [os.dup(number) for number in (0, 1, 2)]
            for copy in copies:
                scope.callback(os.close, copy)
            yield PseudoTerminal((copies[0], copies[1], copies[2]))
            return
        master, slave = os.openpty()
        scope.callback(os.close, master)
        # The relay closes our copy of the other side, or it would never hear of its end.
        scope.callback(_close_if_open, slave)
        _copy_size(sys.stdin.fileno(), master)
        yield PseudoTerminal((slave, slave, slave), master)


def _close_if_open(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetwinsize(target, termios.tcgetwinsize(source))


@contextmanager
def _following_size(terminal: int, master: int) -> Iterator[None]:
    """Tell the program when the user changes the size of the window."""

    def changed(signum: int, frame: FrameType | None) -> None:
        _copy_size(terminal, master)

    before = signal.signal(signal.SIGWINCH, changed)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
