"""The `amazon-chroot` source; the image is made in `making`."""

from __future__ import annotations

from typing import ClassVar, Final

from goldsmith.builders.amazon.builder import AmazonBuilder
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.options import Options

BUILDER_ID: Final = "mitchellh.amazon.chroot"


class AmazonChrootBuilder(AmazonBuilder):
    """Provisions a volume of EC2 on the instance that this is, and registers it as an image."""

    type_name: ClassVar[str] = "amazon-chroot"
    options_model: ClassVar[type[Options]] = AmazonChrootOptions
    announces: ClassVar[tuple[str, ...]] = (*AmazonBuilder.announces, "Device")
    options: AmazonChrootOptions

    def make(self, texts: Texts, context: BuildContext) -> Artifact:
        """Make it on a volume."""
        # Late: a plan needs nothing of it.
        from goldsmith.builders.amazon_chroot.making import ChrootMaking

        return ChrootMaking.of(self.options, texts, self.type_name, context).make()
