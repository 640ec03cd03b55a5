"""The `windows-shell` provisioner: batch scripts on a Windows machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import takes_two, written
from goldsmith.layers.keys import StepKey
from goldsmith.provisioners.remote_scripts import (
    ScriptOptions,
    check_renders,
    rendered,
    require_status,
    retried,
    run_line,
)

REMOTE_PATH: Final = "c:/Windows/Temp/script.bat"
COMMAND: Final = '{{.Vars}}"{{.Path}}"'
FORMAT: Final = 'set "%s=%s" && '


class WindowsShellOptions(ScriptOptions):
    """Options of the `windows-shell` provisioner."""

    remote_path: str = Field(
        REMOTE_PATH, min_length=1, description="Where the script lies on the machine."
    )
    execute_command: str = Field(
        COMMAND,
        description="How a script is run: {{.Path}} is the script, {{.Vars}} the variables.",
    )
    env_var_format: str = Field(
        FORMAT, description="How a variable is written: %s is its name, then its value."
    )
    binary: bool = Field(False, description="Scripts are uploaded byte for byte in any case.")

    @field_validator("execute_command")
    @classmethod
    def _renders(cls, given: str) -> str:
        return check_renders(given, "Path", "Vars")

    @field_validator("env_var_format")
    @classmethod
    def _is_format(cls, given: str) -> str:
        return takes_two(given)


class WindowsShellProvisioner:
    """Runs batch scripts of the user by cmd."""

    type_name: ClassVar[str] = "windows-shell"
    options_model: ClassVar[type[Options]] = WindowsShellOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, WindowsShellOptions)
        self.options = options
        self.network = True
        self.reads_only = False

    @property
    def label(self) -> str:
        """Names the scripts, or the first line of `inline`."""
        return self.options.label("windows-shell")

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there."""
        return self.options.missing_scripts(directory)

    def key(self, directory: Path) -> StepKey | None:
        """A machine has no layers."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Upload and run script by script; raises GoldsmithError."""
        options = self.options
        context.emitter.say("Provisioning with windows-shell...")
        text = "".join(f"{command}\n" for command in options.inline)
        contents = [text.encode("utf-8", "surrogateescape")] if options.inline else [
            options.read(name, context.directory) for name in options.files
        ]  # fmt: skip
        for number, content in enumerate(contents):
            shown = options.shown(number, "windows-shell-provisioner")
            context.emitter.say(f"Provisioning with shell script: {shown}")
            self._run(content, context)
        options.pause(context)

    def _run(self, content: bytes, context: ProvisionContext) -> None:
        options = self.options
        variables = "".join(
            written(options.env_var_format, name, value)
            for name, value in options.variables(context).items()
        )
        data = {"Path": options.remote_path, "Vars": variables}
        command = rendered(options.execute_command, context, data)

        def upload_and_start() -> int:
            context.communicator.upload(content, options.remote_path)
            return run_line(command, context)

        status = retried(context.communicator, options.start_retry_timeout, upload_and_start)
        require_status(status, options.valid_exit_codes)
