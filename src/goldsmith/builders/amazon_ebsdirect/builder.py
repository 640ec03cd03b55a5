"""The `amazon-ebsdirect` source: its checks and its plan; the image is made in `making`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from goldsmith.builders.amazon_chroot.texts import Texts
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.builders.volume_steps.extras import require_copied
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext, plan_of_uncached
from goldsmith.errors import NotRootError
from goldsmith.host.process import get_tool

BUILDER_ID: Final = "goldsmith.amazon.ebsdirect"
_TOOLS: Final = ("blkid", "chroot", "mount", "nsenter", "partx", "sfdisk")


class AmazonEbsdirectBuilder:
    """Provisions an image of EC2 on this host, and writes back the blocks that changed."""

    type_name: ClassVar[str] = "amazon-ebsdirect"
    options_model: ClassVar[type[Options]] = AmazonEbsdirectOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = (
        "BuildRegion", "SourceAMI", "SourceAMICreationDate", "SourceAMIName", "SourceAMIOwner",
        "SourceAMIOwnerName", "MountPath",
    )  # fmt: skip
    communicates: ClassVar[bool] = True

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, AmazonEbsdirectOptions)
        self.options = options
        self.name = name

    @property
    def expected(self) -> ExpectedArtifact:
        """No file of a disk image."""
        return ExpectedArtifact()

    def check(self) -> Sequence[Finding]:
        """Everything that is wrong with the options; neither network nor credentials are needed."""
        return list(self.options.findings(Texts(self.name, self.type_name)))

    def preflight(self, directory: Path, *, force: bool) -> None:
        """This is root, and the tools and files of this host are there."""
        if os.geteuid() != 0:
            raise NotRootError("mounting the file systems of an image (amazon-ebsdirect)")
        for tool in _TOOLS:
            get_tool(tool)
        for name in self.options.copy_files:
            require_copied(name)

    def claims(self, directory: Path) -> Sequence[Path]:
        """Nothing on this host."""
        return ()

    def plan(self, context: PlanContext) -> BuildPlan:
        """Everything runs each time."""
        return plan_of_uncached(context, f"Making the AMI {self.options.ami_name}")

    def received(self, wire: Mapping[str, Any]) -> Artifact:
        """The images that a worker has made; what removes them asks AWS as the build did."""
        # Late: a plan needs nothing of it.
        from goldsmith.cloud.ami_artifact import received_amis

        return received_amis(wire, self.options)

    def build(self, context: BuildContext) -> Artifact:
        """Make the image; raises GoldsmithError and leaves nothing half made."""
        # Late: a plan needs nothing of it.
        from goldsmith.builders.amazon_ebsdirect.making import make_image
        from goldsmith.cloud.session import given_environment

        texts = Texts(self.name, self.type_name, context.template, context.epoch_s)
        with given_environment({**context.environment, **context.host_environment}):
            return make_image(self.options, texts, self.type_name, context)
