"""What the core asks of every source that makes an image of EC2, but for the making itself."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from goldsmith.builders.amazon.options import AmazonOptions
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.volume_steps.extras import require_copied
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext, plan_of_uncached
from goldsmith.errors import NotRootError
from goldsmith.host.process import get_tool


class AmazonBuilder(ABC):
    """A source that provisions a volume, or a copy of one, and registers it as an image."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = (
        "BuildRegion", "SourceAMI", "SourceAMICreationDate", "SourceAMIName", "SourceAMIOwner",
        "SourceAMIOwnerName", "MountPath",
    )  # fmt: skip
    communicates: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("chroot", "mount", "nsenter")
    """The programs of this host that it runs."""
    options: AmazonOptions

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, self.options_model) and isinstance(options, AmazonOptions)
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
            raise NotRootError(f"mounting file systems (the source {self.type_name})")
        for tool in self.tools:
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
        from goldsmith.cloud.session import given_environment

        texts = Texts(self.name, self.type_name, context.template, context.epoch_s)
        with given_environment({**context.environment, **context.host_environment}):
            return self.make(texts, context)

    @abstractmethod
    def make(self, texts: Texts, context: BuildContext) -> Artifact:
        """Make it; the environment of this process is the build's meanwhile."""
