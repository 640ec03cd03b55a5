"""The socket over which Ansible reaches the tree or machine of a running build.

Requests and answers are lines of JSON. All work is done on the thread that serves: it is the one
that owns the communicator, and the one that an interrupt or a time limit stops.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.core.communicator import Communicator
from goldsmith.errors import GoldsmithError, Interrupted, TimeLimitReached, explain_os_error

LONGEST_REQUEST_BYTES: Final = 16 << 20
_PIECE_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Channel:
    """Answers what Ansible asks of a machine; made by `open_channel`."""

    communicator: Communicator
    remote: str
    """A directory there for the output of commands."""
    environment: Mapping[str, str]
    place: Path
    _listener: socket.socket
    _ready: select.epoll
    _callers: dict[int, socket.socket] = field(default_factory=dict)
    _begun: dict[int, bytearray] = field(default_factory=dict)
    _answers: int = 0
    fetched: list[Path] = field(default_factory=list)
    """The files of this host that Ansible has had written."""

    def fileno(self) -> int:
        """A descriptor that can be read from while there is something to serve."""
        return self._ready.fileno()

    def serve(self) -> None:
        """Take one turn: new callers, and the requests that have come whole.

        Raises Interrupted and TimeLimitReached; what else goes wrong is told to Ansible.
        """
        for fd, _ in self._ready.poll(0):
            if fd == self._listener.fileno():
                caller, _ = self._listener.accept()
                self._callers[caller.fileno()] = caller
                self._begun[caller.fileno()] = bytearray()
                self._ready.register(caller, select.EPOLLIN)
            else:
                self._hear(fd)

    def _hear(self, fd: int) -> None:
        caller, begun = self._callers[fd], self._begun[fd]
        try:
            piece = caller.recv(_PIECE_BYTES)
        except ConnectionError:
            piece = b""
        begun += piece
        if not piece or len(begun) > LONGEST_REQUEST_BYTES:
            self._hang_up(fd)
        elif begun.endswith(b"\n"):
            request = bytes(begun)
            begun.clear()
            answer = json.dumps(self._answer(request)).encode() + b"\n"
            with suppress(ConnectionError):
                caller.sendall(answer)

    def _hang_up(self, fd: int) -> None:
        self._ready.unregister(fd)
        self._begun.pop(fd)
        self._callers.pop(fd).close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if request["do"] == "run":
                return self._run(request["command"])
            if request["do"] == "put":
                self.communicator.upload(Path(request["source"]), request["destination"])
            else:
                destination = Path(request["destination"])
                self.communicator.download(request["source"], destination)
                self.fetched.append(destination)
        except (Interrupted, TimeLimitReached):
            raise
        except (ValueError, KeyError, TypeError) as e:
            return {"error": f"not a request: {e}"}
        except OSError as e:
            return {"error": str(explain_os_error(e))}
        except GoldsmithError as e:
            return {"error": f"{e}" + (f" ({e.hint})" if e.hint else "")}
        return {}

    def _run(self, command: str) -> dict[str, Any]:
        """Run a command; its output goes through files, as a communicator gives lines of text."""
        self._answers += 1
        streams = {
            name: (f"{self.remote}/{name}", self.place / f"{name}-{self._answers}")
            for name in ("stdout", "stderr")
        }
        line = f"( {command}\n) >{streams['stdout'][0]} 2>{streams['stderr'][0]} </dev/null"
        status = self.communicator.start(
            line, on_line=lambda stream, text: None, env=self.environment
        )
        for there, here in streams.values():
            self.communicator.download(there, here)
        return {"status": status, **{name: str(here) for name, (_, here) in streams.items()}}

    def close(self) -> None:
        """Hang up on whoever is there."""
        for fd in list(self._callers):
            self._hang_up(fd)


@contextmanager
def open_channel(
    communicator: Communicator, remote: str, environment: Mapping[str, str], place: Path
) -> Iterator[Channel]:
    """Listen at `place`/socket, an existing directory that only this user can enter."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{directory}/socket")
        finally:
            os.close(directory)
        listener.listen()
        ready = stack.enter_context(select.epoll())
        ready.register(listener, select.EPOLLIN)
        channel = Channel(communicator, remote, environment, place, listener, ready)
        stack.callback(channel.close)
        yield channel
