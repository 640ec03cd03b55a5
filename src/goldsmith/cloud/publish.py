"""What comes before an image is made, and what a complete snapshot goes through to become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from goldsmith.cloud.images import (
    DeregisterStep,
    Publishing,
    RegionCopyStep,
    RegisterStep,
    find_named,
)
from goldsmith.cloud.sharing import (
    DeprecationStep,
    ModifyAttributesStep,
    ProtectionStep,
    TagStep,
)
from goldsmith.core.step import Step, StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.signals import check_interrupted

R = TypeVar("R")


class RunStep(Protocol):
    """Runs a step with its events; what is not told has no line of its own."""

    def __call__(self, step: Step[R], *, told: bool = True) -> R:
        """Raises StepFailed."""
        ...


@dataclass(frozen=True, slots=True)
class PreValidateStep:
    """The regions exist, and no image has the name yet."""

    publishing: Publishing
    name: str = "StepPreValidate"

    @property
    def label(self) -> str:
        """Names the image."""
        return f"Prevalidating AMI Name: {self.publishing.options.ami_name}"

    def run(self, context: StepContext) -> None:
        """Look; raises GoldsmithError."""
        publishing, options = self.publishing, self.publishing.options
        ec2 = publishing.account.ec2()
        if not options.skip_region_validation:
            regions = {one["RegionName"] for one in ec2.call("describe_regions")["Regions"]}
            wanted = [ec2.region, *options.ami_regions]
            if unknown := [one for one in wanted if one not in regions]:
                raise GoldsmithError(
                    f"Invalid region(s): {', '.join(unknown)}",
                    hint=f"available regions: {', '.join(sorted(regions))}",
                )
        if publishing.replaces:
            context.emitter.say("Force Deregister flag found, skipping prevalidating AMI Name")
            return
        if options.skip_save_build_region:
            return
        found = find_named(ec2, options.ami_name)
        if found:
            raise GoldsmithError(
                f"AMI Name: '{options.ami_name}' is used by an existing AMI: {found[0]['ImageId']}",
                hint="choose another ami_name, or set force_deregister",
            )


@dataclass(frozen=True, slots=True)
class Described:
    """What is said of an image and its snapshots, as rendered."""

    description: str
    tags: Mapping[str, str]
    snapshot_tags: Mapping[str, str]


def publish(
    publishing: Publishing, run: RunStep, request: Mapping[str, Any], described: Described,
    commit: Callable[[], None],
) -> None:  # fmt: skip
    """Register an image of a snapshot, copy, share, tag and protect it; then it stays.

    `request` is that of RegisterImage; `commit` is called when an interrupt comes too late. Raises
    StepFailed.
    """
    if publishing.replaces:
        run(DeregisterStep(publishing, request))
    image_id = run(RegisterStep(publishing, request))
    if publishing.copy_regions:
        run(RegionCopyStep(publishing, image_id))
    run(DeprecationStep(publishing), told=False)
    run(ModifyAttributesStep(publishing, described.description), told=False)
    run(TagStep(publishing, described.tags, described.snapshot_tags), told=False)
    check_interrupted()
    run(ProtectionStep(publishing), told=False)
    commit()
    publishing.keep()
