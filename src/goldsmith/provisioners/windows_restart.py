"""The `windows-restart` provisioner: restarts a Windows machine and waits until it is back."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from goldsmith.core.communicator import DISCONNECTED, ConnectionFailed, Reconnects
from goldsmith.core.options import DurationSeconds, Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import pause
from goldsmith.host.process import LineSink
from goldsmith.layers.keys import StepKey
from goldsmith.provisioners.remote_scripts import run_line

RESTART: Final = 'shutdown /r /f /t 0 /c "packer restart"'
ASKING: Final = 'shutdown /r /f /t 60 /c "packer restart test"'
"""Fails while a restart is under way; where it succeeds, it is taken back."""
TAKING_BACK: Final = "shutdown /a"
RESTARTING: Final = (1115, 1190, 1717)
"""ERROR_SHUTDOWN_IN_PROGRESS, ERROR_SHUTDOWN_IS_SCHEDULED, ERROR_SHUTDOWN_USERS_LOGGED_ON."""
ANSWER: Final = "restarted."
PENDING: Final = "True"
POLL_S: Final = 5.0
SHORTEST_WAIT_S: Final = 1.0

_SERVICING: Final = "HKLM:SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\"
REGISTRY_KEYS: Final = (
    f"{_SERVICING}RebootPending",
    f"{_SERVICING}PackagesPending",
    "HKLM:Software\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing"
    "\\RebootInProgress",
)


def encoded(command: str) -> str:
    """A line of PowerShell in the form that no shell reads anything into."""
    text = base64.b64encode(command.encode("utf-16-le")).decode()
    return f"powershell.exe -EncodedCommand {text}"


CHECK: Final = encoded('echo ("{0} restarted." -f [System.Net.Dns]::GetHostName())')


class WindowsRestartOptions(Options):
    """Options of the `windows-restart` provisioner."""

    go_templates: ClassVar[bool] = True

    restart_command: str = Field(RESTART, min_length=1, description="What restarts the machine.")
    restart_check_command: str = Field(
        "",
        description="A command that succeeds as soon as the machine is ready; then it is asked for "
        "its name, too.",
    )
    restart_timeout: DurationSeconds = Field(
        300.0, description='How long the restart may take; by default "5m".'
    )
    check_registry: bool = Field(
        False, description="Wait, too, until none of `registry_keys` is there any more."
    )
    registry_keys: tuple[str, ...] = Field(
        REGISTRY_KEYS, description="Keys that are there while updates wait for a restart."
    )


class WindowsRestartProvisioner:
    """Restarts the machine."""

    type_name: ClassVar[str] = "windows-restart"
    options_model: ClassVar[type[Options]] = WindowsRestartOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, WindowsRestartOptions)
        self.options = options
        self.network = True
        self.reads_only = False

    @property
    def label(self) -> str:
        """What happens."""
        return "Restarting Machine"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def key(self, directory: Path) -> StepKey | None:
        """A machine has no layers."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Restart and wait; raises GoldsmithError when it takes too long."""
        deadline_s = time.monotonic() + (self.options.restart_timeout or 300.0)
        context.emitter.say("Restarting Machine")
        status = run_line(self.options.restart_command, context)
        if status not in (0, DISCONNECTED):
            raise GoldsmithError(f"Restart command exited with non-zero exit status: {status}")
        context.emitter.say("Waiting for machine to restart...")
        _Waiting(self.options, context, deadline_s).run()
        context.emitter.say("Machine successfully restarted, moving on")


class _Waiting:
    """From the command that restarts the machine until it is back."""

    def __init__(
        self, options: WindowsRestartOptions, context: ProvisionContext, deadline_s: float
    ) -> None:
        self._options, self._context, self._deadline_s = options, context, deadline_s

    def run(self) -> None:
        """Raises GoldsmithError when it takes too long."""
        self._until_it_goes_down()
        self._pause()
        custom = self._options.restart_check_command
        while custom and self._status(custom) != 0:
            self._pause()
        while not self._says(CHECK, ANSWER, shown=True) or self._is_pending():
            self._pause()

    def _until_it_goes_down(self) -> None:
        while True:
            try:
                with self._limited():
                    status = run_line(ASKING, self._context)
                    if status == 0:
                        run_line(TAKING_BACK, self._context)
            except ConnectionFailed as e:
                if e.lasting:
                    raise
                return
            if status not in RESTARTING:
                return
            self._pause()

    def _is_pending(self) -> bool:
        return self._options.check_registry and any(
            self._says(encoded(f'Test-Path "{key}"'), PENDING, shown=True)
            for key in self._options.registry_keys
        )

    def _says(self, command: str, word: str, *, shown: bool = False) -> bool:
        lines: list[str] = []

        def heard(stream: str, line: str) -> None:
            if stream == "stdout":
                lines.append(line)
            if shown:
                self._context.emitter.output(line, stream)

        self._status(command, heard)
        return any(word in line for line in lines)

    def _status(self, command: str, heard: LineSink | None = None) -> int | None:
        """The status of a command; None while the machine cannot be reached."""
        communicator, emitter = self._context.communicator, self._context.emitter
        try:
            with self._limited():
                return communicator.start(
                    command, on_line=heard or (lambda stream, line: emitter.output(line, stream))
                )
        except ConnectionFailed as e:
            if e.lasting:
                raise
            emitter.output(str(e), "stderr", routine=True)
            return None

    def _limited(self) -> AbstractContextManager[None]:
        """Within it, a machine that has gone away is waited for as long as time is left."""
        communicator = self._context.communicator
        if not isinstance(communicator, Reconnects):
            return nullcontext()
        return communicator.waiting(max(SHORTEST_WAIT_S, self._deadline_s - time.monotonic()))

    def _pause(self) -> None:
        if time.monotonic() + POLL_S >= self._deadline_s:
            raise GoldsmithError(
                "Timeout waiting for machine to restart.",
                hint="restart_timeout says how long to wait",
            )
        pause(POLL_S)
