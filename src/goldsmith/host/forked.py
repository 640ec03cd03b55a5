"""A copy of this process that keeps its modules, and nothing that is somebody's.

A worker needs most of what its command has imported, and to execute Python once more takes longer
than the rest of a short start. What an execution would leave behind is left here: the environment
and the words of the command line, which hold secrets and can be read in /proc, open descriptors,
the session, and what signals do.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Final, NoReturn

from goldsmith.host import kernel

_READY: Final = b"\n"
OF_TERMINALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class Forked:
    """A direct child that was forked: what is asked of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self._status: int | None = None
        self._lock = threading.Lock()

    @classmethod
    def start(
        cls, body: Callable[[], int], *, env: Mapping[str, str], fds: Sequence[int],
        first: Callable[[], None], on_session: Callable[[int], None], signals: Iterable[int],
    ) -> Forked:  # fmt: skip
        """Fork, and return once the copy has a session of its own; it calls `first` before `body`.

        We call `on_session` with its pid, which is that of its session, before it goes on to
        `body`. To be called while the signals of terminals are blocked; `signals` are those that
        the copy has blocked. Raises OSError.
        """
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()  # else the copy would print it once more
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = os.fork()
            if pid == 0:
                ours.close()  # else it would wait for itself
                _run_copy(first, body, env, fds, theirs, signals)
            theirs.close()
            ours.recv(len(_READY))
            on_session(pid)
        return cls(pid)

    def poll(self) -> int | None:
        """Its status (negative: killed by that signal) if it has ended."""
        with self._lock:
            if self._status is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # somebody else has heard of its end
                    self._status = 0
                else:
                    self._status = os.waitstatus_to_exitcode(status) if pid else None
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises TimeoutError."""
        while (status := self.poll()) is None:
            if timeout is None:
                with contextlib.suppress(ChildProcessError):
                    os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            else:
                self._wait_at_most(timeout)
        return status

    def _wait_at_most(self, timeout_s: float) -> None:
        try:
            ended = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            waiting = select.poll()
            waiting.register(ended, select.POLLIN)
            if not waiting.poll(max(0.0, timeout_s) * 1000):
                raise TimeoutError
        finally:
            os.close(ended)


def _run_copy(
    first: Callable[[], None], body: Callable[[], int], env: Mapping[str, str],
    fds: Sequence[int], parent: socket.socket, signals: Iterable[int],
) -> NoReturn:  # fmt: skip
    status = 1
    try:
        try:
            first()
            os.setsid()
            parent.sendall(_READY)
            parent.recv(1)  # it ends when the parent has seen to our session
            parent.close()
            shed(env, fds)
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            status = body()
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            import traceback

            traceback.print_exc()
        signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
        sys.stderr.flush()
    finally:
        # Alone here: what is raised on the way to it would run on into what the parent was doing.
        os._exit(status)


def shed(env: Mapping[str, str], fds: Sequence[int]) -> None:
    """Keep the descriptors `fds` and standard error, `env`, and the usual ways of signals."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    kept = {0, 1, 2, *fds}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(int(name))
    for signum in signal.valid_signals():
        if callable(signal.getsignal(signum)):
            usual = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, usual)
    kernel.clear_environment()
    # Not by `clear`: unsetenv(3) refuses an entry without a name, which a caller may have.
    vars(os.environ)["_data"].clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["goldsmith", "_worker", "early"]
    kernel.show_command_line(sys.argv)
