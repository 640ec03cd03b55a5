"""Many calls at once: a job for each block, on threads, until one fails or somebody interrupts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from goldsmith.cloud.calls import Service
from goldsmith.cloud.ebs_direct.pacing import Pacer
from goldsmith.cloud.refusals import AwsError
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.signals import check_interrupted

CONNECTIONS: Final = 64
"""A put takes some 100 ms: so many at once reach what the quota allows."""

_TRIES: Final = 10
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_SEEN_WITHIN_S: Final = 120.0
"""A snapshot that was just started may not be known everywhere at once."""
_LOOK_S: Final = 0.1
_SILENT_S: Final = 5.0
_TOLD_EVERY_S: Final = 30.0

J = TypeVar("J")


class Stopped(Exception):
    """Another job has failed: this one need not go on."""


class Damaged(AwsError):
    """A block that came is not the one that was sent; the next try may bring it."""

    @property
    def is_passing(self) -> bool:
        """It was hurt on its way."""
        return True


@dataclass(slots=True)
class Connections:
    """Calls of EBS direct on so many threads, paced together, with the one layer of retries."""

    service: Service
    pacer: Pacer = field(default_factory=Pacer)
    count: int = CONNECTIONS
    started_s: float = field(default_factory=time.monotonic)
    _refused: str = ""
    """What the service has said last to a job that is done again."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def call(
        self, operation: str, check: Callable[[Any], None] = lambda answer: None, **given: Any
    ) -> Any:
        """Ask for one block, for a thread of `for_each`; raises AwsError, Stopped.

        `check` raises AwsError for an answer that is not believed.
        """
        number = passing = 0
        while True:
            self._wait(self.pacer.turn_s())
            try:
                answer = self.service.once(operation, **given)
                check(answer)
                return answer
            except AwsError as e:
                if e.is_throttle:
                    self.pacer.throttled()
                unseen = e.is_absence and time.monotonic() - self.started_s < _SEEN_WITHIN_S
                if not unseen and (not e.is_passing or passing >= _TRIES):
                    raise
                # What is not seen yet has its own time: it must not use up these tries.
                passing += not unseen
                self._refused = str(e)
            self._wait(random.random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**number))  # noqa: S311
            number += 1

    def _wait(self, duration_s: float) -> None:
        if self._stop.wait(duration_s) if duration_s else self._stop.is_set():
            raise Stopped

    def for_each(
        self, jobs: Iterable[J], work: Callable[[J], None], on_done: Callable[[int], None]
    ) -> None:
        """Do all jobs; raises what the first that fails raises, and Interrupted.

        Jobs are taken one by one, so that only those in work are in memory. `on_done` is told by
        the calling thread how many are done. No thread is left when this returns.
        """
        run = _Run(iter(jobs), work, self._stop)
        moved_s, moved_to = time.monotonic(), 0
        self._stop.clear()
        threads = [threading.Thread(target=run.work_on, daemon=True) for _ in range(self.count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK_S)
                    check_interrupted()
                    check_cancelled()
                    on_done(run.done)
                    if run.done != moved_to:
                        moved_s, moved_to, self._refused = time.monotonic(), run.done, ""
                    elif self._refused and time.monotonic() - moved_s > _SILENT_S:
                        # Said by this thread: only one may write.
                        self.service.tell(f"no block went through for {_SILENT_S:.0f} s, they are "
                                          f"asked for again: {self._refused}")  # fmt: skip
                        moved_s = time.monotonic() + _TOLD_EVERY_S - _SILENT_S
        finally:
            # Calls that are under way end by themselves, at the latest by their time limits.
            self._stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            self._stop.clear()
        if run.error is not None:
            raise run.error
        on_done(run.done)


@dataclass(slots=True)
class _Run:
    """What the threads of one `for_each` share."""

    jobs: Iterator[Any]
    job: Callable[[Any], None]
    stop: threading.Event
    done: int = 0
    error: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work_on(self) -> None:
        """Take jobs until there are none."""
        while not self.stop.is_set():
            try:
                with self.lock:
                    one = next(self.jobs, self)
                if one is self:
                    return
                self.job(one)
            except Stopped:
                return
            except BaseException as e:
                with self.lock:
                    if self.error is None:
                        self.error = e
                self.stop.set()
                return
            with self.lock:
                self.done += 1
