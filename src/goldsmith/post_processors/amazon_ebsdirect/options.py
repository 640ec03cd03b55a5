"""What a template can say in `post-processor "amazon-ebsdirect"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from goldsmith.cloud.ebs_direct.options import DirectOptions
from goldsmith.core.options import Finding

ROOT_DEVICE = "/dev/xvda"


class AmazonEbsdirectOptions(DirectOptions):
    """Options of the `amazon-ebsdirect` post-processor."""

    go_templates: ClassVar[bool] = True

    index_file: str = Field(
        "",
        description="Where the digests of the blocks are kept: the next build of the image sends "
        "only what differs. By default beside the image: NAME.ebs-blocks.gz.",
    )
    use_parent: bool = Field(
        True,
        description="Make the new snapshot one after that of index_file, if there is one.",
    )

    def findings(self) -> Iterator[Finding]:
        """What is wrong with options that belong together, all of it."""
        yield from self.direct_findings()
        if self.ami_virtualization_type == "paravirtual":
            yield Finding("an image of a disk is hvm, not paravirtual",
                          ("ami_virtualization_type",))  # fmt: skip
        names = [one.device_name for one in self.ami_block_device_mappings]
        root = self.root_device_name or ROOT_DEVICE
        if names and not self.root_device_name and root not in names:
            yield Finding("If ami_block_device_mappings is specified, root_device_name must be "
                          "specified", ("root_device_name",))  # fmt: skip
