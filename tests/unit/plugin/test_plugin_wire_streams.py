"""Streams over one connection: order, windows, ends, and peers that misbehave."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.plugin.wire import broker as broker_module
from goldsmith.plugin.wire import rpc, yamux
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.errors import (
    ConnectionLost,
    ProtocolError,
    RemoteError,
    TimedOut,
    WireError,
)
from goldsmith.plugin.wire.yamux import Session, Stream
from goldsmith.plugin.wire.yamux_frames import INITIAL_WINDOW

PATIENCE_S = 120


@pytest.fixture
def pair() -> Iterator[tuple[Session, Session]]:
    """Two sessions that are connected: client and server."""
    ours, theirs = socket.socketpair()
    with Session(ours, is_client=True) as client, Session(theirs, is_client=False) as server:
        yield client, server


@pytest.fixture
def raw() -> Iterator[tuple[Session, socket.socket]]:
    """A session of ours (the server), and the bare socket of its peer."""
    ours, theirs = socket.socketpair()
    with theirs, Session(ours, is_client=False) as session:
        yield session, theirs


def frame(kind: int, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + data


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def read_all(stream: Stream) -> bytes:
    parts = []
    while part := stream.read():
        parts.append(part)
    return b"".join(parts)


def test_many_streams_carry_much_at_once(pair):
    client, server = pair
    contents = [os.urandom(1 << 20) for _ in range(4)]

    def echo() -> None:
        for _ in contents:
            stream = server.accept(PATIENCE_S)
            in_thread(lambda stream=stream: (stream.write(read_all(stream)), stream.close_write()))

    in_thread(echo)
    streams = [client.open() for _ in contents]
    assert [stream.number for stream in streams] == [1, 3, 5, 7]

    def send(stream: Stream, content: bytes) -> None:
        stream.write(content)
        stream.close_write()

    for stream, content in zip(streams, contents, strict=True):
        in_thread(lambda stream=stream, content=content: send(stream, content))
    assert [read_all(stream) for stream in streams] == contents


def test_a_writer_waits_for_its_reader(pair):
    client, server = pair
    stream = client.open()
    written = threading.Event()
    in_thread(lambda: (stream.write(bytes(INITIAL_WINDOW + 1)), written.set()))
    other = server.accept(PATIENCE_S)
    assert other.read_exactly(INITIAL_WINDOW // 2 - 1, PATIENCE_S)
    assert not written.is_set()
    assert other.read_exactly(INITIAL_WINDOW // 2 + 2, PATIENCE_S)
    assert written.wait(PATIENCE_S)


def test_each_way_is_closed_on_its_own(pair):
    client, server = pair
    stream = client.open()
    stream.write(b"question")
    stream.close_write()
    other = server.accept(PATIENCE_S)
    assert read_all(other) == b"question"
    other.write(b"answer")
    other.close()
    assert read_all(stream) == b"answer"
    with pytest.raises(ConnectionLost, match="the stream is closed"):
        stream.write(b"more")


def test_nobody_waits_for_a_session_that_is_over(pair):
    client, server = pair
    stream = client.open()
    failed: list[str] = []

    def wait() -> None:
        try:
            stream.read()
        except ConnectionLost as e:
            failed.append(str(e))

    thread = in_thread(wait)
    server.close()
    thread.join(PATIENCE_S)
    assert failed == ["unexpected EOF"]
    assert client.wait_closed(PATIENCE_S)
    for act in (client.open, client.accept, lambda: stream.write(b"x")):
        with pytest.raises(ConnectionLost):
            act()


def test_a_stream_that_is_thrown_away_does_not_hold_its_sender(pair):
    client, server = pair
    stream = client.open()
    server.accept(PATIENCE_S).close()
    with pytest.raises(ConnectionLost, match="reset"):
        for _ in range(100):
            stream.write(bytes(INITIAL_WINDOW))


def test_waiting_has_an_end(pair):
    client, _ = pair
    with pytest.raises(TimedOut):
        client.open().read(1, timeout_s=0.01)
    with pytest.raises(TimedOut):
        client.accept(0.01)


def test_a_ping_is_answered(raw):
    _, peer = raw
    peer.sendall(frame(2, 1, 0, 77))
    assert peer.recv(12, socket.MSG_WAITALL) == frame(2, 2, 0, 77)


def test_a_peer_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(yamux, "KEEPALIVE_S", 0.05)
    ours, peer = socket.socketpair()
    with peer, Session(ours, is_client=True, asks=True) as session:
        assert session.wait_closed(PATIENCE_S)
        assert "was silent for" in str(session.error)
        assert peer.recv(12, socket.MSG_WAITALL) == frame(2, 1, 0, 0)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"HTTP/1.1 400", "no frame of yamux"), (struct.pack(">BBHII", 1, 0, 0, 1, 0), "no frame"),
        (frame(9, 0, 1, 0), "no frame"), (frame(0, 1, 1, INITIAL_WINDOW + 1), "larger than any"),
        (frame(1, 1, 2, 0), "not free"), (frame(1, 1, 1, 0) * 2, "not free"),
        (frame(0, 1, 1, INITIAL_WINDOW, bytes(INITIAL_WINDOW)) + frame(0, 0, 1, 1, b"x"),
         "more data than its window"),
        (frame(1, 5, 1, 0) + frame(0, 0, 1, 1, b"x"), "after its end"),
    ],
)  # fmt: skip
def test_garbage_ends_the_session(raw, sent, words):
    session, peer = raw
    peer.sendall(sent)
    assert session.wait_closed(PATIENCE_S)
    assert isinstance(session.error, ProtocolError)
    assert words in str(session.error)


def test_a_peer_that_ends_with_an_error_is_understood(raw):
    session, peer = raw
    peer.sendall(frame(3, 0, 0, 2))
    assert session.wait_closed(PATIENCE_S)
    assert "ended it, with code 2" in str(session.error)


def test_a_peer_opens_so_many_streams_only(raw):
    session, peer = raw
    for number in range(yamux.MOST_STREAMS):
        peer.sendall(frame(1, 1, 2 * number + 1, 0))
        assert peer.recv(12, socket.MSG_WAITALL) == frame(1, 2, 2 * number + 1, 0)
    peer.sendall(frame(1, 1, 9999, 0))
    assert peer.recv(12, socket.MSG_WAITALL) == frame(1, 8, 9999, 0)
    assert session.error is None


def test_a_peer_that_asks_and_does_not_read_is_cut_off(raw):
    session, peer = raw
    with contextlib.suppress(OSError):
        while not session.wait_closed(0):
            peer.sendall(frame(2, 1, 0, 1) * 1000)
    assert session.wait_closed(PATIENCE_S)
    assert "asks faster" in str(session.error)


def test_a_peer_that_reads_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(yamux, "WRITE_TIMEOUT_S", 1)
    ours, theirs = socket.socketpair()
    with theirs, Session(ours, is_client=True) as session:
        # Room for far more than the buffers of the socket hold.
        stream = session.open()
        theirs.sendall(frame(1, 2, 1, 1 << 30))
        with pytest.raises(ConnectionLost, match="read nothing"):
            stream.write(bytes(16 << 20))
        assert session.error is not None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_hang_or_break_a_session(garbage, begins_well):
    ours, theirs = socket.socketpair()
    begin = frame(1, 1, 1, 0) + frame(0, 0, 1, 4, bytes(4)) if begins_well else b""
    with Session(ours, is_client=False) as session:
        broker = Broker(session, lambda line: None)
        with theirs:
            theirs.sendall(begin + garbage)
            theirs.shutdown(socket.SHUT_WR)
            assert session.wait_closed(PATIENCE_S)
        with contextlib.suppress(WireError):
            rpc.RpcServer(broker.accept(0, 5), {}, lambda line: None).serve()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15), st.integers(0, 5),
                          st.integers(0, 300)), max_size=20))  # fmt: skip
def test_no_frames_hang_or_break_a_session(frames):
    ours, theirs = socket.socketpair()
    with Session(ours, is_client=False) as session, theirs:
        with contextlib.suppress(OSError):
            for kind, flags, stream, length in frames:
                theirs.sendall(frame(kind, flags, stream, length, bytes(length * (kind == 0))))
            theirs.shutdown(socket.SHUT_WR)
        assert session.wait_closed(PATIENCE_S)


@pytest.fixture
def brokers(pair) -> tuple[Broker, Broker]:
    """Brokers of both ends."""
    client, server = (Broker(session, lambda line: None) for session in pair)
    return client, server


def test_services_are_called_under_a_number(brokers):
    host, plugin = brokers
    begun, release = threading.Event(), threading.Event()

    def slow(argument: object) -> object:
        begun.set()
        assert release.wait(PATIENCE_S)
        return argument

    def fail(argument: object) -> None:
        raise WireError("it failed")

    services = {
        "A.b": {
            "Slow": slow,
            "Quick": lambda argument: [argument],
            "Fail": fail,
            "Defect": lambda argument: 1 // 0,
            "Unsendable": lambda _: object(),
        }
    }
    with plugin.serve(services) as served:
        client = host.dial_rpc(served.number)
        waiting = client.start("A.b.Slow", {"k": b"\0"})
        assert begun.wait(PATIENCE_S)
        assert client.call("A.b.Quick", "té\udcff", PATIENCE_S) == ["té\udcff"]
        for method, words in (
            ("A.b.Fail", "^it failed$"), ("A.b.Defect", "ZeroDivisionError"),
            ("A.b.Unsendable", "a object cannot be sent"),
            ("A.b.Nope", r"can't find method A\.b\.Nope"), ("Nope", "can't find service Nope"),
        ):  # fmt: skip
            with pytest.raises(RemoteError, match=words):
                client.call(method, None, PATIENCE_S)
        with pytest.raises(TimedOut):
            waiting.wait(0.01)
        release.set()
        assert waiting.wait(PATIENCE_S) == {"k": b"\0"}
        with pytest.raises(WireError, match="cannot be sent"):
            client.call("A.b.Quick", object())
    with pytest.raises(ConnectionLost):
        client.call("A.b.Quick", 1, PATIENCE_S)


def test_a_number_that_nobody_serves_is_refused_soon(brokers, monkeypatch):
    monkeypatch.setattr(broker_module, "CLAIM_S", 0.05)
    host, _ = brokers
    with pytest.raises(ConnectionLost, match="unexpected EOF"):
        host.dial(99, PATIENCE_S)


def test_a_number_is_not_waited_for_for_ever(brokers):
    host, _ = brokers
    with pytest.raises(TimedOut):
        host.accept(host.next_number(), 0.01)
    number = host.next_number()
    host.forget(number)
    with pytest.raises(ConnectionLost):
        host.accept(number)


@pytest.mark.parametrize(
    "sent",
    [b"\xc1", b"\x01\x01", b"\x80\x80", b"\x82", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
     b"\x91" * 3000, b"\x81\x90\x01", b"\xd5\xff\x00\x00"],
)  # fmt: skip
def test_calls_that_are_none_end_the_stream(brokers, sent):
    host, plugin = brokers
    with plugin.serve({}) as served:
        stream = host.dial(served.number, PATIENCE_S)
        stream.write(sent)
        stream.close_write()
        with contextlib.suppress(ConnectionLost):
            while stream.read(timeout_s=PATIENCE_S):
                pass
    assert plugin.session.error is None


@pytest.mark.parametrize(
    "sent", [b"\x01\x01", b"\x81\xa3Seq\xc0\x80", b"\x81\xa3Seq\x07\xc0", b"\xc1"]
)
def test_answers_that_are_none_end_the_calls(brokers, sent):
    host, plugin = brokers

    def answer() -> None:
        plugin.accept(1).write(sent)

    plugin.next_number()
    in_thread(answer)
    client = host.dial_rpc(1)
    with pytest.raises(WireError):
        client.call("A.B", None, PATIENCE_S)
