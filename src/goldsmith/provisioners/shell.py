"""The `shell` provisioner: scripts of the user, run by the shell of the tree.

What the user wrote reaches the tree byte for byte as a file; only `execute_command`, which says how
to run it, passes through a shell, and that shell is the tree's. Scripts have names that follow from
their position, so that nothing by chance is in a step's environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import randbelow
from typing import ClassVar

from pydantic import Field, field_validator

from goldsmith.core.caching import config_inputs, shown_path
from goldsmith.core.communicator import DISCONNECTED, Communicator, ConnectionFailed, is_tree
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import takes_two, written
from goldsmith.errors import GoldsmithError
from goldsmith.host.chroot import RUN_FILES
from goldsmith.host.digests import bytes_digest
from goldsmith.layers.keys import StepKey
from goldsmith.provisioners.remote_scripts import (
    ScriptOptions,
    check_renders,
    rendered,
    require_status,
    retried,
    run_line,
)

DEFAULT_COMMAND = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"
COMMAND_WITH_FILE = "chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}"
DEFAULT_FORMAT = "%s='%s' "
FORMAT_IN_FILE = "export %s='%s'\n"
DEFAULT_SHEBANG = "/bin/sh -e"
MACHINE_FILES = "/tmp"  # noqa: S108 (as Packer: what a machine has for such files)


class ShellOptions(ScriptOptions):
    """Options of the `shell` provisioner."""

    execute_command: str = Field(
        DEFAULT_COMMAND,
        description="How a script is run: {{.Path}} is the script, {{.Vars}} the variables, "
        "{{.EnvVarFile}} the file that has them instead. With use_env_var_file the default is "
        f"`{COMMAND_WITH_FILE}`.",
    )
    use_env_var_file: bool = Field(
        False, description="Hand the variables over in a file, in place of the command line."
    )
    env_var_format: str = Field(
        DEFAULT_FORMAT,
        description="How a variable is written: %s is its name, then its value. In a file the "
        "default is a line with `export`.",
    )
    expect_disconnect: bool = Field(
        False,
        description="Scripts may take the connection along, as a restart does. In a tree there is "
        "none to lose.",
    )
    inline_shebang: str = Field(
        DEFAULT_SHEBANG, description="The interpreter of `inline`; unused if it brings its own."
    )
    remote_folder: str | None = Field(
        None,
        description="The directory for the script; by default one in memory in a tree, and /tmp on "
        "a machine.",
    )
    remote_file: str | None = Field(None, description="The name of the script there.")
    remote_path: str | None = Field(None, description="Folder and name in one.")
    binary: bool = Field(False, description="Leave CRLF line ends as they are.")
    skip_clean: bool = Field(False, description="Leave the script there.")
    network: bool = Field(
        True, description="Whether the scripts see the host's network, or an empty one."
    )

    @field_validator("execute_command")
    @classmethod
    def _renders(cls, given: str) -> str:
        return check_renders(given, "Path", "Vars", "EnvVarFile")

    @field_validator("env_var_format")
    @classmethod
    def _is_format(cls, given: str) -> str:
        return takes_two(given)

    @property
    def command(self) -> str:
        """How a script is run."""
        if self.use_env_var_file and "execute_command" not in self.model_fields_set:
            return COMMAND_WITH_FILE
        return self.execute_command

    def formatted(self, variables: Mapping[str, str]) -> str:
        """The variables as the shell reads them: a `'` in a value becomes `'"'"'`."""
        form = self.env_var_format
        if self.use_env_var_file and "env_var_format" not in self.model_fields_set:
            form = FORMAT_IN_FILE
        return "".join(
            written(form, name, value.replace("'", "'\"'\"'")) for name, value in variables.items()
        )


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
    def label(self) -> str:
        """Names the scripts, or the first line of `inline`."""
        return self.options.label("shell")

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there and readable."""
        return self.options.missing_scripts(directory)

    def key(self, directory: Path) -> StepKey | None:
        """The scripts' bytes and everything that says how they run."""
        options = self.options
        settings = options.model_dump(
            exclude_defaults=True,
            exclude={
                "inline", "script", "scripts", "environment_vars", "env", "pause_after",
                "start_retry_timeout", "expect_disconnect",
            },
        )  # fmt: skip
        inputs = {"type": "shell/1", **config_inputs(settings)}
        # With the position: the same script may run twice, and the order matters.
        names = [shown_path(name, directory) for name in options.files] or ["inline"]
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
        for name in options.files:
            data = options.read(name, directory)
            contents.append(data if options.binary else data.replace(b"\r\n", b"\n"))
        return contents

    def _remote_path(self, number: int, communicator: Communicator) -> str:
        options = self.options
        if options.remote_path is not None:
            return options.remote_path
        in_tree = is_tree(communicator)
        folder = options.remote_folder or (RUN_FILES if in_tree else MACHINE_FILES)
        # On a machine others may run at the same time; in a tree chance would be in the step's key.
        name = f"script_{number if in_tree else randbelow(9999)}.sh"
        return f"{folder.rstrip('/')}/{options.remote_file or name}"

    def _variables_path(self, number: int, communicator: Communicator) -> str:
        in_tree = is_tree(communicator)
        folder = self.options.remote_folder or (RUN_FILES if in_tree else MACHINE_FILES)
        return f"{folder.rstrip('/')}/varfile_{number if in_tree else randbelow(9999)}.sh"

    def provision(self, context: ProvisionContext) -> None:
        """Upload, run, check the status, remove: script by script.

        Raises GoldsmithError for a status that is not among `valid_exit_codes`.
        """
        for number, content in enumerate(self._contents(context.directory)):
            if not is_tree(context.communicator):
                shown = self.options.shown(number, "packer-shell")
                context.emitter.say(f"Provisioning with shell script: {shown}")
            self._run(number, content, context)
        self.options.pause(context)

    def _run(self, number: int, content: bytes, context: ProvisionContext) -> None:
        options, communicator = self.options, context.communicator
        variables = options.formatted(options.variables(context))
        path = self._remote_path(number, communicator)
        left = [path]
        data = {"Path": path, "Vars": variables, "EnvVarFile": ""}
        if options.use_env_var_file:
            file = self._variables_path(number, communicator)
            left.append(file)
            data |= {"Vars": "", "EnvVarFile": file}
            text = variables.encode("utf-8", "surrogateescape")
            retried(communicator, options.start_retry_timeout,
                    lambda: self._upload(text, file, 0o600, communicator))  # fmt: skip

        def upload_and_start() -> int:
            self._upload(content, path, 0o755, communicator)
            return run_line(rendered(options.command, context, data), context)

        status = retried(communicator, options.start_retry_timeout, upload_and_start)
        require_status(status, options.valid_exit_codes, explained=_explain(status) or "",
                       expects_disconnect=options.expect_disconnect)  # fmt: skip
        if not options.skip_clean:
            for name in left:
                self._remove(name, context)

    def _upload(self, content: bytes, path: str, mode: int, communicator: Communicator) -> None:
        communicator.upload(content, path, mode=mode)
        if not is_tree(communicator):
            status = communicator.start(f"chmod {mode:04o} {path}", on_line=_unheard)
            if status == DISCONNECTED:
                raise ConnectionFailed(f"the connection was lost at chmod {mode:04o} {path}")
            if status:
                raise GoldsmithError(f"chmod {mode:04o} {path} ended with status {status}")

    def _remove(self, path: str, context: ProvisionContext) -> None:
        communicator = context.communicator
        try:
            retried(communicator, self.options.start_retry_timeout,
                    lambda: communicator.remove(path))  # fmt: skip
        except ConnectionFailed as e:
            raise GoldsmithError(
                f"Error removing temporary script at {path}: {e}",
                hint="where the machine does not come back, write skip_clean = true",
            ) from e


def _unheard(stream: str, line: str) -> None:
    """chmod has nothing to say to users."""


def _explain(status: int) -> str | None:
    if status == 127:
        return "127 usually means that a command was not found in the tree"
    if status == 126:
        return "126 usually means that the script's interpreter could not be executed"
    if status > 128:
        return f"a status above 128 usually means death by signal {status - 128}"
    return None
