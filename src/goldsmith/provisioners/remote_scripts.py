"""What the provisioners share that run scripts of the user on a machine."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Generic, Self, TypeVar, cast

from pydantic import Field, model_validator

from goldsmith.core.communicator import (
    DISCONNECTED,
    Communicator,
    ConnectionFailed,
    Reconnects,
)
from goldsmith.core.given_scripts import GivenScripts
from goldsmith.core.hook import go_duration
from goldsmith.core.options import DurationSeconds, Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.script_environment import all_variables
from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.errors import GoTemplateError, TemplateFunctionError
from goldsmith.gotemplate.template import Template
from goldsmith.host.cancellation import pause
from goldsmith.layers.keys import StepKey

T = TypeVar("T")

PAUSE_S: Final = 2.0


class ScriptOptions(GivenScripts):
    """Options of every provisioner that runs scripts of the user."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"execute_command", "elevated_execute_command"})

    start_retry_timeout: DurationSeconds = Field(
        300.0,
        description="How long to try again where the machine cannot be reached, as while it "
        'restarts; by default "5m". A tree can always be reached.',
    )
    pause_after: DurationSeconds = Field(0.0, description="Wait after the last script.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [bool(self.inline), self.script is not None, bool(self.scripts)]
        if sum(kinds) != 1:
            raise ValueError("exactly one of inline, script and scripts must be given")
        return self

    def variables(self, context: ProvisionContext) -> dict[str, str]:
        """What the scripts get, by name and sorted."""
        return all_variables(
            self.environment_vars, self.env, context.build_name, context.builder_type
        )

    def label(self, kind: str) -> str:
        """Names the scripts, or the first line of `inline`."""
        if self.files:
            return f"Provisioning with {kind} script: " + ", ".join(self.files)
        first = self.inline[0].strip().splitlines() or [""]
        return f"Provisioning with {kind}: {first[0]}"

    def shown(self, number: int, inline_name: str) -> str:
        """What to call a script; `inline` is called as Packer calls its file."""
        if self.files:
            return self.files[number]
        return f"{tempfile.gettempdir()}/{inline_name}{secrets.randbelow(10**9)}"

    def read(self, name: str, directory: Path) -> bytes:
        """The bytes of a script; raises GoldsmithError."""
        try:
            return (directory / name).read_bytes()
        except OSError as e:
            raise GoldsmithError(f"cannot read the script {name}: {e.strerror}") from e

    def pause(self, context: ProvisionContext) -> None:
        """Wait as `pause_after` says."""
        if self.pause_after:
            context.emitter.say(
                f"Pausing {go_duration(self.pause_after)} after this provisioner..."
            )
            pause(self.pause_after)


S_co = TypeVar("S_co", bound=ScriptOptions, covariant=True)


class MachineScripts(Generic[S_co]):
    """The frame of a provisioner that runs scripts of the user on machines, never in trees."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, self.options_model)
        self.options = cast(S_co, options)
        self.network = True
        self.reads_only = False

    @property
    def label(self) -> str:
        """Names the scripts, or the first line of `inline`."""
        return self.options.label(self.type_name)

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there."""
        return self.options.missing_scripts(directory)

    def key(self, directory: Path) -> StepKey | None:
        """A machine has no layers."""
        return None

    def contents(self, directory: Path, *, head: str = "", end: str = "") -> list[bytes]:
        """The scripts; `head` and `end` stand around the lines of `inline`."""
        options = self.options
        if not options.inline:
            return [options.read(name, directory) for name in options.files]
        text = head + "".join(f"{command}\n" for command in options.inline) + end
        return [text.encode("utf-8", "surrogateescape")]

    def announced(
        self, contents: Sequence[bytes], kind: str, context: ProvisionContext
    ) -> Iterator[bytes]:
        """One script after the other, each told of before it is handed on."""
        for number, content in enumerate(contents):
            shown = self.options.shown(number, f"{self.type_name}-provisioner")
            context.emitter.say(f"Provisioning with {kind} script: {shown}")
            yield content


def rendered(template: str, context: ProvisionContext, data: Mapping[str, str]) -> str:
    """A command with its placeholders filled; `build` tells what the builder filled.

    Raises GoldsmithError where that is not there.
    """

    def build(key: str) -> str:
        if key not in context.run_values:
            raise TemplateFunctionError(f"the builder does not fill {key}")
        return context.run_values[key]

    functions: dict[str, Callable[..., object]] = {
        "build": build, "build_name": lambda: context.build_name,
        "build_type": lambda: context.builder_type,
    }  # fmt: skip
    try:
        return Template.parse(template, functions).render(data)
    except GoTemplateError as e:
        raise GoldsmithError(f"the command {template!r} cannot be made: {e}") from e


def check_renders(template: str, *names: str) -> str:
    """Raise ValueError unless a command can be rendered with these placeholders."""
    functions: dict[str, Callable[..., object]] = {
        "build": lambda key: key, "build_name": lambda: "", "build_type": lambda: "",
    }  # fmt: skip
    try:
        Template.parse(template, functions).render(dict.fromkeys(names, "x"))
    except GoTemplateError as e:
        raise ValueError(str(e)) from e
    return template


def retried(communicator: Communicator, limit_s: float, work: Callable[[], T]) -> T:
    """Do something; where the machine cannot be reached, again and again for so long."""
    deadline_s = time.monotonic() + limit_s
    with _waiting(communicator, limit_s):
        while True:
            try:
                return work()
            except ConnectionFailed as e:
                if e.lasting or time.monotonic() + PAUSE_S >= deadline_s:
                    raise
                pause(PAUSE_S)


@contextmanager
def _waiting(communicator: Communicator, limit_s: float) -> Iterator[None]:
    if isinstance(communicator, Reconnects):
        with communicator.waiting(limit_s):
            yield
    else:
        yield


def run_line(command: str, context: ProvisionContext) -> int:
    """Run a command, its output shown; returns its status."""
    return context.communicator.start(
        command,
        on_line=lambda stream, line: context.emitter.output(line, stream),
        env=context.environment,
    )


def require_status(
    status: int, valid: Sequence[int], *, expects_disconnect: bool = False, explained: str = ""
) -> None:
    """Raise GoldsmithError unless a script ended well."""
    if status in valid or (status == DISCONNECTED and expects_disconnect):
        return
    if status == DISCONNECTED:
        raise GoldsmithError(
            "Script disconnected unexpectedly: the connection was lost while it ran",
            hint="where it restarts the machine on purpose, write expect_disconnect = true, or add "
            f"{DISCONNECTED} to valid_exit_codes",
        )
    allowed = " ".join(str(code) for code in valid)
    raise GoldsmithError(
        f"Script exited with non-zero exit status: {status}. Allowed exit codes are: [{allowed}]",
        hint=explained or None,
    )
