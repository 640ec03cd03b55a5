"""The user's own commands on this host, before and after the root of a volume is mounted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from goldsmith.core.step import StepContext
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template
from goldsmith.host.process import run

PRE_MOUNT = ("pre-mount-commands", "Running device setup commands")
POST_MOUNT = ("post-mount-commands", "Running post-mount commands")


@dataclass(frozen=True, slots=True)
class HostCommandsStep:
    """Runs commands by the shell of this host, one after the other, each in the wrapper.

    `data` is what templates in them know: Device, and MountPath once there is one.
    """

    name: str
    label: str
    commands: Sequence[str]
    wrapper: str
    data: Mapping[str, str]

    def run(self, context: StepContext) -> None:
        """Run them; raises GoldsmithError at the first that fails."""

        def show(stream: str, line: str) -> None:
            context.emitter.output(line, stream)

        for command in self.commands:
            words = self.rendered(command)
            context.emitter.say(f"Executing command: {words}")
            try:
                run(["/bin/sh", "-c", words], on_line=show)
            except CommandFailed as e:
                raise GoldsmithError(
                    f"the command of the template ended with status {e.status}: {words}",
                    hint="it runs on this host, with its programs and files",
                ) from e

    def rendered(self, command: str) -> str:
        """The command as the shell is given it; raises GoldsmithError."""
        try:
            plain = Template.parse(command, {}).render(dict(self.data))
            return Template.parse(self.wrapper, {}).render({"Command": plain})
        except GoTemplateError as e:
            raise GoldsmithError(f"{command!r} cannot be rendered: {e}") from e
