"""One plugin's process: started when it is first needed, ended with everything it has started."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from goldsmith.errors import GoldsmithError
from goldsmith.host import process
from goldsmith.plugin.client import managed
from goldsmith.plugin.client.config import ClientConfig
from goldsmith.plugin.client.output import Log, NoHandshake, read_handshake
from goldsmith.plugin.wire.errors import ConnectionLost, WireError
from goldsmith.plugin.wire.handshake import (
    MAGIC_COOKIE_KEY,
    MAGIC_COOKIE_VALUE,
    MAX_PORT_KEY,
    MIN_PORT_KEY,
    connect,
    parse_handshake,
)

if TYPE_CHECKING:
    from goldsmith.plugin.protocols import (
        Builder,
        Command,
        Datasource,
        Hook,
        PostProcessor,
        Provisioner,
    )  # fmt: skip
    from goldsmith.plugin.services.connection import HostConnection

LEAVE_GRACE_S: Final = 0.5
"""How long a plugin may take to end itself once its connection is closed."""
LONGEST_DIRECTORY_BYTES: Final = 70
"""Of a directory in which plugins make sockets with names of their own."""
GROUP_GRACE_S: Final = 10.0
"""How long the kernel may take to end what was killed."""


class PluginError(GoldsmithError):
    """A plugin's process did not do what plugins do; says which one, and in which phase."""


class Client:
    """Starts a plugin and speaks to it; may be used from any thread, and as a context manager."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._lock = threading.RLock()
        self._scope = ExitStack()
        self._running: process.Running | None = None
        self._log: Log | None = None
        self._address = ""
        self._connection: HostConnection | None = None
        self._killed = False
        self._ending: int | None = None
        if config.managed:
            managed.manage(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.kill()

    def start(self) -> str:
        """Start the process unless it runs; returns where it listens.

        Raises PluginError when it does not start as plugins do, or was killed before.
        """
        with self._lock:
            if self._killed:
                raise PluginError(f"plugin {self.config.label}: it was killed and stays so")
            if self._connection is not None:
                return self._address
            try:
                self._start()
            except BaseException:
                self._end()
                raise
            return self._address

    def builder(self) -> Builder:
        """The builder that it serves."""
        return self._connected().builder()

    def provisioner(self) -> Provisioner:
        """The provisioner that it serves."""
        return self._connected().provisioner()

    def post_processor(self) -> PostProcessor:
        """The post-processor that it serves."""
        return self._connected().post_processor()

    def hook(self) -> Hook:
        """The hook that it serves."""
        return self._connected().hook()

    def datasource(self) -> Datasource:
        """The data source that it serves."""
        return self._connected().datasource()

    def command(self) -> Command:
        """The command that it serves."""
        return self._connected().command()

    @property
    def pid(self) -> int | None:
        """The process, None where none was started."""
        return self._running.pid if self._running else None

    def exited(self) -> bool:
        """Whether the process has ended, by itself or killed."""
        running = self._running
        ended = self._killed or self._ending is not None
        return ended or (running is not None and running.status is not None)

    def kill(self) -> None:
        """End the process and its children; returns when they are gone and the log is read.

        To be called as often as one likes.
        """
        self._killed = True
        running = self._running
        if running is not None and self._connection is None and running.status is None:
            running.signal_group(signal.SIGKILL)  # another thread waits for its first line
        with self._lock:
            self._end()
        if self.config.managed:
            managed.forget(self)

    def explained(self, phase: str, error: GoldsmithError) -> PluginError:
        """An error of a call, with the plugin's name, the phase, and how the process ended."""
        told = str(error)
        running = self._running
        # A closed connection is told before the end of the process is.
        lost = isinstance(error, ConnectionLost)
        if running is not None and lost and running.wait(LEAVE_GRACE_S) is not None:
            told = f"the plugin ended ({_how(running.popen.wait())}): {told}"
        return self._error(phase, told, error.hint)

    def _error(self, phase: str, told: str, hint: str | None = None) -> PluginError:
        lines = list(self._log.tail) if self._log else []
        if lines:
            said = "\n  ".join(lines)
            hint = f"{hint}; " if hint else ""
            hint += f"the last that it wrote to its log:\n  {said}"
        elif hint is None:
            place = self.config.origin or self.config.command[0]
            hint = f"see what it does: {place}; GOLDSMITH_LOG=1 shows its log"
        return PluginError(f"plugin {self.config.label}, {phase}: {told}", hint=hint)

    def _connected(self) -> HostConnection:
        self.start()
        assert self._connection is not None
        return self._connection

    def _start(self) -> None:
        # Late: the services are needed only where there is a plugin.
        from goldsmith.plugin.services.connection import HostConnection

        config = self.config
        given = dict(os.environ if config.environment is None else config.environment)
        given |= {
            MAGIC_COOKIE_KEY: MAGIC_COOKIE_VALUE,
            MIN_PORT_KEY: str(config.min_port), MAX_PORT_KEY: str(config.max_port),
        }  # fmt: skip
        given |= self._short_temporary_directory(given.get("TMPDIR", ""))
        self._tell(f"starting {' '.join(config.command)}")
        try:
            running = self._scope.enter_context(process.start(config.command, env=given))
        except GoldsmithError as error:
            raise self._error("start", str(error), error.hint) from error
        self._running = running
        self._log = Log(running, self._on_line)
        if self._killed:
            raise PluginError(f"plugin {config.label}: it was killed and stays so")
        try:
            line = read_handshake(running, config.start_timeout_s)
            self._log.take_stdout()
            handshake = parse_handshake(line)
            self._address = handshake.address
            self._connection = HostConnection(
                connect(handshake), protobuf=config.protobuf, log=self._tell
            )
        except NoHandshake as error:
            self._end()  # so that the log is whole
            raise self._error("start", f"it {error}") from None
        except (WireError, OSError) as error:
            told = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            if isinstance(error, ConnectionLost) and running.wait(LEAVE_GRACE_S) is not None:
                told = f"it exited ({_how(running.popen.wait())}) when it was connected to"
            self._end()
            raise self._error("start", told, getattr(error, "hint", None)) from error

    def _short_temporary_directory(self, given: str) -> dict[str, str]:
        """Another name for a temporary directory in which no socket could be made (unix(7)).

        Plugins listen in theirs, and the kernel takes 107 bytes of a path.
        """
        if len(os.fsencode(given)) <= LONGEST_DIRECTORY_BYTES or not os.path.isdir(given):
            return {}
        directory = os.open(given, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._scope.callback(os.close, directory)
        return {"TMPDIR": f"/proc/{os.getpid()}/fd/{directory}"}

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        running = self._running
        try:
            if connection is not None:
                connection.close()
                if running is not None:
                    running.wait(LEAVE_GRACE_S)
        finally:
            # Also after an interrupt: nobody would find the process any more.
            try:
                if running is not None:
                    self._end_process(running)
            finally:
                self._scope.close()
                self._running = None

    def _end_process(self, running: process.Running) -> None:
        try:
            self._ending = running.end(hurry=True)
            if not running.wait_for_group(GROUP_GRACE_S):
                self._tell("children of it do not end")
        finally:
            if self._log is not None:
                self._log.finish()

    def _tell(self, line: str) -> None:
        if self.config.log is not None:
            self.config.log(f"{self.config.label} plugin: {line}")

    def _on_line(self, line: str) -> None:
        self._tell(line)
        if self.config.stderr is not None:
            self.config.stderr(line)


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
