"""PID 1 of a namespace: reaps every orphan and hands signals on to the one process that matters.

A Python program that is PID 1 without this ignores SIGTERM (the kernel drops signals for an init
that has no handler) and keeps every zombie. When this init ends, the kernel kills what is left of
its PID namespace and takes the mounts of its mount namespace.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

from goldsmith.host import kernel

FORWARDED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_WATCHED: Final = FORWARDED | {signal.SIGCHLD}


def run_init(main: Callable[[], int] | None, *, name: str) -> NoReturn:
    """Be the init of this PID namespace; never returns.

    With `main` a child runs it, gets the forwarded signals, and its end ends the namespace with
    its status (128 + signal when it was killed). Without it the init lives until it is killed.
    """
    kernel.name_process(name)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    child = _fork_main(main) if main is not None else -1
    while True:
        signum = signal.sigwait(_WATCHED)
        if signum != signal.SIGCHLD:
            if child > 0:
                os.kill(child, signum)
            continue
        status = _reap(child)
        if status is not None:
            os._exit(status if status >= 0 else 128 - status)


def _fork_main(main: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        status = main()
    except BaseException:  # a traceback must not run on into the init's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _reap(child: int) -> int | None:
    """Collect everything that has ended; returns the status of `child` when it was among it."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)
