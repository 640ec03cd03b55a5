"""A build worker that starts while its template is still being read.

Parent and worker import much of the same, and read the same template: one after the other that is
most of the time of a short build. So where a template plainly names a source that always builds,
its worker starts at once, imports what it will need, and waits for its start document.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from goldsmith.host.worker import EarlyWorker

_NAMED: Final = b'"amazon-chroot"'
"""A source whose builds need a worker always: nothing of them is kept."""
_LARGEST_TEMPLATE: Final = 1 << 20
_waiting: list[EarlyWorker] = []


def worker_argv(*words: str) -> list[str]:
    """The command line of a worker, without what `spawn_worker` adds."""
    return [sys.executable, "-P", "-m", "goldsmith", "_worker", *words]


def take_worker() -> EarlyWorker | None:
    """The worker that waits for a build, once."""
    return _waiting.pop() if _waiting else None


def dismiss_worker() -> None:
    """End the one that waits: as it turns out, no build needs a worker."""
    if (worker := take_worker()) is not None:
        worker.kill()


@contextmanager
def worker_started_early(words: Sequence[str]) -> Iterator[None]:
    """Start one if the words of a command line call for it; it ends with the block if nobody came.

    Must be called from the main thread.
    """
    if os.geteuid() != 0 or not words or not _calls_for_one(words[-1]):
        yield
        return
    # Late: most commands need no worker.
    from goldsmith.host.worker import start_early

    with start_early(worker_argv("early")) as worker:
        _waiting.append(worker)
        try:
            yield
        finally:
            _waiting.clear()


def _calls_for_one(template: str) -> bool:
    try:
        if not os.path.isfile(template) or os.path.getsize(template) > _LARGEST_TEMPLATE:
            return False
        with open(template, "rb") as file:
            return _NAMED in file.read(_LARGEST_TEMPLATE)
    except (OSError, ValueError):
        return False
