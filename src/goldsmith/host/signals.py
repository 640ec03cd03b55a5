"""SIGINT, SIGTERM and SIGHUP become an exception, once; later ones only shorten what follows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host import cancellation

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """What has arrived so far: the first signal's name and how many there were."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.count = 0
        self.settled = False
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only note signals within the block: for code that must not be cut anywhere.

        Whoever holds them looks at `first`, and opens `heeded` blocks where it can be cut.
        """
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Raise Interrupted within the block again, at once if a first signal was noted."""
        before, self._held = self._held, False
        try:
            if self.first is not None and self.count == 1 and not self.settled:
                raise Interrupted(self.first)
            yield
        finally:
            self._held = before

    @property
    def raises(self) -> bool:
        """Whether a first signal raises now."""
        return not self.settled and not self._held

    def settle(self) -> None:
        """From now on signals are only counted: what is left to do is cleanup."""
        self.settled = True


_heard: list[Interrupts] = []


def check_interrupted() -> None:
    """Raise Interrupted if a signal has come: for where further work begins.

    Python drops what a handler raises within a finalizer or the like, so one may have been lost.
    """
    for seen in _heard:
        if seen.first is not None and seen.raises:
            raise Interrupted(seen.first)


_noted: list[str] = []


@contextmanager
def noting_interrupts() -> Iterator[None]:
    """Within the block SIGINT is a KeyboardInterrupt, as ever; one that is lost is found later.

    Imports have finalizers too: what Python has dropped there `interruptible` raises. Where SIGINT
    is ignored, and on other threads than the main one, nothing changes.
    """
    usual = signal.default_int_handler
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        _noted.append(signal.Signals(signum).name)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        _noted.clear()


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Raise Interrupted in the main thread at the first signal.

    Only the first one raises: a second Ctrl-C must not break the cleanup that the first started.
    """
    seen = Interrupts()

    def handler(signum: int, frame: FrameType | None) -> None:
        seen.count += 1
        if seen.first is None:
            seen.first = signal.Signals(signum).name
            if seen.raises:
                raise Interrupted(seen.first)

    before = {signum: signal.signal(signum, handler) for signum in _SIGNALS}
    _heard.append(seen)
    try:
        if _noted:
            raise Interrupted(_noted.pop())
        yield seen
    finally:
        _heard.remove(seen)
        for signum, old in before.items():
            signal.signal(signum, old)


@contextmanager
def time_limit(limit_s: float | None, error: GoldsmithError) -> Iterator[None]:
    """Raise `error` when the block runs longer than it may.

    Programs that the block has started end by the exception, with all their children. On another
    thread than the main one a `Cancellation` must be installed.
    """
    if limit_s is None:
        yield
        return
    if scope := cancellation.current():
        with scope.limit(limit_s, error):
            yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a time limit needs the main thread")

    def expired(signum: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, max(limit_s, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
