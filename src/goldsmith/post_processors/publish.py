"""The `publish` post-processor: puts an artifact's files where machines fetch them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.deploy.publish import PublishError, place_of, publish
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey
from goldsmith.redact import Redactor


class PublishOptions(Options):
    """Options of the `publish` post-processor."""

    go_templates: ClassVar[bool] = True

    destination: str = Field(
        description="A directory, or an address: http or https of a server that takes PUT, or "
        "s3://BUCKET/PREFIX. Names and passwords stand in the address or in ~/.netrc; those of S3 "
        "are where AWS's own tools have them, as is its endpoint (AWS_ENDPOINT_URL_S3)."
    )


class Publish:
    """Uploads every file, what describes them last; nothing where all of it is there already."""

    type_name: ClassVar[str] = "publish"
    options_model: ClassVar[type[Options]] = PublishOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, PublishOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """The destination must be of a kind that is known."""
        try:
            place_of(self.options.destination, directory, Redactor())
        except GoldsmithError as e:
            return [Finding(str(e), ("destination",), e.hint or "")]
        return []

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Nothing is asked of the place before there is something to put there."""
        return given

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """None: only the place itself knows what it has, and it is asked."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Publish; the artifact stays as it is. Raises GoldsmithError."""
        files = [context.directory / path for path in artifact.paths()]
        if not files:
            raise PublishError("the artifact has no files that could be published")
        emitter = context.emitter
        place = place_of(self.options.destination, context.directory, emitter.redactor)

        def on_bytes(name: str, done: int, total: int) -> None:
            emitter.progress(f"publishing {name}", done, total, part=name, unit="B")

        publish(files, place, say=emitter.say, on_bytes=on_bytes)
        return PostProcessed(artifact, keep=True, force_keep=True)
