"""The `artifice` post-processor: an artifact of files that a build has left beside its own."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.layers.keys import StepKey

BUILDER_ID: Final = "packer.post-processor.artifice"


class ArtificeOptions(Options):
    """Options of the `artifice` post-processor."""

    go_templates: ClassVar[bool] = True

    files: tuple[str, ...] = Field(
        min_length=1, description="The files of the new artifact, as patterns with * ? and [a-z]."
    )


class Artifice:
    """Replaces the artifact by one of the files that match."""

    type_name: ClassVar[str] = "artifice"
    options_model: ClassVar[type[Options]] = ArtificeOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ArtificeOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """The files are made only while the build runs."""
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """No tool is needed; of the new files nothing is known."""
        return ExpectedArtifact()

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """It always looks which files there are."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Find the files; the artifact before stays unless the template says otherwise."""
        emitter = context.emitter
        if artifact.files:
            emitter.say(f"Discarding files from artifact: {', '.join(artifact.files)}")
        files = tuple(
            name for pattern in self.options.files for name in _matching(pattern, context.directory)
        )
        shown = ", ".join(files)
        emitter.say(f"Using these artifact files: {shown}")
        made = Artifact(
            builder_id=BUILDER_ID,
            id="",
            string=f"Created artifact from files: {shown}",
            files=files,
        )
        return PostProcessed(made, keep=True)


def _matching(pattern: str, directory: Path) -> list[str]:
    """What a pattern of Go's means: `*` takes dot files too, and `[^a]` is a negation."""
    python = pattern.replace("[^", "[!")
    return sorted(glob.glob(python, root_dir=directory, include_hidden=True))
