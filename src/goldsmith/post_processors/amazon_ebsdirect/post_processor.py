"""What the post-processor asks of an artifact, and the steps that make an AMI of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import get_tool
from goldsmith.layers.keys import StepKey
from goldsmith.post_processors.amazon_ebsdirect.image_source import CONVERTED, PREFERRED, preferred
from goldsmith.post_processors.amazon_ebsdirect.options import AmazonEbsdirectOptions

BUILDER_ID: Final = "goldsmith.post-processor.amazon-ebsdirect"


class AmazonEbsdirect:
    """Uploads an image as a snapshot, and registers it; the image stays where it is."""

    type_name: ClassVar[str] = "amazon-ebsdirect"
    options_model: ClassVar[type[Options]] = AmazonEbsdirectOptions

    def __init__(self, options: Options) -> None:
        assert isinstance(options, AmazonEbsdirectOptions)
        self.options = options

    def check(self, directory: Path) -> Sequence[Finding]:
        """Everything that is wrong with the options; neither network nor credentials are needed."""
        return list(self.options.findings())

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Raise GoldsmithError for formats that are no image of a disk, and without their tools."""
        kind = preferred(given.formats)
        if given.formats and kind is None:
            raise GoldsmithError(
                "amazon-ebsdirect found no image that it can upload",
                hint=f"add one of {', '.join(PREFERRED)} to `formats`",
            )
        for tool in ("blkid", "sfdisk", *(("qemu-img",) if kind in CONVERTED else ())):
            get_tool(tool)
        return ExpectedArtifact()

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """None: what is at AWS may be gone."""
        return None

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Make the AMI; raises GoldsmithError and leaves nothing half made."""
        # Late: a plan needs nothing of it.
        from goldsmith.post_processors.amazon_ebsdirect.making import make_image

        return PostProcessed(make_image(self.options, artifact, context, BUILDER_ID), keep=True)
