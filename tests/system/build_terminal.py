"""A build at a terminal of its own, where a test types and reads as a user does."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 120.0


class Terminal:
    """The user's side of a terminal with a program on the other."""

    def __init__(self, master: int, running: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.running = running
        self.shown = ""
        self._seen = 0

    def read_to(self, text: str, limit_s: float = WAIT_S) -> None:
        """Read until a text is shown that was not waited for before."""
        deadline_s = time.monotonic() + limit_s
        while (at := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < deadline_s, f"{text!r} never came:\n{self.shown}"
            assert self._read(1.0), f"it ended without {text!r}:\n{self.shown}"
        self._seen = at + len(text)

    def type(self, text: str) -> None:
        """Type a text; "\\x03" is Ctrl-C, "\\r" is Enter."""
        os.write(self.master, text.encode())

    def end(self, limit_s: float = WAIT_S) -> int:
        """Read to the program's end; returns its status."""
        deadline_s = time.monotonic() + limit_s
        while self._read(1.0):
            assert time.monotonic() < deadline_s, f"it does not end:\n{self.shown}"
        return self.running.wait(limit_s)

    def _read(self, limit_s: float) -> bool:
        """Read what is there within a time; False when the other side is closed."""
        if not select.select([self.master], [], [], limit_s)[0]:
            return True
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def build_at_a_terminal(
    directory: Path, state: Path, *flags: str, template: str = "t.pkr.hcl", live: bool = False
) -> Iterator[Terminal]:
    """Build in a directory, in the foreground of a new terminal; killed at the end.

    Without `live` the terminal is one that can only write lines.
    """
    master, slave = os.openpty()
    environment = {
        **{name: text for name, text in os.environ.items() if name not in ("CI", "NO_COLOR")},
        "GOLDSMITH_CACHE_DIR": str(state), "TERM": "xterm" if live else "dumb",
    }  # fmt: skip
    argv = ["setsid", "--ctty", sys.executable, "-P", "-m", "goldsmith", "build", *flags, template]
    try:
        running = subprocess.Popen(
            argv, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
    finally:
        os.close(slave)
    try:
        yield Terminal(master, running)
    finally:
        running.kill()
        running.wait()
        with contextlib.suppress(OSError):
            os.close(master)
