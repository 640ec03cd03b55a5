"""Reaches a machine by SSH (see `core.communicator.Communicator`)."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar

from goldsmith.communicators.ssh.background_loop import BackgroundLoop
from goldsmith.communicators.ssh.connecting import connect
from goldsmith.communicators.ssh.dialing import Dialer, Line
from goldsmith.communicators.ssh.host_keys import shown_key
from goldsmith.communicators.ssh.options import CommunicatorOptions
from goldsmith.communicators.ssh.remote_paths import quoted
from goldsmith.core.communicator import DISCONNECTED, ConnectionFailed
from goldsmith.errors import CommandTimedOut, GoldsmithError, explain_os_error

if TYPE_CHECKING:
    import asyncssh

    from goldsmith.host.process import LineSink

T = TypeVar("T")

CLOSE_S: Final = 5.0


class SshCommunicator:
    """A machine at the other end of a connection, which is made anew when it has broken."""

    def __init__(self, options: CommunicatorOptions, dialer: Dialer, loop: BackgroundLoop) -> None:
        self.options = options
        self._dialer, self._loop = dialer, loop
        self._line: Line | None = None
        self._wait_s = options.waits_s
        self._dialing = asyncio.Lock()

    def connect(self) -> str:
        """Connect, waiting for the machine to start; returns its host key, as people read it.

        Raises ConnectionFailed, and what is below it, with the reason.
        """
        line = self._loop.call(self._live())
        key = line.connection.get_server_host_key()
        return shown_key(key) if key else ""

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self._line is not None:
            self._loop.call(self._close())

    async def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await line.close()
            except TimeoutError:
                line.abort()
            except BaseException:
                line.abort()
                raise

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        """Within the block, a machine that has gone away is waited for so long."""
        before, self._wait_s = self._wait_s, limit_s
        try:
            yield
        finally:
            self._wait_s = before

    async def _live(self) -> Line:
        """A connection that is open, as far as is known."""
        async with self._dialing:
            if self._line is None or not self._line.is_open:
                await self._close()
                self._line = await connect(self._dialer, self._wait_s, self.options.handshakes)
            return self._line

    def _use(self, work: Callable[[asyncssh.SSHClientConnection], Awaitable[T]]) -> T:
        return self._loop.call(self._used(work))

    async def _used(self, work: Callable[[asyncssh.SSHClientConnection], Awaitable[T]]) -> T:
        """Do something with a live connection; one that turns out to be broken is made anew."""
        import asyncssh

        for is_last in (False, True):
            line = await self._live()
            try:
                return await work(line.connection)
            except asyncssh.ChannelOpenError as e:
                # The connection broke unnoticed: nothing has begun on it.
                if is_last or (line.is_open and e.code != asyncssh.OPEN_CONNECT_FAILED):
                    raise ConnectionFailed(f"{self._dialer.machine.what}: {e.reason}") from e
                line.connection.abort()
            except asyncssh.Error as e:
                raise ConnectionFailed(f"{self._dialer.machine.what}: {e}") from e
            except OSError as e:
                if line.is_open:
                    raise explain_os_error(e) from e
                raise ConnectionFailed(f"{self._dialer.machine.what}: {e}") from e
        raise AssertionError("the last round returns or raises")

    def start(
        self,
        command: str,
        *,
        on_line: LineSink,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a line by the login shell of the user there and return its exit status.

        128 + N when signal N killed it, DISCONNECTED when the connection broke. `env` is not used:
        a machine has an environment of its own.
        """
        from goldsmith.communicators.ssh.commands import run_command

        async def run(connection: asyncssh.SSHClientConnection) -> int:
            try:
                async with asyncio.timeout(timeout_s):
                    return await run_command(connection, command, on_line, pty=self.options.ssh_pty)
            except TimeoutError:
                raise CommandTimedOut([command], timeout_s or 0) from None

        return self._use(run)

    def exchange(self, command: str, *, stdin: int, stdout: int, stderr: int) -> int:
        """Run a line there with these descriptors as its streams; see `start`."""
        from goldsmith.communicators.ssh.commands import exchange_bytes

        return self._use(
            lambda connection: exchange_bytes(connection, command, stdin, stdout, stderr)
        )

    @property
    def _method(self) -> ModuleType:
        from goldsmith.communicators.ssh import scp, sftp

        return sftp if self.options.ssh_file_transfer_method == "sftp" else scp

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        from goldsmith.communicators.ssh import sftp

        if self.options.ssh_file_transfer_method == "sftp":
            return self._use(lambda connection: sftp.is_directory(connection, path))
        return self._status(f"test -d {quoted(path)}") == 0

    def upload(self, content: bytes | Path, destination: str, *, mode: int | None = None) -> None:
        """Write a file there."""
        if mode is None:
            mode = 0o644
            if isinstance(content, Path):
                try:
                    mode = stat.S_IMODE(content.stat().st_mode)
                except OSError as e:
                    raise explain_os_error(e) from e
        upload, kept = self._method.upload, mode
        self._use(lambda connection: upload(connection, content, destination, kept))

    def upload_directory(self, source: Path, destination: str) -> None:
        """Copy the content of a directory into a directory there; links are followed."""
        upload = self._method.upload_directory
        self._use(lambda connection: upload(connection, source, destination))

    def download(self, source: str, destination: Path) -> None:
        """Read a file from there."""
        download = self._method.download
        self._use(lambda connection: download(connection, source, destination))

    def download_directory(self, source: str, destination: Path) -> None:
        """Copy the content of a directory from there; links are followed."""
        download = self._method.download_directory
        self._use(lambda connection: download(connection, source, destination))

    def remove(self, path: str) -> None:
        """Remove a file there by `rm -f`; raises GoldsmithError with the status."""
        status = self._status(f"rm -f {quoted(path)}")
        if status:
            raise GoldsmithError(f"cannot remove {path}: rm ended with status {status}")

    def _status(self, command: str) -> int:
        """The status of a small command; raises ConnectionFailed where that is not known."""
        status = self.start(command, on_line=_ignore)
        if status == DISCONNECTED:
            what = self._dialer.machine.what
            raise ConnectionFailed(f"{what}: the connection was lost while {command!r} ran")
        return status


def _ignore(stream: str, line: str) -> None:
    """What such a small command says does not matter."""
