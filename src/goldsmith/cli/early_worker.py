"""A build worker that starts while its template is still being read.

Parent and worker import much of the same, and read the same template: one after the other that is
most of the time of a short build. So where a template plainly names a source of `EARLY_BUILDS`, its
worker starts as a copy as soon as there is what both need, imports what it alone will need, and
waits for its start document.
"""

from __future__ import annotations

import locale
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final

from goldsmith.cli.app import importing
from goldsmith.cli.early_imports import EARLY_BUILDS, import_shared
from goldsmith.cli.worker import become_early
from goldsmith.errors import GoldsmithError
from goldsmith.host.worker import EarlyWorker, start_early

_SOURCE: Final = re.compile(
    rb'(?:^[ \t]*source\s*|"type"\s*:\s*|"source"\s*:\s*[\[{][\[{\s]*)"([\w-]+)"', re.MULTILINE
)
"""A source type in HCL, at the start of a line, in Packer's JSON, and in HCL's own."""
_LARGEST_TEMPLATE: Final = 1 << 20
_waiting: list[EarlyWorker] = []


def worker_argv() -> list[str]:
    """The command line of a worker, without what `spawn_worker` adds."""
    return [sys.executable, "-P", "-m", "goldsmith", "_worker"]


def take_worker() -> EarlyWorker | None:
    """The worker that waits for a build, once."""
    return _waiting.pop() if _waiting else None


def dismiss_worker() -> None:
    """End the one that waits, if any: as it turns out, no build needs a worker."""
    if (worker := take_worker()) is not None:
        worker.kill()


@contextmanager
def worker_started_early(words: Sequence[str]) -> Iterator[None]:
    """Start one if the words of a command line call for it; it ends with the block if nobody came.

    Must be called from the main thread, while there is no other.
    """
    may = words and os.geteuid() == 0 and _speaks_as_workers_do()
    source_type = _named_in(words[-1]) if may else None
    if source_type is not None and not EARLY_BUILDS[source_type].always_works:
        # On one processor it would only be in the way.
        source_type = source_type if len(os.sched_getaffinity(0)) > 1 else None
    with ExitStack() as stack:
        if source_type is not None:
            with importing():
                import_shared(source_type)
            become = partial(become_early, source_type)
            gives_way = not EARLY_BUILDS[source_type].always_works
            with suppress(GoldsmithError, OSError):  # a build that needs one fails likewise
                _waiting.append(stack.enter_context(start_early(become, gives_way=gives_way)))
        try:
            yield
        finally:
            _waiting.clear()


def _speaks_as_workers_do() -> bool:
    """Whether the encodings of this process are those of a worker that is executed: UTF-8."""
    return sys.getfilesystemencoding() == "utf-8" and locale.getencoding().lower() == "utf-8"


def _named_in(template: str) -> str | None:
    """The source type for which a template calls for a worker, if it does."""
    try:
        if not os.path.isfile(template) or os.path.getsize(template) > _LARGEST_TEMPLATE:
            return None
        with open(template, "rb") as file:
            named = set(_SOURCE.findall(file.read(_LARGEST_TEMPLATE)))
    except (OSError, ValueError):
        return None
    return next((one for one in EARLY_BUILDS if one.encode() in named), None)
