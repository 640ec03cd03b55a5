"""Which image is the source of another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.builders.amazon.options import AmazonOptions
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.registering import Image
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class SourceImageStep:
    """Which image is the source."""

    publishing: Publishing
    options: AmazonOptions
    name: str = "StepSourceAMIInfo"
    label: str = "Looking for the source AMI"

    def run(self, context: StepContext) -> Image:
        """Return it; raises GoldsmithError for none, and for several without most_recent."""
        options, chosen = self.options, self.options.source_ami_filter
        wanted: dict[str, Any] = {}
        if options.source_ami:
            wanted["ImageIds"] = [options.source_ami]
        if chosen is not None:
            if chosen.filters:
                wanted["Filters"] = [
                    {"Name": name, "Values": [value]} for name, value in chosen.filters.items()
                ]
            if chosen.owners:
                wanted["Owners"] = list(chosen.owners)
            if chosen.include_deprecated:
                wanted["IncludeDeprecated"] = True
        ec2 = self.publishing.account.ec2()
        found = ec2.call("describe_images", **wanted)["Images"]
        if not found:
            raise GoldsmithError(
                f"No AMI was found in {ec2.region} that is {_shown(wanted)}",
                hint="are region, owners and filters right, and may this account use it?",
            )
        if len(found) > 1:
            if chosen is None or not chosen.most_recent:
                ids = ", ".join(one["ImageId"] for one in found[:_SHOWN])
                raise GoldsmithError(
                    f"{len(found)} AMIs are {_shown(wanted)}: {ids}"
                    + (" and more" if len(found) > _SHOWN else ""),
                    hint="narrow source_ami_filter, or set most_recent",
                )
            found.sort(key=lambda one: str(one.get("CreationDate", "")))
        image: Image = found[-1]
        context.emitter.say(f"Found Image ID: {image['ImageId']}")
        return image


def _shown(wanted: Mapping[str, Any]) -> str:
    parts = [", ".join(wanted.get("ImageIds", ()))]
    parts += [f"{one['Name']}={one['Values'][0]}" for one in wanted.get("Filters", ())]
    parts += [f"of {owner}" for owner in wanted.get("Owners", ())]
    return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class CheckRootDeviceStep:
    """Only a volume can be copied."""

    image: Image
    name: str = "StepCheckRootDevice"
    label: str = "Checking the root device on source AMI"

    def run(self, context: StepContext) -> None:
        """Raise GoldsmithError for an instance store."""
        kind = self.image.get("RootDeviceType")
        if kind != "ebs":
            raise GoldsmithError(
                f"the root device of {self.image['ImageId']} is {kind}, not ebs",
                hint="the root device must be an EBS volume for this source: take another image",
            )
