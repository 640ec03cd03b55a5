"""A provisioner in a plugin, as core runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from goldsmith.core.caching import config_inputs
from goldsmith.core.deferred import RawBody
from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.host.cancellation import Cancellation
from goldsmith.layers.keys import StepKey
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import Provisioner
from goldsmith.plugin.remote.communicators import served
from goldsmith.plugin.remote.kinds import foreign
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.preparing import checked, required, told
from goldsmith.plugin.remote.scopes import within
from goldsmith.plugin.remote.session import Session, Use
from goldsmith.plugin.remote.user import EventUi
from goldsmith.values import json_form


@dataclass(frozen=True, slots=True)
class ProvisionerKind:
    """Stands for the class."""

    place: ComponentPlace
    session: Session
    options_model: ClassVar[type[Options]] = ForeignOptions
    changes_tree: ClassVar[bool] = True

    @property
    def type_name(self) -> str:
        """What templates say."""
        return self.place.name

    def __call__(self, options: Options) -> PluginProvisioner:
        """One block."""
        return PluginProvisioner(self, foreign(options))


class PluginProvisioner:
    """One block of a provisioner in a plugin; its network is the host's, as its process is."""

    type_name: ClassVar[str] = ""
    options_model: ClassVar[type[Options]] = ForeignOptions
    changes_tree: ClassVar[bool] = True
    network = True
    reads_only = False

    def __init__(self, kind: ProvisionerKind, options: ForeignOptions) -> None:
        self.kind = kind
        self.options = options

    @property
    def label(self) -> str:
        """Names it."""
        return f"Provisioning with {self.kind.place.name} of {self.kind.place.label}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """What the plugin says of the options; nothing where that was asked before."""
        session = self.kind.session
        if not session.checks:
            return []
        use = session.use(self.kind.place, self.options.surroundings)
        return checked(use, lambda: self._prepared(use))

    def key(self, directory: Path) -> StepKey | None:
        """None: what a plugin does nobody can tell beforehand, but who gives a cache_key."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Prepare it with what is known now, and run it; raises GoldsmithError."""
        place, session = self.kind.place, self.kind.session
        use = session.use(place, self.options.surroundings)
        ui = EventUi(context.emitter, context.ask)
        scope = Cancellation()
        try:
            with use.logging(lambda line: context.emitter.output(line, "stderr", routine=True)):
                with use.phase("prepare"):
                    required(self._prepared(use), f"provisioner {place.name}")
                with use.phase("provision"):
                    self._run(use, ui, context, scope)
        finally:
            # What it left running over the communicator has no reader any more.
            scope.cancel("SIGTERM")
            if not session.checks:
                session.release_use(use)

    def _run(self, use: Use, ui: EventUi, context: ProvisionContext, scope: Cancellation) -> None:
        component: Provisioner = use.component
        communicator = served(context.communicator, partial(within, scope))
        component.provision(ui, communicator, dict(context.run_values), Cancel())

    def _prepared(self, use: Use) -> list[Finding]:
        return told(use, self.options, self.kind.session.settings, use.component.prepare)

    def inputs_beside_cache_key(self) -> dict[str, str]:
        """The program and the options: what its work depends on the template's cache_key says."""
        place = self.kind.place
        content = {f"option {name}": text for name, text in _content(self.options.body)}
        return config_inputs({"plugin": place.identity, "type": place.name, **content})


def _content(body: RawBody, path: str = "") -> Iterator[tuple[str, str]]:
    """The options one by one, blocks by their numbers."""
    for name, value in body.attributes.items():
        yield f"{path}{name}", json_form.encode(value)
    for number, block in enumerate(body.blocks):
        labels = "".join(f"{label}." for label in block.labels)
        yield from _content(block.body, f"{path}{block.type}.{labels}{number}.")
