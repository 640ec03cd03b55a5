"""A builder in a plugin, as core runs it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from goldsmith.core.artifact import NOTHING, Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.hook import ProvisionHook
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext, plan_of_uncached
from goldsmith.errors import GoldsmithError, Interrupted, Severity
from goldsmith.host.cancellation import Cancellation, current
from goldsmith.plugin import protocols
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.remote.artifacts import received, texts
from goldsmith.plugin.remote.communicators import GivenCommunicator
from goldsmith.plugin.remote.kinds import foreign
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.preparing import checked, layers_for
from goldsmith.plugin.remote.scopes import within
from goldsmith.plugin.remote.session import Session
from goldsmith.plugin.remote.user import EventUi

PROVISION = "packer_provision"
CLEANUP_PROVISION = "packer_cleanup_provision"
HOOK_GRACE_S = 20.0
"""How long provisioners may take to end once the builder has; longer than they are given."""


@dataclass(frozen=True, slots=True)
class BuilderKind:
    """Stands for the class."""

    place: ComponentPlace
    session: Session
    options_model: ClassVar[type[Options]] = ForeignOptions
    needs_worker: ClassVar[bool] = False
    announces: ClassVar[tuple[str, ...]] = ()

    @property
    def type_name(self) -> str:
        """What templates say."""
        return self.place.name

    def __call__(self, options: Options, name: str) -> PluginBuilder:
        """One block."""
        return PluginBuilder(self, foreign(options), name)


class PluginBuilder:
    """One block of a builder in a plugin: runs on a thread, the plugin does all the work."""

    type_name: ClassVar[str] = ""
    options_model: ClassVar[type[Options]] = ForeignOptions
    needs_worker: ClassVar[bool] = False
    communicates: ClassVar[bool] = True

    def __init__(self, kind: BuilderKind, options: ForeignOptions, name: str) -> None:
        self.kind = kind
        self.options = options
        self.name = name
        self.announces: tuple[str, ...] = ()
        """Known once it was checked."""

    @property
    def expected(self) -> ExpectedArtifact:
        """Nobody knows."""
        return ExpectedArtifact()

    def check(self) -> Sequence[Finding]:
        """What the plugin says of the options; it then knows what it will do."""
        use = self.kind.session.use(self.kind.place, self.options.surroundings)

        def prepare() -> list[Finding]:
            builder: protocols.Builder = use.component
            layers, found = layers_for(self.options, builder, self.kind.session.settings)
            if found:
                return found
            prepared = builder.prepare(layers)
            self.announces = tuple(prepared.generated)
            return [Finding(text, severity=Severity.WARNING) for text in prepared.warnings]

        return checked(use, prepare)

    def preflight(self, directory: Path, *, force: bool) -> None:
        """The plugin looks itself."""

    def claims(self, directory: Path) -> Sequence[Path]:
        """Nobody knows."""
        return ()

    def plan(self, context: PlanContext) -> BuildPlan:
        """Everything runs each time."""
        place = self.kind.place
        return plan_of_uncached(context, f"Building with {place.name} of {place.label}")

    def build(self, context: BuildContext) -> Artifact:
        """Run it; raises GoldsmithError."""
        place = self.kind.place
        use = self.kind.session.use(place, self.options.surroundings)
        hook = _BuildHook(context, place.name)
        ui = EventUi(context.emitter, context.ask)
        emitter = context.emitter
        with use.logging(lambda line: emitter.output(line, "stderr", routine=True)):
            try:
                with use.phase("build"):
                    artifact = use.component.run(ui, hook, Cancel())
            except Interrupted:
                raise
            except GoldsmithError as error:
                # Over the wire only the text of a provisioner's error survives.
                if hook.error is not None and str(hook.error) in str(error):
                    raise hook.error from error
                raise
            finally:
                hook.end()
            if artifact is None:
                return NOTHING
            return received(artifact)


@dataclass(slots=True)
class _BuildHook:
    """Runs the template's provisioners when the plugin says so (see `protocols.Hook`)."""

    context: BuildContext
    builder_type: str
    error: GoldsmithError | None = None
    _scopes: list[Cancellation] = field(default_factory=list)
    _cancelled: bool = False
    _lock: threading.Condition = field(default_factory=threading.Condition)

    def run(
        self,
        name: str,
        ui: protocols.Ui,
        communicator: protocols.Communicator,
        data: Mapping[str, Any] | None,
    ) -> None:
        """Run them over the plugin's communicator."""
        if name not in (PROVISION, CLEANUP_PROVISION):
            return
        # A builder in this process calls on the thread of the build, which has its own scope.
        outer = current()
        scope = outer or Cancellation()
        with self._lock:
            self._scopes.append(scope)
            if self._cancelled:
                scope.cancel("SIGINT")
        given = GivenCommunicator(communicator)
        # What follows an error the plugin decides, which was told what the user wants.
        hook = ProvisionHook(replace(self.context, on_error=""), given, self.builder_type)
        run_values = {"PackerRunUUID": self.context.run_uuid, **texts(data or {})}
        try:
            with within(scope):
                if name == PROVISION:
                    hook.provision(run_values)
                else:
                    hook.clean_up(run_values)
        except GoldsmithError as error:
            self.error = error
            raise
        finally:
            with self._lock:
                self._scopes.remove(scope)
                self._lock.notify_all()
            if outer is None:
                scope.close()

    def end(self) -> None:
        """Stop what still runs though the builder has ended, and wait until it has cleaned up."""
        self.cancel()
        with self._lock:
            self._lock.wait_for(lambda: not self._scopes, HOOK_GRACE_S)

    def cancel(self) -> None:
        """Stop what runs, and what would."""
        with self._lock:
            self._cancelled = True
            for scope in self._scopes:
                scope.cancel("SIGINT")
