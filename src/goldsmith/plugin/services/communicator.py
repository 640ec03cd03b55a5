"""Communicators over the wire: commands and files as streams of bytes beside the calls."""

from __future__ import annotations

import stat
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final

import msgpack

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.protocols import Communicator, FileInfo, Reader, RunningCommand, Writer
from goldsmith.plugin.services.command_status import (
    DISCONNECTED,
    LARGEST,
    UNREADABLE,
    decode_status,
    encode_status,
)
from goldsmith.plugin.services.pipes import Pipe, receive_all, send_all
from goldsmith.plugin.services.shapes import list_or_nil, number, record, text, texts
from goldsmith.plugin.wire.broker import Broker
from goldsmith.plugin.wire.errors import ConnectionLost, WireError
from goldsmith.plugin.wire.rpc import RpcClient, Service
from goldsmith.plugin.wire.yamux import Stream

_GO_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}
"""Where Go's file modes have what Unix has above the permissions."""


class _Status:
    """The end of a command, when it has been told."""

    def __init__(self) -> None:
        self.status = UNREADABLE

    def receive(self, stream: Stream) -> None:
        """Read until it is told; the other side need not close the stream then."""
        told = bytearray()
        with stream:
            while len(told) < LARGEST and (piece := stream.read(LARGEST)):
                told += piece
                status = decode_status(bytes(told))
                if status is not None:
                    self.status = status
                    return


class _RemoteCommand:
    """A command that runs on the other side."""

    def __init__(self, outputs: Sequence[Pipe], response: Pipe, status: _Status) -> None:
        self._outputs = outputs
        self._response = response
        self._status = status

    def wait(self) -> int:
        """Wait until it has ended and its output was written; raises WireError."""
        for pipe in self._outputs:
            pipe.wait()
        self._response.wait()
        return self._status.status


class CommunicatorClient:
    """The communicator of the other side."""

    def __init__(self, rpc: RpcClient, broker: Broker) -> None:
        self._rpc = rpc
        self._broker = broker

    def start(
        self,
        command: str,
        *,
        stdin: Reader | None = None,
        stdout: Writer | None = None,
        stderr: Writer | None = None,
    ) -> RunningCommand:
        """Start a shell line there; raises WireError."""
        status = _Status()
        given = None if stdin is None else self._pipe(partial(send_all, stdin))
        outputs = [
            None if target is None else self._pipe(partial(receive_all, target=target))
            for target in (stdout, stderr)
        ]
        response = self._pipe(status.receive)
        pipes = [given, *outputs, response]
        names = ("StdinStreamId", "StdoutStreamId", "StderrStreamId", "ResponseStreamId")
        numbers = {
            name: 0 if pipe is None else pipe.number
            for name, pipe in zip(names, pipes, strict=True)
        }
        self._call_with(pipes, "Start", {"Command": command, **numbers})
        return _RemoteCommand([pipe for pipe in outputs if pipe], response, status)

    def upload(self, path: str, content: Reader, info: FileInfo | None = None) -> None:
        """Write a file there; raises WireError."""
        pipe = self._pipe(partial(send_all, content))
        about = None if info is None else encode_info(info)
        argument = {"Path": path, "ReaderStreamId": pipe.number, "FileInfo": about}
        self._call_with([pipe], "Upload", argument)
        # The other side may be content before it has read everything.
        with suppress(ConnectionLost):
            pipe.wait()

    def download(self, path: str, to: Writer) -> None:
        """Read a file from there; raises WireError."""
        pipe = self._pipe(partial(receive_all, target=to))
        self._call_with([pipe], "Download", {"Path": path, "WriterStreamId": pipe.number})
        pipe.wait()

    def upload_directory(self, destination: str, source: str, exclude: Sequence[str] = ()) -> None:
        """Copy a directory of this host there; raises WireError."""
        self._copy("UploadDir", destination, source, exclude)

    def download_directory(
        self, source: str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory from there to this host; raises WireError."""
        self._copy("DownloadDir", destination, source, exclude)

    def _copy(self, method: str, destination: str, source: str, exclude: Sequence[str]) -> None:
        argument = {"Dst": destination, "Src": source, "Exclude": list_or_nil(exclude)}
        self._rpc.call(f"Communicator.{method}", argument)

    def _pipe(self, work: Any) -> Pipe:
        return Pipe(self._broker, work)

    def _call_with(self, pipes: Sequence[Pipe | None], method: str, argument: Any) -> None:
        try:
            self._rpc.call(f"Communicator.{method}", argument)
        except BaseException:
            for pipe in pipes:
                if pipe is not None:
                    pipe.forget()
            raise


def encode_info(info: FileInfo) -> dict[str, Any]:
    """What is known of a file, as Go has it."""
    mode = info.mode & 0o777
    for bit, go_bit in _GO_BITS.items():
        mode |= go_bit if info.mode & bit else 0
    at = info.modified_ns
    modified = None if at is None else msgpack.Timestamp(at // 10**9, at % 10**9)
    return {"N": info.name, "S": info.size, "M": mode, "T": modified}


def decode_info(content: Any) -> FileInfo | None:
    """Read what is known of a file; None where nothing is. Raises WireError."""
    if content is None:
        return None
    fields = record(content)
    go_mode, at = number(fields.get("M")), fields.get("T")
    mode = go_mode & 0o777
    for bit, go_bit in _GO_BITS.items():
        mode |= bit if go_mode & go_bit else 0
    # Old hosts write the time in a form of their own; it does not matter enough to read it.
    modified_ns = at.seconds * 10**9 + at.nanoseconds if isinstance(at, msgpack.Timestamp) else None
    return FileInfo(text(fields.get("N")), number(fields.get("S")), mode, modified_ns)


class CommunicatorService:
    """Serves a communicator; the streams that calls name are dialled here."""

    def __init__(self, communicator: Communicator, broker: Broker) -> None:
        self._communicator = communicator
        self._broker = broker
        self.methods: Service = {
            "Start": self._start,
            "Upload": self._upload,
            "Download": self._download,
            "UploadDir": self._upload_directory,
            "DownloadDir": self._download_directory,
        }

    def _start(self, argument: Any) -> None:
        fields = record(argument)
        command = text(fields.get("Command"))
        with ExitStack() as streams:
            names = ("StdinStreamId", "StdoutStreamId", "StderrStreamId", "ResponseStreamId")
            stdin, stdout, stderr, response = (
                self._dialled(streams, number(fields.get(name))) for name in names
            )
            running = self._communicator.start(command, stdin=stdin, stdout=stdout, stderr=stderr)
            outputs = [stream for stream in (stdin, stdout, stderr) if stream is not None]
            threading.Thread(
                target=self._finish, args=(running, outputs, response, streams.pop_all()),
                name="command-end", daemon=True,
            ).start()  # fmt: skip

    def _dialled(self, streams: ExitStack, number: int) -> Stream | None:
        return streams.enter_context(self._broker.dial(number)) if number else None

    def _finish(
        self,
        running: RunningCommand,
        outputs: Sequence[Stream],
        response: Stream | None,
        streams: ExitStack,
    ) -> None:
        with streams:
            try:
                status = running.wait()
            except GoldsmithError as e:
                self._broker.log(f"a command was lost: {e}")
                status = DISCONNECTED
            for stream in outputs:
                stream.close()
            if response is not None:
                try:
                    response.write(encode_status(status))
                except WireError as e:
                    self._broker.log(f"the end of a command could not be told: {e}")

    def _upload(self, argument: Any) -> None:
        fields = record(argument)
        info = decode_info(fields.get("FileInfo"))
        with self._broker.dial(number(fields.get("ReaderStreamId"))) as stream:
            self._communicator.upload(text(fields.get("Path")), stream, info)

    def _download(self, argument: Any) -> None:
        fields = record(argument)
        with self._broker.dial(number(fields.get("WriterStreamId"))) as stream:
            self._communicator.download(text(fields.get("Path")), stream)

    def _upload_directory(self, argument: Any) -> None:
        fields = record(argument)
        destination, source = text(fields.get("Dst")), text(fields.get("Src"))
        exclude = texts(fields.get("Exclude"))
        self._communicator.upload_directory(destination, source, exclude)

    def _download_directory(self, argument: Any) -> None:
        fields = record(argument)
        destination, source = text(fields.get("Dst")), text(fields.get("Src"))
        exclude = texts(fields.get("Exclude"))
        self._communicator.download_directory(source, destination, exclude)
