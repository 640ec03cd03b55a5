"""Running a command over a communicator to its end, which is what most components want."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from goldsmith.plugin.protocols import Communicator, Ui

MOST_OUTPUT: Final = 1 << 20
"""In bytes, of either stream: what was written before is lost."""
LONGEST_LINE: Final = 65536


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended and the last of what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


class _Output:
    """Keeps the end of an output, and tells its lines as they come."""

    def __init__(self, tell: Callable[[str], None] | None, lock: threading.Lock) -> None:
        self.kept = bytearray()
        self._tell = tell
        self._lock = lock
        self._line = b""

    def write(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > 2 * MOST_OUTPUT:
            del self.kept[:-MOST_OUTPUT]
        if self._tell is not None:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                self._say(line)
            if len(self._line) > LONGEST_LINE:
                self.finish()

    def finish(self) -> None:
        """Tell the last line, which has no end."""
        if self._line:
            self._say(self._line)
            self._line = b""

    def _say(self, line: bytes) -> None:
        assert self._tell is not None
        with self._lock:
            self._tell(line.decode("utf-8", "replace").rstrip("\r"))


def run_command(
    communicator: Communicator, command: str, *, ui: Ui | None = None, stdin: bytes = b""
) -> CommandResult:
    """Run a shell line there and wait for its end; with `ui` the user sees each of its lines.

    Raises GoldsmithError when it cannot be run; what a status means is the caller's to say.
    """
    lock = threading.Lock()
    outputs = [_Output(ui.message if ui else None, lock) for _ in range(2)]
    given = io.BytesIO(stdin) if stdin else None
    running = communicator.start(command, stdin=given, stdout=outputs[0], stderr=outputs[1])
    status = running.wait()
    for output in outputs:
        output.finish()
    stdout, stderr = (bytes(output.kept[-MOST_OUTPUT:]) for output in outputs)
    return CommandResult(status, stdout, stderr)
