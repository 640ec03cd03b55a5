"""Running one command on a connection: its lines, its status, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import asyncssh

from goldsmith.core.communicator import DISCONNECTED
from goldsmith.host.process import LineCutter

if TYPE_CHECKING:
    from goldsmith.host.process import LineSink

END_GRACE_S: Final = 3.0
"""How long a command may take to end after each of the signals that are to end it."""
SIGNAL_S: Final = 0.5
_END_CHILDREN: Final = (
    "for one in $(cat /proc/$PPID/task/*/children 2>/dev/null || ps -o pid= --ppid $PPID);"
    " do [ $one = $$ ] || kill -s {name} -- -$one; done"
)
"""For an sshd that passes no signals on, as OpenSSH's for root: this connection's other commands,
which are children of the same sshd, each with a process group of its own."""
_TERMINAL: Final = {
    "request_pty": "force", "term_type": "xterm", "term_size": (80, 40),
    "term_modes": {asyncssh.PTY_ECHO: 0, asyncssh.PTY_OP_ISPEED: 14400,
                   asyncssh.PTY_OP_OSPEED: 14400},
}  # fmt: skip


class _Session(asyncssh.SSHClientSession[bytes]):
    """Cuts what arrives into lines and remembers how the command ended."""

    def __init__(self, on_line: LineSink) -> None:
        unused: deque[str] = deque(maxlen=0)
        self._cutters = {
            None: LineCutter("stdout", unused, on_line),
            asyncssh.EXTENDED_DATA_STDERR: LineCutter("stderr", unused, on_line),
        }
        self.status: int | None = None
        self.error: BaseException | None = None
        self.ended = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._feed(datatype, data)

    def _feed(self, datatype: int | None, data: bytes, *, final: bool = False) -> None:
        cutter = self._cutters.get(datatype)
        if cutter is None or self.error is not None:
            return
        try:
            cutter.feed(data, final=final)
        except BaseException as e:  # what takes the lines may refuse them: the caller is told
            self.error = e
            self.ended.set()

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.status = 128 + _number_of(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        for datatype in self._cutters:
            self._feed(datatype, b"", final=True)
        self.ended.set()


def _number_of(name: str) -> int:
    """A signal's number; the protocol gives its name without SIG (RFC 4254 6.9)."""
    found = getattr(signal, f"SIG{name}", 0)
    return int(found)


async def run_command(
    connection: asyncssh.SSHClientConnection, command: str, on_line: LineSink, *, pty: bool
) -> int:
    """Run a command to its end and return its status.

    It is DISCONNECTED where the connection ended before. Raises asyncssh.Error when the command
    cannot be started. When the task is cancelled the command is ended there, as far as the user
    who runs it may.
    """
    terminal: dict[str, Any] = dict(_TERMINAL) if pty else {"request_pty": False}
    channel, made = await connection.create_session(
        lambda: _Session(on_line), command.encode("utf-8", "surrogateescape"),  # type: ignore[arg-type]
        encoding=None, **terminal,
    )  # fmt: skip
    session = cast(_Session, made)
    try:
        if not pty:
            # Nobody answers: what reads must see the end. In a terminal that would be a ^D.
            channel.write_eof()
        await session.ended.wait()
    except asyncio.CancelledError:
        await _end(connection, channel, session)
        raise
    finally:
        channel.close()
    if session.error is not None:
        raise session.error
    return DISCONNECTED if session.status is None else session.status


async def _end(
    connection: asyncssh.SSHClientConnection,
    channel: asyncssh.SSHClientChannel[bytes],
    session: _Session,
) -> None:
    """End a command with its process group: by SIGTERM, then by SIGKILL."""
    for name in ("TERM", "KILL"):
        with suppress(OSError, asyncssh.Error, TimeoutError):
            channel.send_signal(name)
            if await _has_ended(session, SIGNAL_S):
                return
            ending = connection.run(_END_CHILDREN.format(name=name), stdin=asyncssh.DEVNULL)
            await asyncio.wait_for(ending, END_GRACE_S)
            if await _has_ended(session, END_GRACE_S):
                return


async def _has_ended(session: _Session, within_s: float) -> bool:
    # asyncio.timeout does not work in a task that is cancelled.
    with suppress(TimeoutError):
        await asyncio.wait_for(session.ended.wait(), within_s)
    return session.ended.is_set()


async def exchange_bytes(
    connection: asyncssh.SSHClientConnection, command: str, stdin: int, stdout: int, stderr: int
) -> int:
    """Run a command with these descriptors as its streams; see `run_command`."""
    # The library closes what it is given.
    streams = [os.dup(fd) for fd in (stdin, stdout, stderr)]
    process = await connection.create_process(
        command.encode("utf-8", "surrogateescape"), encoding=None,
        stdin=streams[0], stdout=streams[1], stderr=streams[2], request_pty=False,
    )  # fmt: skip
    try:
        await process.wait_closed()
    except asyncio.CancelledError:
        process.kill()
        raise
    finally:
        process.close()
    if process.exit_signal is not None:
        return 128 + _number_of(process.exit_signal[0])
    return DISCONNECTED if process.exit_status is None else process.exit_status
