"""Many streams over one connection (yamux, version 0), for threads that block.

One thread per session reads; it never writes and never waits for a reader of a stream, so two
sessions cannot wait for each other. What it has to answer is written by a second thread. A stream
holds at most its window of unread data, a session at most `MOST_STREAMS` streams of the peer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from typing import Final

from goldsmith.host import cancellation
from goldsmith.plugin.wire.errors import ConnectionLost, ProtocolError, TimedOut, WireError
from goldsmith.plugin.wire.yamux_frames import (
    HEADER_SIZE,
    INITIAL_WINDOW,
    Flags,
    GoAway,
    Header,
    Kind,
    decode_header,
)

MOST_STREAMS: Final = 256
"""How many streams of the peer may be open at once; further ones are refused."""
MOST_ANSWERS: Final = 1024
"""How many answers may wait for a peer that asks and does not read."""
WRITE_TIMEOUT_S: Final = 30
"""A peer that takes nothing from the connection for so long is taken for dead."""
KEEPALIVE_S: Final = 30.0
"""How often a host asks whether the peer lives; one that is silent for twice as long does not."""
POLL_S: Final = 0.1
"""How often a waiting thread looks whether its work was cancelled."""


def wait_for(condition: threading.Condition, deadline_s: float | None, what: str) -> None:
    """Wait a moment on a condition that is held; raises TimedOut, and what cancels this thread."""
    cancellation.check_cancelled()
    left_s = None if deadline_s is None else deadline_s - time.monotonic()
    if left_s is not None and left_s <= 0:
        raise TimedOut(f"{what} did not happen in time")
    if cancellation.current() is not None:
        left_s = POLL_S if left_s is None else min(left_s, POLL_S)
    condition.wait(left_s)


def deadline(timeout_s: float | None) -> float | None:
    """When a time that begins now is over, on the monotonic clock."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def again(error: WireError) -> WireError:
    """The same error for one more of the threads that it concerns."""
    return type(error)(error.message, hint=error.hint)


class Stream:
    """One stream of a session: bytes both ways, each way closed on its own."""

    def __init__(self, session: Session, number: int) -> None:
        self.number = number
        self._session = session
        self._changed = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._credit_due = 0
        self._receive_window = INITIAL_WINDOW
        self._send_window = INITIAL_WINDOW
        self._read_end = False
        self._write_end = False
        self._dropped = False
        self._error: WireError | None = None

    def read(self, size: int = 65536, /, timeout_s: float | None = None) -> bytes:
        """At most `size` bytes, at least one unless the other side has closed its end (b"").

        Raises ConnectionLost when the session ends first, and TimedOut.
        """
        end_s = deadline(timeout_s)
        with self._changed:
            while not self._chunks:
                if self._read_end or self._dropped:
                    return b""
                if self._error is not None:
                    raise again(self._error)
                wait_for(self._changed, end_s, "an answer")
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            credit = self._credit(len(chunk))
        if credit:
            self._send_credit(credit)
        return bytes(chunk)

    def _credit(self, count: int) -> int:
        """What to give back to the sender now: at least half a window at once."""
        self._credit_due += count
        if self._read_end or self._error is not None or self._credit_due < INITIAL_WINDOW // 2:
            return 0
        credit, self._credit_due = self._credit_due, 0
        self._receive_window += credit
        return credit

    def _send_credit(self, credit: int) -> None:
        # What was read is there, whether or not the session lives on.
        with contextlib.suppress(WireError):
            self._session.send(Header(Kind.WINDOW, Flags.NONE, self.number, credit))

    def read_exactly(self, size: int, timeout_s: float | None = None) -> bytes:
        """So many bytes; raises ConnectionLost when the stream ends before them."""
        end_s = deadline(timeout_s)
        parts = bytearray()
        while len(parts) < size:
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            part = self.read(size - len(parts), left_s)
            if not part:
                raise ConnectionLost("unexpected EOF")
            parts += part
        return bytes(parts)

    def write(self, data: bytes | memoryview, /) -> int:
        """Send all of it, waiting for the other side to read; returns how much that is.

        Raises ConnectionLost when the session, or this end of the stream, is closed.
        """
        view = memoryview(data)
        while view:
            with self._changed:
                while self._send_window == 0 and self._error is None and not self._write_end:
                    wait_for(self._changed, None, "a write")
                if self._error is not None:
                    raise again(self._error)
                if self._write_end:
                    raise ConnectionLost("the stream is closed")
                count = min(self._send_window, len(view))
                self._send_window -= count
            self._session.send(Header(Kind.DATA, Flags.NONE, self.number, count), view[:count])
            view = view[count:]
        return len(data)

    def close_write(self) -> None:
        """Tell the other side that nothing more comes; it may still send."""
        with self._changed:
            if self._write_end:
                return
            self._write_end = True
            self._changed.notify_all()
            ended = self._error is not None
        if not ended:
            with contextlib.suppress(WireError):
                self._session.send(Header(Kind.WINDOW, Flags.FIN, self.number, 0))
        self._session.forget_if_ended(self)

    def close(self) -> None:
        """Close this end, and throw away what still comes."""
        with self._changed:
            self._dropped = True
            self._chunks.clear()
            self._changed.notify_all()
        self.close_write()

    def reset(self) -> None:
        """Break the stream: the other side reads an error instead of an end."""
        self.fail(ConnectionLost("the stream is closed"))
        with contextlib.suppress(WireError):
            self._session.send(Header(Kind.WINDOW, Flags.RST, self.number, 0))
        self._session.forget_if_ended(self)

    @property
    def ended(self) -> bool:
        """Whether both sides have closed."""
        return (self._read_end and self._write_end) or self._error is not None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # What follows is called by the session's reading thread.

    def take(self, data: bytes) -> bool:
        """Data has come; False when nobody wants it any more."""
        with self._changed:
            if len(data) > self._receive_window:
                raise ProtocolError(f"stream {self.number} got more data than its window holds")
            self._receive_window -= len(data)
            if self._read_end:
                raise ProtocolError(f"stream {self.number} got data after its end")
            if self._dropped:
                return False
            self._chunks.append(memoryview(data))
            self._changed.notify_all()
            return True

    def take_flags(self, header: Header) -> None:
        """The window grows, or the other side closes or resets the stream."""
        with self._changed:
            if header.kind is Kind.WINDOW:
                self._send_window = min(self._send_window + header.length, 2**32 - 1)
            if Flags.FIN in header.flags:
                self._read_end = True
            if Flags.RST in header.flags:
                self._error = ConnectionLost("the other side has reset the stream")
            self._changed.notify_all()

    def fail(self, error: WireError) -> None:
        """The session is over."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()


class Session:
    """A connection that carries streams; host and plugin differ in the parity of their numbers.

    Closing it, or its failure, wakes everybody who waits for one of its streams. With `asks` it
    ends by itself when the peer does not answer any more.
    """

    def __init__(self, connection: socket.socket, *, is_client: bool, asks: bool = False) -> None:
        self._connection = connection
        # Only for sending: recv of this session waits without a limit.
        limit = struct.pack("ll", WRITE_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._input = connection.makefile("rb", buffering=65536)
        self._next_number = 1 if is_client else 2
        self._parity = self._next_number % 2
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._streams: dict[int, Stream] = {}
        self._theirs = 0
        self._incoming: deque[Stream] = deque()
        self._answers: deque[Header] = deque()
        self._error: WireError | None = None
        self._refuses = False
        self._heard = True
        work = [("read", self._read), ("answer", self._answer)]
        if asks:
            work.append(("ask", self._ask))
        self._threads = [
            threading.Thread(target=target, name=f"yamux-{name}", daemon=True)
            for name, target in work
        ]
        for thread in self._threads:
            thread.start()

    @property
    def error(self) -> WireError | None:
        """Why the session is over; None while it lives."""
        return self._error

    def open(self) -> Stream:
        """A new stream; raises ConnectionLost when the session is over."""
        with self._changed:
            if self._error is not None:
                raise again(self._error)
            if self._refuses:
                raise ConnectionLost("the other side takes no more streams")
            stream = Stream(self, self._next_number)
            self._next_number += 2
            self._streams[stream.number] = stream
        self.send(Header(Kind.WINDOW, Flags.SYN, stream.number, 0))
        return stream

    def accept(self, timeout_s: float | None = None) -> Stream:
        """The next stream that the other side has opened; raises ConnectionLost, TimedOut."""
        end_s = deadline(timeout_s)
        with self._changed:
            while not self._incoming:
                if self._error is not None:
                    raise again(self._error)
                wait_for(self._changed, end_s, "a stream of the other side")
            return self._incoming.popleft()

    def wait_closed(self, timeout_s: float | None = None) -> bool:
        """Wait until the session is over; whether it is."""
        end_s = deadline(timeout_s)
        with self._changed, contextlib.suppress(TimedOut):
            while self._error is None:
                wait_for(self._changed, end_s, "the end")
        return self._error is not None

    def send(self, header: Header, data: bytes | memoryview = b"") -> None:
        """Write a frame in one piece; raises ConnectionLost."""
        try:
            with self._writing:
                if self._error is not None:
                    raise again(self._error)
                if len(data) < 4096:
                    self._connection.sendall(header.encode() + data)
                else:
                    self._connection.sendall(header.encode())
                    self._connection.sendall(data)
        except BlockingIOError:
            self._end(TimedOut(f"the other side read nothing for {WRITE_TIMEOUT_S} s"))
            raise ConnectionLost(f"the other side read nothing for {WRITE_TIMEOUT_S} s") from None
        except OSError as e:
            # What the other side sent before it went is still to be read: reading ends the session.
            raise ConnectionLost("unexpected EOF") from e
        except WireError:
            raise
        except BaseException:
            # An interrupt may have cut the frame: whatever followed would be read as garbage.
            self._end(ConnectionLost("the connection was interrupted"))
            raise

    def forget_if_ended(self, stream: Stream) -> None:
        """Drop a stream that both sides have closed."""
        if not stream.ended:
            return
        with self._changed:
            if self._streams.pop(stream.number, None) and stream.number % 2 != self._parity:
                self._theirs -= 1

    def close(self) -> None:
        """End the session and close the connection; harmless when it is over."""
        self._end(ConnectionLost("the connection is closed"))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(WRITE_TIMEOUT_S)
        self._input.close()
        self._connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _end(self, error: WireError) -> None:
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            streams = list(self._streams.values())
            self._streams.clear()
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        for stream in streams:
            stream.fail(error)

    def _read(self) -> None:
        try:
            while True:
                header = self._input.read(HEADER_SIZE)
                if len(header) < HEADER_SIZE:
                    raise ConnectionLost("unexpected EOF")
                self._handle(decode_header(header))
        except WireError as e:
            if isinstance(e, ProtocolError):
                self._tell_protocol_error()
            self._end(e)
        except (OSError, ValueError):
            self._end(ConnectionLost("unexpected EOF"))

    def _handle(self, header: Header) -> None:
        self._heard = True
        match header.kind:
            case Kind.PING:
                if Flags.SYN in header.flags:
                    self._reply(Header(Kind.PING, Flags.ACK, 0, header.length))
            case Kind.GO_AWAY:
                if header.length != GoAway.NORMAL:
                    raise ConnectionLost(f"the other side ended it, with code {header.length}")
                self._refuses = True
            case Kind.DATA | Kind.WINDOW:
                self._handle_stream(header)

    def _handle_stream(self, header: Header) -> None:
        if header.kind is Kind.DATA and header.length > INITIAL_WINDOW:
            raise ProtocolError(f"a frame of {header.length} bytes is larger than any window")
        data = self._input.read(header.length) if header.kind is Kind.DATA else b""
        if header.kind is Kind.DATA and len(data) < header.length:
            raise ConnectionLost("unexpected EOF")
        with self._changed:
            stream = self._streams.get(header.stream)
            if Flags.SYN in header.flags:
                stream = self._take_new(header, stream)
        if stream is None:
            return  # of a stream that is over, or was refused
        if data and not stream.take(data):
            # The sender would wait for ever for somebody to read it.
            self._reply(Header(Kind.WINDOW, Flags.RST, header.stream, 0))
            stream.fail(ConnectionLost("the stream is closed"))
        stream.take_flags(header)
        self.forget_if_ended(stream)

    def _take_new(self, header: Header, known: Stream | None) -> Stream | None:
        if known is not None or header.stream == 0 or header.stream % 2 == self._parity:
            raise ProtocolError(f"the other side opened stream {header.stream}, which is not free")
        if self._theirs >= MOST_STREAMS:
            self._reply(Header(Kind.WINDOW, Flags.RST, header.stream, 0))
            return None
        stream = Stream(self, header.stream)
        self._streams[header.stream] = stream
        self._theirs += 1
        self._incoming.append(stream)
        self._reply(Header(Kind.WINDOW, Flags.ACK, header.stream, 0))
        return stream

    def _reply(self, header: Header) -> None:
        with self._changed:
            if len(self._answers) >= MOST_ANSWERS:
                raise ProtocolError("the other side asks faster than it reads the answers")
            self._answers.append(header)
            self._changed.notify_all()

    def _answer(self) -> None:
        with contextlib.suppress(WireError):
            while True:
                with self._changed:
                    while not self._answers:
                        if self._error is not None:
                            return
                        self._changed.wait()
                    header = self._answers.popleft()
                self.send(header)

    def _ask(self) -> None:
        silent_s = 0.0
        with contextlib.suppress(WireError):
            while not self.wait_closed(KEEPALIVE_S):
                silent_s = 0.0 if self._heard else silent_s + KEEPALIVE_S
                # Twice: what came while this whole process was stopped may not be read yet.
                if silent_s > KEEPALIVE_S:
                    self._end(ConnectionLost(f"the other side was silent for {silent_s:g} s"))
                    return
                self._heard = False
                self.send(Header(Kind.PING, Flags.SYN, 0, 0))

    def _tell_protocol_error(self) -> None:
        # The writer may hang in a peer that does not read; then nobody would see it anyway.
        if self._writing.acquire(timeout=1):
            try:
                with contextlib.suppress(OSError):
                    code = Header(Kind.GO_AWAY, Flags.NONE, 0, GoAway.PROTOCOL_ERROR)
                    self._connection.send(code.encode(), socket.MSG_DONTWAIT)
            finally:
                self._writing.release()
