"""What ends the work of callbacks: on threads of the wire nothing does of itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from goldsmith.host import cancellation
from goldsmith.host.cancellation import Cancellation


def within(scope: Cancellation) -> AbstractContextManager[None]:
    """Let a scope stop what the calling thread does, unless it is stopped by one of its own.

    A component in this process calls back on the build's own thread.
    """
    return nullcontext() if cancellation.current() is not None else scope.installed()
