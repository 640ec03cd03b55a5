"""Calls that take long and can be cancelled from either side."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Final

from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.wire.errors import TimedOut, WireError
from goldsmith.plugin.wire.rpc import RpcClient

CANCEL_GRACE_S: Final = 10.0
"""How long a call may take to end after it was cancelled by an interrupt of this thread."""

ANSWER_WITHIN_S: Final = 60.0
"""How long the other side may take for what is no work: to tell, to read and check options."""


def ask(rpc: RpcClient, method: str, argument: Any = None) -> Any:
    """Call a method that takes moments; raises TimedOut where it does not, as other WireErrors.

    A process that was stopped (SIGSTOP) or hangs would be waited for without end.
    """
    try:
        return rpc.call(method, argument, ANSWER_WITHIN_S)
    except TimedOut as error:
        raise TimedOut(f"{method} was not answered within {ANSWER_WITHIN_S:g} s") from error


def call_cancellable(
    rpc: RpcClient, service: str, method: str, argument: Any, cancel: Cancel
) -> Any:
    """Call a method; when `cancel` says so, or this thread is interrupted, ask it to end.

    Go's plugins crash when they are asked before or after the call. Raises WireError, and what
    interrupts this thread.
    """
    call = rpc.start(f"{service}.{method}", argument)

    def ask() -> None:
        if not call.is_done:
            # With a broken connection the call itself fails.
            with contextlib.suppress(WireError):
                rpc.start(f"{service}.Cancel")

    with cancel.calling(ask):
        try:
            return call.wait()
        except WireError:
            raise
        except BaseException:
            cancel.cancel()
            with contextlib.suppress(WireError):
                call.wait(CANCEL_GRACE_S)
            raise


def cancel_soon(cancel: Cancel) -> None:
    """Cancel without waiting for what that leads to."""
    threading.Thread(target=cancel.cancel, name="cancel", daemon=True).start()
