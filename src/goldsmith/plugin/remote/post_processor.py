"""A post-processor in a plugin, as core runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey
from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.protocols import PostProcessor
from goldsmith.plugin.remote.artifacts import ServedArtifact, received
from goldsmith.plugin.remote.kinds import foreign
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.preparing import checked, required, told
from goldsmith.plugin.remote.session import Session, Use
from goldsmith.plugin.remote.user import EventUi


@dataclass(frozen=True, slots=True)
class PostProcessorKind:
    """Stands for the class."""

    place: ComponentPlace
    session: Session
    options_model: ClassVar[type[Options]] = ForeignOptions

    @property
    def type_name(self) -> str:
        """What templates say."""
        return self.place.name

    def __call__(self, options: Options) -> PluginPostProcessor:
        """One block."""
        return PluginPostProcessor(self, foreign(options))


class PluginPostProcessor:
    """One block of a post-processor in a plugin."""

    type_name: ClassVar[str] = ""
    options_model: ClassVar[type[Options]] = ForeignOptions

    def __init__(self, kind: PostProcessorKind, options: ForeignOptions) -> None:
        self.kind = kind
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """What the plugin says of the options; nothing where that was asked before."""
        session = self.kind.session
        if not session.checks:
            return []
        use = session.use(self.kind.place, self.options.surroundings)
        return checked(use, lambda: self._configured(use))

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Nobody knows what it needs, nor what it will hand on."""
        return ExpectedArtifact()

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """None: it runs always."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Configure it with what is known now, and run it; raises GoldsmithError."""
        place, session = self.kind.place, self.kind.session
        use = session.use(place, self.options.surroundings)
        component: PostProcessor = use.component
        emitter = context.emitter
        with use.logging(lambda line: emitter.output(line, "stderr", routine=True)):
            with use.phase("configure"):
                required(self._configured(use), f"post-processor {place.name}")
            with use.phase("post-process"):
                given = ServedArtifact(artifact)
                made = component.post_process(EventUi(emitter), given, Cancel())
                if made.artifact is None:
                    raise GoldsmithError(
                        f"post-processor {place.name} (plugin {place.label}) handed on nothing"
                    )
                return PostProcessed(received(made.artifact), made.keep, made.force_keep)

    def _configured(self, use: Use) -> list[Finding]:
        return told(use, self.options, self.kind.session.settings, use.component.configure)
