"""Several pieces of work at once, on threads: the first error stops all the others.

Progress comes back through a queue, so that only the caller's thread reports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from goldsmith.host.cancellation import Cancellation, check_cancelled

T = TypeVar("T")
OnPercent = Callable[[float], None]
"""Called with how much is done, from 0 to 100."""

_LOOK_S: Final = 0.5
"""How long a caller that may itself be cancelled waits before it looks whether it was."""


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(
    works: Mapping[str, Callable[[OnPercent], T]],
    on_percent: Callable[[str, float], None] | None = None,
) -> dict[str, T]:
    """Run every piece of work, as many at once as there are cores; returns name -> result.

    They start in the order of the mapping: a later one may wait for an earlier one. When one
    fails, or the caller is interrupted, the others are cancelled (`host.cancellation`) and waited
    for, and the first error is raised.
    """
    news: SimpleQueue[tuple[str, float | None]] = SimpleQueue()
    scopes = {name: Cancellation() for name in works}
    try:
        with ThreadPoolExecutor(max(1, min(cores(), len(works)))) as pool:
            futures = {
                name: pool.submit(_run, name, work, scopes[name], news)
                for name, work in works.items()
            }
            try:
                _wait(futures, news, on_percent)
            except BaseException:
                _cancel(pool, list(scopes.values()))
                raise
    finally:
        for scope in scopes.values():
            scope.close()
    return {name: future.result() for name, future in futures.items()}


@contextmanager
def beside(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Run a piece of work on a thread while the block runs; what is yielded waits for its result.

    The work has ended when the block is left: one that nobody has waited for, or an error of the
    block or an interrupt, cancels it (`host.cancellation`).
    """
    scope = Cancellation()

    def run() -> T:
        with scope.installed():
            return work()

    try:
        with ThreadPoolExecutor(1) as pool:
            # An interrupt may come before it is known whether the thread has begun.
            try:
                future = pool.submit(run)

                def result() -> T:
                    while not wait([future], timeout=_LOOK_S).done:
                        check_cancelled()
                    return future.result()

                yield result
            finally:
                _cancel(pool, [scope])
    finally:
        scope.close()


def _run(
    name: str,
    work: Callable[[OnPercent], T],
    scope: Cancellation,
    news: SimpleQueue[tuple[str, float | None]],
) -> T:
    try:
        with scope.installed():
            return work(lambda percent: news.put((name, percent)))
    finally:
        news.put((name, None))


def _wait(
    futures: Mapping[str, Future[T]],
    news: SimpleQueue[tuple[str, float | None]],
    on_percent: Callable[[str, float], None] | None,
) -> None:
    left = set(futures)
    while left:
        try:
            name, percent = news.get(timeout=_LOOK_S)
        except Empty:
            check_cancelled()
            continue
        if percent is None:
            left.discard(name)
            futures[name].result()
        elif on_percent is not None:
            on_percent(name, percent)


def _cancel(pool: ThreadPoolExecutor, scopes: Sequence[Cancellation]) -> None:
    """Stop what runs and wait for its end; an interrupt that comes meanwhile makes it hurry."""
    for scope in scopes:
        scope.cancel("another error")
    try:
        pool.shutdown(wait=True, cancel_futures=True)
    except BaseException:
        for scope in scopes:
            scope.cancel("another error")
        raise
