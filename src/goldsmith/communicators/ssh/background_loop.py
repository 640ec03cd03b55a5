"""An event loop on a thread of its own, for a caller that can be interrupted while it waits."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from goldsmith.host import cancellation

T = TypeVar("T")

END_GRACE_S: Final = 15.0
"""How long an operation that is cancelled may take to end."""
POLL_S: Final = 0.2
"""How often it is looked whether the caller wants to wait no more."""


class BackgroundLoop:
    """Runs coroutines for one other thread; a context manager that leaves nothing running."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> BackgroundLoop:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_GRACE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_end_all())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and return what it returns; what it raises is raised here.

        An interrupt or the end of a time limit cancels it, and is raised when it has ended.
        """
        operation = _Operation(self._loop, work)
        self._loop.call_soon_threadsafe(operation.begin)
        try:
            operation.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(operation.cancel)
            operation.settle()
            raise
        return operation.result()


class _Operation(Generic[T]):
    """One coroutine, and a descriptor that can be read from when it has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop, self._work = loop, work
        self._task: asyncio.Task[T] | None = None
        self._ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(lambda _: os.eventfd_write(self._ended, 1))

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def wait(self) -> None:
        """Wait for the end, or raise what the calling thread is to raise."""
        scope = cancellation.current()
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        if scope is not None and scope.armed:
            poll.register(scope, select.POLLIN)
        while not self._has_ended(0):
            if scope is None:
                poll.poll()
                continue
            scope.check()
            left_s = scope.deadline_s
            if left_s is not None:
                left_s = max(0.0, left_s - time.monotonic()) + 0.001
            poll.poll(None if left_s is None else left_s * 1000)

    def settle(self) -> None:
        """Wait for the end of what was cancelled, but not for ever, and not where all hurries."""
        scope = cancellation.current()
        deadline_s = time.monotonic() + END_GRACE_S
        while not self._has_ended(POLL_S):
            if time.monotonic() >= deadline_s or (scope is not None and scope.hurried):
                return
        os.close(self._ended)
        assert self._task is not None
        if not self._task.cancelled():
            self._task.exception()

    def result(self) -> T:
        """What the coroutine returned; raises what it raised."""
        os.close(self._ended)
        assert self._task is not None
        return self._task.result()

    def _has_ended(self, within_s: float) -> bool:
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        return bool(poll.poll(within_s * 1000))


async def _end_all() -> None:
    """Cancel what is left and let it end."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
