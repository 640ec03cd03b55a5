"""Numbered streams: one side serves a number and tells it, the other side dials it.

Whoever dials a number that nobody serves would wait for ever, so a stream that nobody claims within
`CLAIM_S` is closed. Each side counts its own numbers; 0 is the main stream of a connection.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Mapping
from typing import Final

from goldsmith.plugin.wire.errors import ConnectionLost, ProtocolError, TimedOut, WireError
from goldsmith.plugin.wire.rpc import Log, RpcClient, RpcServer, Service
from goldsmith.plugin.wire.yamux import Session, Stream, again, deadline, wait_for

MAIN: Final = 0
CLAIM_S: Final = 5.0
DIAL_TIMEOUT_S: Final = 30.0
ACCEPT_TIMEOUT_S: Final = 60.0
"""How long a number is served to which nobody has connected."""

_NUMBER = struct.Struct("<I")


class Served:
    """Services under a number that the other side may dial once, until it is closed."""

    def __init__(self, broker: Broker, services: Mapping[str, Service]) -> None:
        self.number = broker.next_number()
        self._broker = broker
        self._services = services
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._closed = False
        threading.Thread(target=self._serve, name=f"serve-{self.number}", daemon=True).start()

    def _serve(self) -> None:
        # A broken stream concerns whoever called over it.
        with contextlib.suppress(WireError):
            stream = self._broker.accept(self.number, ACCEPT_TIMEOUT_S)
            with self._lock:
                self._stream = stream
                closed = self._closed
            with stream:
                if not closed:
                    RpcServer(stream, self._services, self._broker.log).serve()

    def close(self) -> None:
        """Serve no more."""
        self._broker.forget(self.number)
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Broker:
    """Gives numbers to the streams of a session."""

    def __init__(self, session: Session, log: Log) -> None:
        self.session = session
        self.log = log
        self._changed = threading.Condition()
        self._last_number = 0
        self._arrived: dict[int, Stream] = {}
        self._awaited = {MAIN}
        threading.Thread(target=self._take, name="broker", daemon=True).start()

    def next_number(self) -> int:
        """A number that this side has not used yet."""
        with self._changed:
            self._last_number += 1
            self._awaited.add(self._last_number)
            return self._last_number

    def dial(self, number: int, timeout_s: float = DIAL_TIMEOUT_S) -> Stream:
        """Connect to what the other side serves under a number.

        Raises ConnectionLost when it serves nothing there, and TimedOut.
        """
        stream = self.session.open()
        try:
            stream.write(_NUMBER.pack(number))
            echo = _NUMBER.unpack(stream.read_exactly(_NUMBER.size, timeout_s))[0]
            if echo != number:
                raise ProtocolError(f"stream {number} was asked for, and {echo} answered")
        except BaseException:
            stream.close()
            raise
        return stream

    def dial_rpc(self, number: int, timeout_s: float = DIAL_TIMEOUT_S) -> RpcClient:
        """Connect to services of the other side; raises as `dial` does."""
        return RpcClient(self.dial(number, timeout_s))

    def accept(self, number: int, timeout_s: float = ACCEPT_TIMEOUT_S) -> Stream:
        """Wait for the other side to dial a number of ours.

        It can be done once. Raises TimedOut, and ConnectionLost when the session ends or the number
        is forgotten.
        """
        end_s = deadline(timeout_s)
        with self._changed:
            try:
                while number not in self._arrived:
                    if number not in self._awaited:
                        raise ConnectionLost("the stream is closed")
                    if (error := self.session.error) is not None:
                        raise again(error)
                    wait_for(self._changed, end_s, f"a connection to stream {number}")
            finally:
                self._awaited.discard(number)
            stream = self._arrived.pop(number)
            self._changed.notify_all()
        stream.write(_NUMBER.pack(number))
        return stream

    def serve(self, services: Mapping[str, Service]) -> Served:
        """Serve services under a new number; to be closed."""
        return Served(self, services)

    def forget(self, number: int) -> None:
        """Wake whoever still waits for the other side to dial a number."""
        with self._changed:
            self._awaited.discard(number)
            self._changed.notify_all()

    def _take(self) -> None:
        with contextlib.suppress(WireError):
            while True:
                stream = self.session.accept()
                threading.Thread(
                    target=self._identify, args=(stream,), name="broker-claim", daemon=True
                ).start()
        with self._changed:
            self._changed.notify_all()

    def _identify(self, stream: Stream) -> None:
        """Learn the number of a stream, and keep it until it is claimed."""
        try:
            number = _NUMBER.unpack(stream.read_exactly(_NUMBER.size, CLAIM_S))[0]
            with self._changed:
                if number in self._arrived:
                    raise ProtocolError(f"stream {number} was dialled twice")
                self._arrived[number] = stream
                self._changed.notify_all()
                end_s = deadline(CLAIM_S)
                try:
                    while self._arrived.get(number) is stream:
                        wait_for(self._changed, end_s, "a claim")
                except TimedOut:
                    del self._arrived[number]
                    raise
        except WireError:
            stream.close()
