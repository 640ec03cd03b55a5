"""Handing on what a program writes until the program itself has ended.

A daemon that it left behind may hold its output open for ever, and is not waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.protocols import Writer

_PIECE_BYTES: Final = 256 << 10
_LOOK_MS: Final = 50
_MOST_LAST_READS: Final = 16
"""More than a pipe holds, and an end to whatever else writes."""


class Drain:
    """Reads a pipe on a thread of its own, and closes it; where nobody reads on, it closes early.

    `source` is the end that is read from; nobody else may use it any more.
    """

    def __init__(self, source: int, writer: Writer | None) -> None:
        self._source = source
        self._writer = writer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plugin-output", daemon=True)
        os.set_blocking(source, False)
        self._thread.start()

    def end(self) -> None:
        """The program has ended: what the pipe holds is the last."""
        self._ended.set()

    def join(self) -> None:
        """Wait, after `end`, until that was handed on."""
        self._thread.join()

    def _run(self) -> None:
        # Whoever was to read the output has gone: the program hears it by its closed pipe.
        with open(self._source, "rb", buffering=0), contextlib.suppress(GoldsmithError, OSError):
            poll = select.poll()
            poll.register(self._source, select.POLLIN)
            while not self._ended.is_set():
                if poll.poll(_LOOK_MS) and not self._hand_on():
                    return
            for _ in range(_MOST_LAST_READS):
                if not self._hand_on():
                    return

    def _hand_on(self) -> bool:
        """Hand one piece on; False at the end of the stream, or when there is nothing now."""
        try:
            data = os.read(self._source, _PIECE_BYTES)
        except BlockingIOError:
            return False
        if data and self._writer is not None:
            self._writer.write(data)
        return bool(data)
