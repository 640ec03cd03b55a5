"""The `windows-shell` provisioner: batch scripts on a Windows machine."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.options import Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import takes_two, written
from goldsmith.provisioners.remote_scripts import (
    MachineScripts,
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


class WindowsShellProvisioner(MachineScripts[WindowsShellOptions]):
    """Runs batch scripts of the user by cmd."""

    type_name: ClassVar[str] = "windows-shell"
    options_model: ClassVar[type[Options]] = WindowsShellOptions

    def provision(self, context: ProvisionContext) -> None:
        """Upload and run script by script; raises GoldsmithError."""
        context.emitter.say("Provisioning with windows-shell...")
        for content in self.announced(self.contents(context.directory), "shell", context):
            self._run(content, context)
        self.options.pause(context)

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
