"""The `shell-local` post-processor: scripts of the user on this host, when a build is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from goldsmith.communicators.local import LocalScripts, ShellLocalOptions
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.layers.keys import StepKey


class ShellLocal:
    """Runs scripts of the user on this host; the artifact stays as it is."""

    type_name: ClassVar[str] = "shell-local"
    options_model: ClassVar[type[Options]] = ShellLocalOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ShellLocalOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there."""
        return self.options.missing_scripts(directory)

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """No tool is needed; the artifact is handed on."""
        return given

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """Nothing can identify what happens on the host: it always runs."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Run the scripts; raises GoldsmithError for a status that is not allowed."""
        LocalScripts(
            options=self.options, emitter=context.emitter, directory=context.directory,
            build_name=context.build_name, builder_type=context.builder_type,
            run_uuid=context.run_uuid, scratch_file=context.scratch_file,
        ).run()  # fmt: skip
        return PostProcessed(artifact, keep=True, force_keep=True)
