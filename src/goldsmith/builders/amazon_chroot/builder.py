"""The `amazon-chroot` source: its checks and its plan; the image is made in `making`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.texts import Texts
from goldsmith.builders.volume_steps.extras import require_copied
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext, plan_of_uncached
from goldsmith.errors import NotRootError
from goldsmith.host.process import get_tool

BUILDER_ID: Final = "mitchellh.amazon.chroot"


class AmazonChrootBuilder:
    """Provisions a volume of EC2 on the instance that this is, and registers it as an image."""

    type_name: ClassVar[str] = "amazon-chroot"
    options_model: ClassVar[type[Options]] = AmazonChrootOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = (
        "BuildRegion", "SourceAMI", "SourceAMICreationDate", "SourceAMIName", "SourceAMIOwner",
        "SourceAMIOwnerName", "Device", "MountPath",
    )  # fmt: skip
    communicates: ClassVar[bool] = True

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, AmazonChrootOptions)
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
            raise NotRootError("mounting a volume (the source amazon-chroot)")
        for tool in ("chroot", "mount", "nsenter"):
            get_tool(tool)
        for name in self.options.shown_files:
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
        from goldsmith.builders.amazon_chroot.making import make_image
        from goldsmith.cloud.session import given_environment

        texts = Texts(self.name, self.type_name, context.template, context.epoch_s)
        with given_environment({**context.environment, **context.host_environment}):
            return make_image(self.options, texts, self.type_name, context)
