"""A hook in a plugin, as core runs it: a provisioner that does not ask what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.host.cancellation import Cancellation
from goldsmith.layers.keys import StepKey
from goldsmith.plugin.protocols import Hook
from goldsmith.plugin.remote.communicators import ServedCommunicator
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.session import Session
from goldsmith.plugin.remote.user import EventUi


class HookOptions(Options):
    """What the build tells a hook; templates say only when it is called."""

    event: str
    data: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HookKind:
    """Stands for the class."""

    place: ComponentPlace
    session: Session
    options_model: ClassVar[type[Options]] = HookOptions
    changes_tree: ClassVar[bool] = True

    @property
    def type_name(self) -> str:
        """What templates say."""
        return self.place.name

    def __call__(self, options: Options) -> PluginHook:
        """One event of one block."""
        assert isinstance(options, HookOptions)
        return PluginHook(self, options)


class PluginHook:
    """A hook at one event; its network is the host's, as its process is."""

    type_name: ClassVar[str] = ""
    options_model: ClassVar[type[Options]] = HookOptions
    changes_tree: ClassVar[bool] = True
    network = True
    reads_only = False

    def __init__(self, kind: HookKind, options: HookOptions) -> None:
        self.kind = kind
        self.options = options

    @property
    def label(self) -> str:
        """Names it and its event."""
        return f"Hook {self.kind.place.name} at {self.options.event}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """It has no options of its own."""
        return []

    def key(self, directory: Path) -> StepKey | None:
        """Nobody knows what it does."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Call it in a process for this event; raises GoldsmithError."""
        ui, scope = EventUi(context.emitter, context.ask), Cancellation()
        with self.kind.session.passing_use(self.kind.place) as use:
            try:
                with use.logging(lambda line: context.emitter.output(line, "stderr", routine=True)):
                    with use.phase(self.options.event):
                        component: Hook = use.component
                        communicator = ServedCommunicator(context.communicator, scope.installed)
                        component.run(self.options.event, ui, communicator, self.options.data)
            finally:
                # What it left running over the communicator has no reader any more.
                scope.cancel("SIGTERM")
