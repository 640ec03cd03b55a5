"""Recorded sessions between real hosts and real plugins, and a peer that plays one side of them.

`data/plugin-wire/NN-*.json` are recordings of Packer 1.16.0 and plugins of its own SDK, frame by
frame. The peer sends the frames of its side as they were, byte by byte, each as soon as everything
has come from us that came before it then; what we send is compared by what it says.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack

DATA = Path(__file__).parent / "data/plugin-wire"
HEADER = struct.Struct(">BBHII")
KINDS = {"data": 0, "window": 1, "ping": 2, "goaway": 3}
FLAGS = {"SYN": 1, "ACK": 2, "FIN": 4, "RST": 8}
WINDOW = 256 * 1024
PATIENCE_S = 120.0
"""How long anything may take that should come at once."""


def other(side: str) -> str:
    """The other side of the connection."""
    return "plugin" if side == "host" else "host"


@dataclass(frozen=True)
class Message:
    """A call or an answer; `at` is the place in the recording of the frame that completes it."""

    at: int
    sender: str
    stream: int
    is_reply: bool
    method: str
    number: int
    error: str
    body: Any

    @property
    def key(self) -> tuple[int, bool, int]:
        """What identifies it among the messages of its sender."""
        return self.stream, self.is_reply, self.number


class MessageReader:
    """Takes messages out of the bytes of one direction of a stream."""

    def __init__(self, sender: str, stream: int) -> None:
        self.sender, self.stream = sender, stream
        self._values: list[Any] = []
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, max_buffer_size=0, unicode_errors="surrogateescape"
        )

    def feed(self, data: bytes, at: int) -> Iterator[Message]:
        """The messages that these bytes complete."""
        self._unpacker.feed(data)
        for value in self._unpacker:
            self._values.append(value)
            if len(self._values) == 2:
                header, body = self._values
                self._values = []
                yield Message(
                    at, self.sender, self.stream, "Error" in header, header["ServiceMethod"],
                    header["Seq"], header.get("Error", ""), body,
                )  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """A frame of the recording, or an end of the connection (`kind` "eof")."""

    at: int
    sender: str
    stream: int
    kind: str
    flags: frozenset[str]
    length: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Its bytes, as they were."""
        flags = sum(FLAGS[name] for name in self.flags)
        return HEADER.pack(0, KINDS[self.kind], flags, self.stream, self.length) + self.payload


def payload(frame: dict[str, Any]) -> bytes:
    """The bytes of a recorded data frame."""
    if "payload_run" in frame:
        byte, count = frame["payload_run"]
        return bytes([byte]) * count
    return base64.b64decode(frame.get("payload", ""))


class Recording:
    """One recorded session."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.content = json.loads(path.read_text())
        self.argv: list[str] = self.content["start"]["argv"]
        self.streams: dict[int, dict[str, Any]] = {
            int(number): about for number, about in self.content["streams"].items()
        }

    @property
    def protobuf(self) -> bool:
        """Whether the host asked for protobuf."""
        return "--protobuf" in self.argv

    @cached_property
    def kind(self) -> str:
        """What the plugin serves, as `serve_component` names it."""
        names = {"Builder": "builder", "Provisioner": "provisioner",
                 "PostProcessor": "post-processor", "Datasource": "datasource"}  # fmt: skip
        services = [m.method.partition(".")[0] for m in self.messages if m.stream == 1]
        return next(names[service] for service in services if service in names)

    @cached_property
    def frames(self) -> list[Frame]:
        """Every frame in order of its arrival."""
        found = []
        for frame in self.content["frames"]:
            if "event" not in frame:
                found.append(Frame(
                    frame["t_order"], frame["direction"].partition(">")[0], frame["stream"],
                    frame["type"], frozenset(frame["flags"]), frame["length"], payload(frame),
                ))  # fmt: skip
        return found

    @cached_property
    def messages(self) -> list[Message]:
        """Every call and every answer in order."""
        readers: dict[tuple[str, int], MessageReader] = {}
        begun: dict[tuple[str, int], int] = defaultdict(int)
        found: list[Message] = []
        for frame in self.frames:
            if frame.kind != "data" or not self.is_rpc(frame.stream):
                continue
            key = (frame.sender, frame.stream)
            skipped = min(4 - begun[key], len(frame.payload))
            begun[key] += skipped
            reader = readers.setdefault(key, MessageReader(*key))
            found += reader.feed(frame.payload[skipped:], frame.at)
        return found

    def is_rpc(self, stream: int) -> bool:
        """Whether a stream carries calls; one without calls may carry anything."""
        return self.streams[stream]["kind"] == "rpc"

    def stream_of(self, served_by: str, number: int) -> int | None:
        """The stream on which a number of one side was dialled by the other one."""
        for stream, about in self.streams.items():
            if about["broker_id"] == number and about["opened_by"] == other(served_by):
                return stream
        return None

    def raw(self, sender: str, stream: int | None) -> bytes:
        """What one side sent on a stream of bytes."""
        parts = [f.payload for f in self.frames
                 if f.kind == "data" and f.sender == sender and f.stream == stream]  # fmt: skip
        return b"".join(parts)[4:]

    def calls(self, sender: str, stream: int | None) -> list[Message]:
        """The calls of one side on a stream."""
        return [m for m in self.messages
                if m.sender == sender and m.stream == stream and not m.is_reply]  # fmt: skip

    def reply(self, call: Message) -> Message | None:
        """The answer to a call, if there was one."""
        for message in self.messages:
            if message.sender != call.sender and message.key == (call.stream, True, call.number):
                return message
        return None


def recordings() -> list[Path]:
    """The files of all recordings."""
    return sorted(DATA.glob("[0-9]*.json"))


@dataclass
class _Received:
    """What has come on one stream from us."""

    total: int = 0
    head: bytes = b""
    reader: MessageReader | None = None
    window: int = WINDOW


@dataclass
class Peer:
    """Plays the recorded `side` over a socket; `heard` gets each of our messages."""

    recording: Recording
    side: str
    connection: socket.socket
    heard: dict[tuple[int, bool, int], Message] = field(default_factory=dict)
    sent: int = -1
    """The place of the last frame that was sent."""
    failure: str = ""

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self._streams: dict[int, _Received] = defaultdict(_Received)
        self._closed = False
        self.waits_for = "nothing"
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True)
                         for work in (self._receive, self._play)]  # fmt: skip

    def start(self) -> None:
        """Begin to play."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end of the recording, and end the connection."""
        self._threads[1].join(PATIENCE_S)
        if self._threads[1].is_alive():
            self.failure = self.failure or f"the peer still waits for {self.waits_for}"
        self.close()
        self._threads[0].join(PATIENCE_S)
        assert not self.failure, self.failure

    def close(self) -> None:
        """End the connection, as the recorded side has done at last."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait_sent(self, before: int) -> None:
        """Wait until everything is sent that this side sent before a place."""
        last = max((f.at for f in self.recording.frames
                    if f.sender == self.side and f.at < before), default=-1)  # fmt: skip
        self.wait(lambda: self.sent >= last, f"the peer to come to {last}")

    def wait(self, is_true: Callable[[], bool], what: str) -> None:
        """Wait until something is true."""
        end_s = time.monotonic() + PATIENCE_S
        self.waits_for = what
        with self.changed:
            while not is_true():
                left_s = end_s - time.monotonic()
                if self.failure or left_s <= 0 or self._closed:
                    text = f"{self.recording.name}: waited for {what}"
                    self.failure = self.failure or text
                    raise AssertionError(text)
                self.changed.wait(min(left_s, 1.0))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as e:
            with self.changed:
                self.failure = self.failure or f"{type(e).__name__}: {e}"
                self.changed.notify_all()

    def _receive(self) -> None:
        source = self.connection.makefile("rb")
        with source:
            while len(head := _read(source, HEADER.size)) == HEADER.size:
                version, kind, flags, stream, length = HEADER.unpack(head)
                assert version == 0
                data = _read(source, length) if kind == KINDS["data"] else b""
                with self.changed:
                    if not self._closed:  # who has gone hears no more
                        self._take(kind, flags, stream, length, data)
                    self.changed.notify_all()
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def _take(self, kind: int, flags: int, stream: int, length: int, data: bytes) -> None:
        received = self._streams[stream]
        if kind == KINDS["goaway"]:
            self.failure = f"we ended the session with code {length}"
        if flags & FLAGS["RST"]:
            self.failure = f"we reset stream {stream}"
        if kind == KINDS["window"]:
            received.window += length
        received.total += len(data)
        begin = min(4 - len(received.head), len(data))
        received.head += data[:begin]
        about = self.recording.streams.get(stream)
        if about is not None and about["kind"] == "rpc":
            us = other(self.side)
            received.reader = received.reader or MessageReader(us, stream)
            for message in received.reader.feed(data[begin:], -1):
                self.heard[message.key] = message

    def _play(self) -> None:
        expected: dict[int, int] = defaultdict(int)
        messages = {m.at: m for m in self.recording.messages}
        needed: list[Callable[[], bool]] = []
        for frame in self.recording.frames:
            if frame.sender == self.side:
                for condition in needed:
                    self.wait(condition, f"what came before frame {frame.at}")
                needed = []
                self._send(frame)
            elif frame.kind == "data" and not self.recording.is_rpc(frame.stream):
                expected[frame.stream] += len(frame.payload)
                needed.append(self._has_bytes(frame.stream, expected[frame.stream]))
            elif frame.kind == "data" and frame.at not in messages:
                needed.append(self._has_bytes(frame.stream, 4))
            elif frame.kind == "data":
                needed += [self._has_heard(m) for m in self.recording.messages if m.at == frame.at]
        for condition in needed:
            self.wait(condition, "the last that came from us")

    def _has_bytes(self, stream: int, count: int) -> Callable[[], bool]:
        return lambda: self._streams[stream].total >= min(count, self._least(stream, count))

    def _least(self, stream: int, count: int) -> int:
        # The end of a command may be told in fewer bytes.
        return 4 if self.recording.streams[stream]["kind"] == "gob" else count

    def _has_heard(self, message: Message) -> Callable[[], bool]:
        return lambda: message.key in self.heard

    def _send(self, frame: Frame) -> None:
        if frame.kind == "data":
            with self.changed:
                received = self._streams[frame.stream]
            self.wait(lambda: received.window >= frame.length, "room in our window")
            with self.changed:
                received.window -= frame.length
        self.connection.sendall(frame.encode())
        with self.changed:
            self.sent = frame.at
            self.changed.notify_all()


def _read(source: Any, size: int) -> bytes:
    try:
        data: bytes = source.read(size)
    except (OSError, ValueError):
        return b""
    return data
