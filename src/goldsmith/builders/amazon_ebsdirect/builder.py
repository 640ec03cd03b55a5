"""The `amazon-ebsdirect` source; the image is made in `making`."""

from __future__ import annotations

from typing import ClassVar, Final

from goldsmith.builders.amazon.builder import AmazonBuilder
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.options import Options

BUILDER_ID: Final = "goldsmith.amazon.ebsdirect"


class AmazonEbsdirectBuilder(AmazonBuilder):
    """Provisions an image of EC2 on this host, and writes back the blocks that changed."""

    type_name: ClassVar[str] = "amazon-ebsdirect"
    options_model: ClassVar[type[Options]] = AmazonEbsdirectOptions
    tools: ClassVar[tuple[str, ...]] = (*AmazonBuilder.tools, "blkid", "partx", "sfdisk")
    options: AmazonEbsdirectOptions

    def make(self, texts: Texts, context: BuildContext) -> Artifact:
        """Make it on a copy of the source's blocks."""
        # Late: a plan needs nothing of it.
        from goldsmith.builders.amazon_ebsdirect.making import EbsdirectMaking

        return EbsdirectMaking.of(self.options, texts, self.type_name, context).make()
