"""The `powershell` provisioner: scripts of PowerShell on a Windows machine."""

from __future__ import annotations

import uuid
from typing import ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from goldsmith.core.options import Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import takes_two, written
from goldsmith.provisioners.powershell_elevated import elevated_script, escaped
from goldsmith.provisioners.remote_scripts import (
    MachineScripts,
    ScriptOptions,
    check_renders,
    rendered,
    require_status,
    retried,
    run_line,
)

FOLDER: Final = "c:/Windows/Temp"
FORMAT: Final = '$env:%s="%s"; '
ELEVATED_COMMAND: Final = 'powershell -executionpolicy bypass -file "{path}"'
INLINE_HEAD: Final = "try {\n"
INLINE_END: Final = (
    "} catch {\n  Write-Error $_ -ErrorAction Continue\n  exit 1\n}\n"
    "if ($LASTEXITCODE) { exit $LASTEXITCODE }\nexit 0\n"
)
"""A failed command of `inline` fails the provisioner, as it does in Packer since 1.11."""

Policy = Literal[
    "bypass", "allsigned", "default", "remotesigned", "restricted", "undefined", "unrestricted",
    "none",
]  # fmt: skip


class PowershellOptions(ScriptOptions):
    """Options of the `powershell` provisioner."""

    remote_path: str = Field(
        "", description=f"Where the script lies on the machine; by default in {FOLDER}."
    )
    remote_env_var_path: str = Field(
        "", description=f"Where the variables lie there; by default in {FOLDER}."
    )
    execute_command: str = Field(
        "",
        description="How a script is run: {{.Path}} is the script, {{.Vars}} the file with the "
        "variables. The default reads the variables, runs the script and exits with its status.",
    )
    elevated_execute_command: str = Field(
        "", description="The same for elevated runs: what the task runs."
    )
    elevated_user: str = Field(
        "",
        description="Run scripts by a scheduled task of this user, with all its rights; SYSTEM "
        "needs no password.",
    )
    elevated_password: str = Field("", description="The password of that user.")
    env_var_format: str = Field(
        FORMAT, description="How a variable is written: %s is its name, then its value."
    )
    elevated_env_var_format: str = Field(FORMAT, description="The same for elevated runs.")
    execution_policy: Policy = Field(
        "bypass",
        description='PowerShell\'s execution policy; with "none" the command has no `powershell` '
        "in front, for machines whose login shell is PowerShell.",
    )
    debug_mode: int = Field(
        0, ge=0, le=2, description="Trace the scripts: 1 lines, 2 variables, too."
    )
    use_pwsh: bool = Field(False, description="Run PowerShell Core (pwsh).")
    skip_clean: bool = Field(False, description="Leave the scripts on the machine.")
    binary: bool = Field(False, description="Scripts are uploaded byte for byte in any case.")

    @field_validator("execute_command", "elevated_execute_command")
    @classmethod
    def _renders(cls, given: str) -> str:
        return check_renders(given, "Path", "Vars")

    @field_validator("env_var_format", "elevated_env_var_format")
    @classmethod
    def _is_format(cls, given: str) -> str:
        return takes_two(given)

    @model_validator(mode="after")
    def _has_user(self) -> PowershellOptions:
        if self.elevated_password and not self.elevated_user:
            raise ValueError("elevated_password needs elevated_user")
        return self

    @property
    def default_command(self) -> str:
        """Reads the variables, runs the script, exits with its status."""
        trace = f"Set-PsDebug -Trace {self.debug_mode};" if self.debug_mode else ""
        body = (
            "& { if (Test-Path variable:global:ProgressPreference)"
            "{set-variable -name variable:global:ProgressPreference -value 'SilentlyContinue'};"
            + trace
            + ". {{.Vars}}; &'{{.Path}}'; exit $LastExitCode }"
        )
        if self.execution_policy == "none":
            return body
        if self.use_pwsh:
            return f'pwsh -executionpolicy {self.execution_policy} -command "{body}"'
        return f'powershell -executionpolicy {self.execution_policy} "{body}"'


class PowershellProvisioner(MachineScripts[PowershellOptions]):
    """Runs scripts of the user by PowerShell."""

    type_name: ClassVar[str] = "powershell"
    options_model: ClassVar[type[Options]] = PowershellOptions

    def provision(self, context: ProvisionContext) -> None:
        """Upload and run script by script, then remove them; raises GoldsmithError."""
        options = self.options
        context.emitter.redactor.add([options.elevated_password])
        contents = self.contents(context.directory, head=INLINE_HEAD, end=INLINE_END)
        context.emitter.say("Provisioning with Powershell...")
        identity = str(uuid.uuid4())
        path = options.remote_path or f"{FOLDER}/script-{identity}.ps1"
        variables = options.remote_env_var_path or f"{FOLDER}/packer-ps-env-vars-{identity}.ps1"
        for content in self.announced(contents, "powershell", context):
            self._run(content, path, variables, context)
        if not options.skip_clean:
            self._clean(context, variables, path)
        options.pause(context)

    def _run(self, content: bytes, path: str, variables: str, context: ProvisionContext) -> None:
        options, communicator = self.options, context.communicator
        data = {"Path": path, "Vars": variables}

        def upload_and_start() -> int:
            communicator.upload(self._variables(context), variables)
            command = self._elevated(context, data) if options.elevated_user else (
                rendered(options.execute_command or options.default_command, context, data)
            )  # fmt: skip
            communicator.upload(content, path)
            return run_line(command, context)

        status = retried(communicator, options.start_retry_timeout, upload_and_start)
        require_status(status, options.valid_exit_codes)

    def _variables(self, context: ProvisionContext) -> bytes:
        options = self.options
        form = options.elevated_env_var_format if options.elevated_user else options.env_var_format
        variables = options.variables(context)
        text = "".join(written(form, name, escaped(value)) for name, value in variables.items())
        return text.encode("utf-8", "surrogateescape")

    def _elevated(self, context: ProvisionContext, data: dict[str, str]) -> str:
        """Upload the script that makes a task of the command; returns what runs it."""
        options = self.options
        command = rendered(
            options.elevated_execute_command or options.default_command, context, data
        )
        identity = str(uuid.uuid4())
        place = f"C:/Windows/Temp/packer-elevated-shell-{identity}.ps1"
        text = elevated_script(
            command, options.elevated_user, options.elevated_password, identity, place
        )
        context.communicator.upload(text.encode("utf-8", "surrogateescape"), place)
        return ELEVATED_COMMAND.format(path=place)

    def _clean(self, context: ProvisionContext, *left: str) -> None:
        """Remove what was uploaded, by a script: cmd and PowerShell remove in ways of their own."""
        options, communicator = self.options, context.communicator
        cleanup = f"{FOLDER}/packer-cleanup-{uuid.uuid4()}.ps1"
        text = "".join(
            f"if (Test-Path {name}) {{Remove-Item {name}}}\n" for name in (*left, cleanup)
        )
        data = {"Path": cleanup, "Vars": left[0]}
        command = rendered(options.execute_command or options.default_command, context, data)

        def upload_and_start() -> int:
            communicator.upload(text.encode("utf-8", "surrogateescape"), cleanup)
            return run_line(command, context)

        status = retried(communicator, options.start_retry_timeout, upload_and_start)
        if status:
            context.emitter.warn(f"the script that removes {', '.join(left)} failed: {status}")
