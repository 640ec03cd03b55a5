"""Stopping work on a thread: what signals and alarms do to the main thread, for all others.

A signal handler runs in the main thread only. Work on another thread runs under a `Cancellation`:
`host.process` waits for it beside the pipes of a program, `pause` while it waits, and loops of our
own look at it between two pieces. What it raises ends the programs by their context managers.
"""

from __future__ import annotations

import os
import select
import selectors
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from goldsmith.errors import GoldsmithError, Interrupted

_scopes = threading.local()


@dataclass(slots=True)
class _Limit:
    deadline_s: float
    error: GoldsmithError
    raised: bool = False


class Cancellation:
    """Whether the work of one thread is to stop; `cancel` may be called from any thread.

    Each reason raises once: the cleanup that follows runs programs too.
    """

    def __init__(self) -> None:
        self.hurried = False
        self._lock = threading.Lock()
        self._closed = True
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        self._interrupt: Interrupted | None = None
        self._raised = False
        self._limits: list[_Limit] = []

    def fileno(self) -> int:
        """A descriptor that can be read from as soon as the work is cancelled."""
        return self._fd

    def cancel(self, signal_name: str) -> None:
        """Ask the work to stop; a second call makes it hurry."""
        with self._lock:
            if self._interrupt is not None:
                self.hurried = True
                return
            self._interrupt = Interrupted(signal_name)
            if not self._closed:
                os.eventfd_write(self._fd, 1)

    @property
    def armed(self) -> bool:
        """Whether an interrupt would still be raised."""
        return not self._raised

    @property
    def deadline_s(self) -> float | None:
        """When the next time limit is over, on the monotonic clock."""
        pending = [limit.deadline_s for limit in self._limits if not limit.raised]
        return min(pending, default=None)

    def check(self) -> None:
        """Raise what there is to raise: Interrupted, or the error of a time limit."""
        if self._interrupt is not None and not self._raised:
            self._raised = True
            raise self._interrupt
        for limit in self._limits:
            if not limit.raised and time.monotonic() >= limit.deadline_s:
                limit.raised = True
                raise limit.error

    @contextmanager
    def limit(self, limit_s: float, error: GoldsmithError) -> Iterator[None]:
        """Raise `error` when the block runs longer than it may."""
        limit = _Limit(time.monotonic() + limit_s, error)
        self._limits.append(limit)
        try:
            yield
        finally:
            self._limits.remove(limit)

    def wait(self, duration_s: float) -> None:
        """Wait, unless there is something to raise before."""
        end_s = time.monotonic() + duration_s
        poll = select.poll()
        if self.armed:
            poll.register(self, select.POLLIN)
        self.check()
        while (now_s := time.monotonic()) < end_s:
            deadline_s = self.deadline_s
            nearest_s = end_s if deadline_s is None else min(end_s, deadline_s)
            poll.poll(max(0.0, nearest_s - now_s) * 1000)
            self.check()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let it stop what the calling thread does within the block."""
        before = current()
        _scopes.current = self
        try:
            yield
        finally:
            _scopes.current = before

    def close(self) -> None:
        """Give the descriptor back; the work must have ended."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)

    def __del__(self) -> None:
        # Work on threads of its own may hold it longer than whoever made it.
        self.close()


def current() -> Cancellation | None:
    """What may stop the calling thread; None where only signals do, as in the main thread."""
    scope: Cancellation | None = getattr(_scopes, "current", None)
    return scope


def check_cancelled() -> None:
    """Raise what there is to raise in the calling thread."""
    if scope := current():
        scope.check()


def waited_for(
    selector: selectors.BaseSelector, limit_s: float | None
) -> list[tuple[selectors.SelectorKey, int]]:
    """What is ready within a time, as `select` says it; an interrupt of the thread raises."""
    scope = current()
    if scope is None or not scope.armed:
        return selector.select(limit_s)
    selector.register(scope, selectors.EVENT_READ)
    try:
        ready = selector.select(limit_s)
    finally:
        selector.unregister(scope)
    scope.check()
    return ready


def pause(duration_s: float) -> None:
    """Wait in such a way that an interrupt ends it, on whatever thread."""
    if scope := current():
        scope.wait(duration_s)
    else:
        time.sleep(duration_s)
