"""What a plugin's process writes: one line by which it is reached, and its log."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from goldsmith.host import cancellation
from goldsmith.host.process import LineCutter, Running
from goldsmith.plugin.wire.handshake import LONGEST_LINE

TAIL_LINES: Final = 12
_READ_BYTES: Final = 1 << 16
_MOST_LAST_READS: Final = 16
_POLL_S: Final = 0.2


class NoHandshake(Exception):
    """The plugin has not told how it is reached; the text says what it did instead."""


def read_handshake(running: Running, timeout_s: float) -> str:
    """The first line of standard output, without its newline; raises NoHandshake.

    Interrupts of the calling thread are heard. What stands after the line is lost: it is noise.
    """
    pipe = running.popen.stdout
    assert pipe is not None
    fd = pipe.fileno()
    os.set_blocking(fd, False)
    scope = cancellation.current()
    deadline_s = time.monotonic() + timeout_s
    text = bytearray()
    poll = select.poll()
    for watched in (fd, running.pidfd):
        poll.register(watched, select.POLLIN)
    while b"\n" not in text:
        if scope is not None:
            scope.check()
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            told = f"; it has printed {bytes(text[:80])!r}" if text else ""
            raise NoHandshake(f"has not told its address within {timeout_s:g} s{told}")
        ready = {watched for watched, _ in poll.poll(min(left_s, _POLL_S) * 1000)}
        data = b""
        if fd in ready:
            with contextlib.suppress(BlockingIOError):
                data = os.read(fd, _READ_BYTES)
                text += data
        if not data and running.pidfd in ready:
            status = running.popen.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise NoHandshake(f"exited ({how}) before it could be connected to")
        if not data and fd in ready:
            poll.unregister(fd)  # closed without a line: it may still exit and say why
        if len(text) > LONGEST_LINE and b"\n" not in text[:LONGEST_LINE]:
            raise NoHandshake(f"has printed no address but {bytes(text[:80])!r}…")
    return bytes(text[: text.index(b"\n")]).decode("utf-8", "replace")


class Log:
    """Reads a plugin's standard error line by line, and throws its standard output away.

    A plugin must never wait for us to read. `tail` has the last lines for errors.
    """

    def __init__(self, running: Running, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lines = LineCutter("stderr", self.tail, lambda stream, line: on_line(line))
        popen = running.popen
        assert popen.stdout is not None and popen.stderr is not None
        self._stdout, self._stderr = popen.stdout.fileno(), popen.stderr.fileno()
        self._ended, self._ended_writer = os.pipe()
        self._reads_stdout = False
        self._thread = threading.Thread(target=self._run, name="plugin-log", daemon=True)
        os.set_blocking(self._stderr, False)
        self._thread.start()

    def take_stdout(self) -> None:
        """Read standard output too, from now on."""
        os.set_blocking(self._stdout, False)
        self._reads_stdout = True
        os.write(self._ended_writer, b"o")

    def finish(self) -> None:
        """Take what is left now that the process has ended, and stop."""
        os.write(self._ended_writer, b"e")
        self._thread.join()
        for fd in (self._ended, self._ended_writer):
            os.close(fd)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        poll.register(self._stderr, select.POLLIN)
        ended = False
        while not ended:
            for fd, _ in poll.poll():
                if fd == self._ended:
                    told = os.read(self._ended, 16)
                    ended = b"e" in told
                    if b"o" in told:
                        poll.register(self._stdout, select.POLLIN)
                elif not self._take(fd):
                    poll.unregister(fd)
        # Whoever inherited the pipe and lives on must not be waited for, however much it writes.
        for _ in range(_MOST_LAST_READS):
            if not self._take(self._stderr, until_dry=True):
                break
        self._lines.feed(b"", final=True)

    def _take(self, fd: int, *, until_dry: bool = False) -> bool:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return not until_dry
        if data and fd == self._stderr:
            self._lines.feed(data)
        return bool(data)
