"""The `shell` provisioner: scripts of the user, run by the shell of the tree.

What the user wrote reaches the tree byte for byte as a file; only `execute_command`, which says how
to run it, passes through a shell, and that shell is the tree's. Scripts have names that follow from
their position, so that nothing by chance is in a step's environment.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from goldsmith.core.caching import config_inputs, shown_path
from goldsmith.core.options import DurationSeconds, Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import VariableMap, VariablePairs
from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template
from goldsmith.host.chroot import RUN_FILES
from goldsmith.host.digests import bytes_digest
from goldsmith.layers.keys import StepKey

DEFAULT_COMMAND = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"
DEFAULT_SHEBANG = "/bin/sh -e"


class ShellOptions(Options):
    """Options of the `shell` provisioner."""

    inline: tuple[str, ...] = Field((), description="Commands, run in order as one script.")
    script: str | None = Field(None, description="A script on this host.")
    scripts: tuple[str, ...] = Field((), description="Scripts on this host, run in order.")
    environment_vars: VariablePairs = Field(
        (), description='Variables for the scripts, each "NAME=value".'
    )
    env: VariableMap = Field(
        default_factory=dict, description="Variables for the scripts; these win."
    )
    execute_command: str = Field(
        DEFAULT_COMMAND,
        description="How a script is run: {{.Path}} is the script, {{.Vars}} the variables.",
    )
    inline_shebang: str = Field(
        DEFAULT_SHEBANG, description="The interpreter of `inline`; unused if it brings its own."
    )
    remote_folder: str | None = Field(
        None, description="The directory in the tree for the script; by default one in memory."
    )
    remote_file: str | None = Field(None, description="The name of the script in the tree.")
    remote_path: str | None = Field(None, description="Folder and name in one.")
    binary: bool = Field(False, description="Leave CRLF line ends as they are.")
    valid_exit_codes: tuple[int, ...] = Field((0,), description="What counts as success.")
    skip_clean: bool = Field(False, description="Leave the script in the tree.")
    pause_after: DurationSeconds = Field(0.0, description="Wait after the last script.")
    network: bool = Field(
        True, description="Whether the scripts see the host's network, or an empty one."
    )

    @field_validator("execute_command")
    @classmethod
    def _renders(cls, given: str) -> str:
        try:
            Template.parse(given, {}).render({"Path": "p", "Vars": "v", "EnvVarFile": "e"})
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        return given

    @model_validator(mode="after")
    def _one_kind(self) -> ShellOptions:
        kinds = [bool(self.inline), self.script is not None, bool(self.scripts)]
        if sum(kinds) != 1:
            raise ValueError("exactly one of inline, script and scripts must be given")
        return self


class ShellProvisioner:
    """Runs scripts of the user in the tree."""

    type_name: ClassVar[str] = "shell"
    options_model: ClassVar[type[Options]] = ShellOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ShellOptions)
        self.options = options
        self.network = options.network
        self.reads_only = False

    @property
    def _paths(self) -> tuple[str, ...]:
        return (self.options.script,) if self.options.script is not None else self.options.scripts

    @property
    def label(self) -> str:
        """Names the scripts, or the first line of `inline`."""
        if self._paths:
            return "Provisioning with shell script: " + ", ".join(self._paths)
        first = self.options.inline[0].strip().splitlines() or [""]
        return f"Provisioning with shell: {first[0]}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there and readable."""
        key = "script" if self.options.script is not None else "scripts"
        findings = []
        for number, name in enumerate(self._paths):
            path = directory / name
            if not path.is_file():
                at = (key,) if key == "script" else (key, number)
                findings.append(Finding(f"Bad script {name!r}: there is no such file", at))
        return findings

    def key(self, directory: Path) -> StepKey | None:
        """The scripts' bytes and everything that says how they run."""
        options = self.options
        settings = options.model_dump(
            exclude_defaults=True,
            exclude={"inline", "script", "scripts", "environment_vars", "env", "pause_after"},
        )
        inputs = {"type": "shell/1", **config_inputs(settings)}
        # With the position: the same script may run twice, and the order matters.
        names = [shown_path(name, directory) for name in self._paths] or ["inline"]
        for number, (name, data) in enumerate(zip(names, self._contents(directory), strict=True)):
            shown = f"file:{name}" if names.index(name) == number else f"file:{name} ({number})"
            while shown in inputs:
                shown += "'"
            inputs[shown] = f"{number}:{bytes_digest([data])}"
        given = [pair.partition("=") for pair in options.environment_vars]
        inputs |= {f"env:{name}": value for name, _, value in given}
        return StepKey({**inputs, **{f"env:{name}": value for name, value in options.env.items()}})

    def _contents(self, directory: Path) -> list[bytes]:
        options = self.options
        if options.inline:
            body = "".join(f"{command}\n" for command in options.inline)
            own_shebang = body.startswith("#!") and options.inline_shebang == DEFAULT_SHEBANG
            head = "" if own_shebang else f"#!{options.inline_shebang}\n"
            return [(head + body).encode("utf-8", "surrogateescape")]
        contents = []
        for name in self._paths:
            try:
                data = (directory / name).read_bytes()
            except OSError as e:
                raise GoldsmithError(f"cannot read the script {name}: {e.strerror}") from e
            contents.append(data if options.binary else data.replace(b"\r\n", b"\n"))
        return contents

    def _variables(self, context: ProvisionContext) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.options.environment_vars)
        given = {name: value for name, _, value in pairs}
        return {
            "PACKER_BUILD_NAME": context.build_name,
            "PACKER_BUILDER_TYPE": context.builder_type,
            **given,
            **self.options.env,
        }

    def _remote_path(self, number: int) -> str:
        options = self.options
        if options.remote_path is not None:
            return options.remote_path
        folder = options.remote_folder or RUN_FILES
        return f"{folder.rstrip('/')}/{options.remote_file or f'script_{number}.sh'}"

    def provision(self, context: ProvisionContext) -> None:
        """Upload, run, check the status, remove: script by script.

        Raises GoldsmithError for a status that is not among `valid_exit_codes`.
        """
        variables = self._variables(context)
        for number, content in enumerate(self._contents(context.directory)):
            path = self._remote_path(number)
            context.communicator.upload(content, path, mode=0o755)
            command = self._command(path, variables)
            self._run(command, context)
            if not self.options.skip_clean:
                context.communicator.remove(path)
        if self.options.pause_after:
            context.emitter.message(
                f"Pausing {self.options.pause_after:g} s after this provisioner"
            )
            time.sleep(self.options.pause_after)

    def _command(self, path: str, variables: Mapping[str, str]) -> str:
        words = " ".join(f"{name}={_quoted(variables[name])}" for name in sorted(variables))
        data = {"Path": path, "Vars": words, "EnvVarFile": ""}
        return Template.parse(self.options.execute_command, {}).render(data)

    def _run(self, command: str, context: ProvisionContext) -> None:
        status = context.communicator.start(
            command,
            on_line=lambda stream, line: context.emitter.output(line, stream),
            env=context.environment,
        )
        if status not in self.options.valid_exit_codes:
            allowed = " ".join(str(code) for code in self.options.valid_exit_codes)
            raise GoldsmithError(
                f"Script exited with non-zero exit status: {status}. Allowed exit codes are: "
                f"[{allowed}]",
                hint=_explain(status),
            )


def _quoted(value: str) -> str:
    """A value for the tree's shell, as Packer writes it: `'` becomes `'"'"'`."""
    return "'" + value.replace("'", "'\"'\"'") + "'"


def _explain(status: int) -> str | None:
    if status == 127:
        return "127 usually means that a command was not found in the tree"
    if status == 126:
        return "126 usually means that the script's interpreter could not be executed"
    if status > 128:
        return f"a status above 128 usually means death by signal {status - 128}"
    return None
