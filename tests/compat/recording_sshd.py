"""An SSH server that does nothing of what it is asked to, and writes it all down, in order.

The real packer and goldsmith are run against it: what they would do to a machine is what they ask.
Commands end at once, with the status and the output that the test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

STARTS_WITHIN_S = 60
DIRECTORIES = ("tmp", "c:/Windows/Temp", "C:/Windows/Temp", "srv/there")
"""What is there before, below the directory that stands for the machine."""
PASSWORD = "tell-nobody"


@dataclass(frozen=True)
class Answer:
    """How a command ends; `status` None means that the connection is lost meanwhile."""

    status: int | None = 0
    stdout: str = ""
    stderr: str = ""


@dataclass
class Recording:
    """What was asked, in order: ("exec", command) and ("upload", path, content)."""

    port: int = 0
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    connections: int = 0

    @property
    def commands(self) -> list[str]:
        """Every command that was to be run."""
        return [entry[1] for entry in self.asked if entry[0] == "exec"]

    @property
    def uploads(self) -> list[tuple[str, bytes]]:
        """Path and content of every file that arrived."""
        return [(entry[1], entry[2]) for entry in self.asked if entry[0] == "upload"]


class _Server(asyncssh.SSHServer):
    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.recording.connections += 1

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == PASSWORD


class _Files(asyncssh.SFTPServer):
    """Keeps what arrives below one directory, whatever its path, and notes it when it is whole."""

    def __init__(self, chan: Any, recording: Recording, root: Path) -> None:
        super().__init__(chan, chroot=str(root))
        self.recording = recording
        self.written: dict[Any, bytes] = {}

    def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
        """Open, with the directories above."""
        real = Path(self.map_path(path).decode())
        if pflags & asyncssh.FXF_WRITE:
            real.parent.mkdir(parents=True, exist_ok=True)
        opened = super().open(path, pflags, attrs)
        if pflags & asyncssh.FXF_WRITE:
            self.written[opened] = path
        return opened

    def close(self, file_obj: Any) -> None:
        """Note what was written."""
        super().close(file_obj)
        if path := self.written.pop(file_obj, None):
            content = Path(self.map_path(path).decode()).read_bytes()
            self.recording.asked.append(("upload", posixpath.normpath(path.decode()), content))


@contextlib.contextmanager
def recording_sshd(
    root: Path, answer: Callable[[str, int], Answer] = lambda command, number: Answer()
) -> Iterator[Recording]:
    """A server on a loopback port; `answer` gets each command and how many came before it."""
    recording = Recording()
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)

    async def run(process: asyncssh.SSHServerProcess[str]) -> None:
        command = process.command or ""
        number = len(recording.commands)
        recording.asked.append(("exec", command))
        given = answer(command, number)
        if given.status is None:
            process.channel.get_connection().abort()
            return
        process.stdout.write(given.stdout)
        process.stderr.write(given.stderr)
        process.exit(given.status)

    async def serve() -> None:
        server = await asyncssh.create_server(
            lambda: _Server(recording), "127.0.0.1", 0,
            server_host_keys=[asyncssh.generate_private_key("ssh-rsa", key_size=2048)],
            process_factory=run, allow_scp=True,
            sftp_factory=lambda chan: _Files(chan, recording, root),
        )  # fmt: skip
        recording.port = server.get_port()
        ready.set()
        await stop.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(STARTS_WITHIN_S), "the server did not start"
        yield recording
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STARTS_WITHIN_S)
        loop.run_until_complete(_all_ended())
        loop.close()


async def _all_ended() -> None:
    """Let the connections that are still open see that they are not."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
