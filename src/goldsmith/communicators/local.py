"""Scripts of the user on this host: what the provisioner and the post-processor shell-local share.

They run on the host's files, in the caller's directory and environment, each in a process group of
its own that ends with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from goldsmith.core.given_scripts import GivenScripts
from goldsmith.core.script_environment import all_variables, takes_two, written
from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.errors import GoTemplateError

if TYPE_CHECKING:
    from goldsmith.events import Emitter

DEFAULT_COMMAND = ("/bin/sh", "-c", "{{.Vars}} {{.Script}}")
DEFAULT_SHEBANG = "/bin/sh -e"
DEFAULT_FORMAT = "%s='%s' "
SYSTEM = "linux"
System = Literal["darwin", "freebsd", "linux", "openbsd", "solaris", "windows"]


class ShellLocalOptions(GivenScripts):
    """Options of `shell-local`."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"execute_command"})

    command: str | None = Field(None, description="A single command; `inline` says the same.")
    env_var_format: str = Field(
        DEFAULT_FORMAT,
        description="How a variable is written in {{.Vars}}: %s is its name, then its value.",
    )
    execute_command: tuple[str, ...] = Field(
        DEFAULT_COMMAND,
        min_length=1,
        description="How a script is run, as words: {{.Script}} is the script, {{.Vars}} the "
        "variables. A single word goes to sh -c.",
    )
    inline_shebang: str = Field(
        DEFAULT_SHEBANG, description="The interpreter of `inline`; unused if it brings its own."
    )
    only_on: tuple[System, ...] = Field(
        (), description="Run only where this host is one of these systems; it is linux."
    )
    tempfile_extension: str = Field(
        "", description='The end of the name of the file that `inline` becomes, such as ".py".'
    )
    use_linux_pathing: bool = Field(
        False, description="For Windows hosts; paths are those of Linux in any case."
    )

    @field_validator("env_var_format")
    @classmethod
    def _is_format(cls, given: str) -> str:
        return takes_two(given)

    @field_validator("execute_command")
    @classmethod
    def _renders(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for word in given:
                _render(word, "script", "vars")
        except GoTemplateError as e:
            raise ValueError(str(e)) from e
        return ("/bin/sh", "-c", *given) if len(given) == 1 else given

    @field_validator("use_linux_pathing")
    @classmethod
    def _is_off(cls, given: bool) -> bool:
        if given:
            raise ValueError("use_linux_pathing is for Windows hosts only; this one is Linux")
        return given

    @field_validator("tempfile_extension")
    @classmethod
    def _is_no_path(cls, given: str) -> str:
        if "/" in given:
            raise ValueError("it cannot hold a slash")
        return given

    @model_validator(mode="after")
    def _one_kind(self) -> ShellLocalOptions:
        kinds = [self.command is not None, bool(self.inline), self.script is not None,
                 bool(self.scripts)]  # fmt: skip
        if sum(kinds) != 1:
            raise ValueError("exactly one of inline, script, scripts and command must be given")
        return self

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of `inline`, or the one of `command`."""
        return (self.command,) if self.command is not None else self.inline


def _render(word: str, script: str, variables: str) -> str:
    from goldsmith.gotemplate.template import Template

    data = {"Script": script, "Command": script, "Vars": variables}
    return Template.parse(word, {}).render(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalScripts:
    """The scripts of one `shell-local` block, for one build."""

    options: ShellLocalOptions
    emitter: Emitter
    directory: Path
    build_name: str
    builder_type: str
    run_uuid: str
    scratch_file: Callable[[Path], AbstractContextManager[Path]]

    def run(self) -> None:
        """Run them one after the other; raises GoldsmithError for a status that is not allowed."""
        if self.options.only_on and SYSTEM not in self.options.only_on:
            self.emitter.say("Skipping shell-local due to runtime OS")
            return
        if self.options.commands:
            with self._inline_script() as path:
                self._run(str(path))
        for name in self.options.files:
            self._run(name)

    @contextmanager
    def _inline_script(self) -> Iterator[Path]:
        """The commands as a file that only its owner can read: values may be secret."""
        import secrets
        import tempfile

        from goldsmith.host.process import write_program

        options = self.options
        body = "".join(f"{command}\n" for command in options.commands)
        own_shebang = body.startswith("#!") and options.inline_shebang == DEFAULT_SHEBANG
        head = "" if own_shebang or not options.inline_shebang else f"#!{options.inline_shebang}\n"
        name = f"packer-shell{secrets.randbelow(10**9)}{options.tempfile_extension}"
        with self.scratch_file(Path(tempfile.gettempdir(), name)) as path:
            write_program(path, (head + body).encode("utf-8", "surrogateescape"))
            yield path

    def _variables(self) -> dict[str, str]:
        options = self.options
        return all_variables(
            options.environment_vars, options.env, self.build_name, self.builder_type
        )

    def _run(self, script: str) -> None:
        import shlex

        from goldsmith.host import process

        path = str(self.directory / script)
        variables = self._variables()
        environment = {**os.environ, "PACKER_RUN_UUID": self.run_uuid}
        self.emitter.say(f"Running local shell script: {script}")
        if self._is_default:
            # As environment and not as words: those are on every list of processes.
            words = ["/bin/sh", "-c", shlex.quote(path)]
            environment |= variables
        else:
            shown = "".join(self._written(name, variables[name]) for name in sorted(variables))
            words = [_render(word, path, shown) for word in self.options.execute_command]
        done = process.run(
            words, env=environment, cwd=self.directory, check=False,
            on_line=lambda stream, line: self.emitter.output(line, stream),
        )  # fmt: skip
        status = done.status if done.status >= 0 else 128 - done.status
        if status not in self.options.valid_exit_codes:
            allowed = " ".join(str(code) for code in self.options.valid_exit_codes)
            raise GoldsmithError(
                f"Script exited with non-zero exit status: {status}. Allowed exit codes are: "
                f"[{allowed}] ({script})",
                hint=_explain(status),
            )

    @property
    def _is_default(self) -> bool:
        options = self.options
        return (options.execute_command, options.env_var_format) == (DEFAULT_COMMAND,
                                                                      DEFAULT_FORMAT)  # fmt: skip

    def _written(self, name: str, value: str) -> str:
        """A variable in `env_var_format`; for a shell a `'` in the value becomes `'"'"'`."""
        return written(self.options.env_var_format, name, value.replace("'", "'\"'\"'"))


def _explain(status: int) -> str | None:
    if status == 127:
        return "127 usually means that a command was not found"
    if status == 126:
        return "126 usually means that the script is not executable, or lacks its interpreter"
    if status > 128:
        return f"a status above 128 usually means death by signal {status - 128}"
    return None
