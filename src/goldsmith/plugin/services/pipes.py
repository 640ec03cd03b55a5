"""Bytes between a stream and a file, on a thread of their own, a piece at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from goldsmith.plugin.protocols import Reader, Writer
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.yamux import Stream, wait_for

PIECE: Final = 256 * 1024
"""How much is read at once: what a stream holds."""


def send_all(source: Reader, stream: Stream) -> None:
    """Send what there is and close the stream; if it cannot be read, the stream breaks."""
    try:
        while piece := source.read(PIECE):
            stream.write(piece)
    except BaseException:
        stream.reset()
        raise
    stream.close()


def receive_all(stream: Stream, target: Writer) -> None:
    """Write what comes until the end, and close the stream."""
    with stream:
        while piece := stream.read(PIECE):
            target.write(piece)


class Pipe:
    """A stream that the other side will dial, and what is done with it then."""

    def __init__(self, broker: Broker, work: Callable[[Stream], None]) -> None:
        self.number = broker.next_number()
        self._broker = broker
        self._work = work
        self._changed = threading.Condition()
        self._done = False
        self._stream: Stream | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=f"pipe-{self.number}", daemon=True).start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._stream = self._broker.accept(self.number)
            self._work(self._stream)
        except BaseException as e:
            # Raised where it is waited for.
            error = e
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait for the end of the work; raises its error, and what interrupts this thread."""
        with self._changed:
            while not self._done:
                wait_for(self._changed, None, "the end of a stream")
        if self._error is not None:
            raise self._error

    def forget(self) -> None:
        """Do not wait any longer for the other side to dial, nor for what it sends."""
        self._broker.forget(self.number)
        if self._stream is not None:
            self._stream.close()
