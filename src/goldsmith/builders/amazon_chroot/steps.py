"""The steps that come before the volume is mounted, with Packer's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from goldsmith.builders.amazon_chroot.devices import (
    Node,
    attached_name,
    available_device,
    awaited_node,
    is_used,
)
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions, SourceFilter
from goldsmith.builders.amazon_chroot.requests import volume_request
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.metadata import instance_document
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.volumes import Volume, create_volume
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.teardown import Handle

Image = Mapping[str, Any]
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class InstanceInfoStep:
    """Which instance this is, and in which zone."""

    publishing: Publishing
    name: str = "StepInstanceInfo"
    label: str = "Gathering information about this EC2 instance"

    def run(self, context: StepContext) -> tuple[str, str]:
        """Return the id and the zone; raises GoldsmithError elsewhere than on an instance."""
        instance_id = instance_document()["instanceId"]
        ec2 = self.publishing.account.ec2()
        found = ec2.call("describe_instances", InstanceIds=[instance_id])["Reservations"]
        if not found or not found[0]["Instances"]:
            raise GoldsmithError(
                f"EC2 does not know the instance {instance_id} in {ec2.region}",
                hint="is `region` that of this instance, and are the credentials of its account?",
            )
        self.publishing.ledger.owner = found[0].get("OwnerId", "")
        return instance_id, found[0]["Instances"][0]["Placement"]["AvailabilityZone"]


class SourceOptions(Protocol):
    """What templates say about the source."""

    @property
    def source_ami(self) -> str:
        """Its id."""

    @property
    def source_ami_filter(self) -> SourceFilter | None:
        """What it is found by."""


@dataclass(frozen=True, slots=True)
class SourceImageStep:
    """Which image is the source."""

    publishing: Publishing
    options: SourceOptions
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


@dataclass(frozen=True, slots=True)
class PrepareDeviceStep:
    """A free name to attach the volume as; the lock is held meanwhile."""

    options: AmazonChrootOptions
    name: str = "StepPrepareDevice"
    label: str = "Looking for a free device"

    def run(self, context: StepContext) -> str:
        """Return it; raises GoldsmithError for one that is in use."""
        device = self.options.device_path
        if not device:
            return available_device()
        if is_used(device):
            raise GoldsmithError(
                f"Device is in use: {device}",
                hint="choose another device_path, or leave it out: a free one is found",
            )
        return device


@dataclass(frozen=True, slots=True)
class CreateVolumeStep:
    """Makes the working volume, of the source's snapshot or empty."""

    publishing: Publishing
    options: AmazonChrootOptions
    image: Image | None
    zone: str
    tags: Mapping[str, str]
    name: str = "StepCreateVolume"
    label: str = "Creating the root volume"

    def run(self, context: StepContext) -> tuple[Volume, int, Handle]:
        """Make it and wait for it; returns it with its size in GiB and what deletes it."""
        publishing = self.publishing
        request = volume_request(self.options, self.image, self.zone)
        for key, value in self.tags.items():
            context.emitter.say(f'Adding tag: "{key}": "{value}"')
        volume = create_volume(
            publishing.account.ec2(), publishing.waiting, publishing.ledger, request, self.tags
        )

        def delete() -> None:
            context.emitter.say("Deleting the created EBS volume...")
            volume.delete()

        handle = publishing.teardown.defer(f"delete volume {volume.id}", delete)
        volume.wait_until_available()
        return volume, int(request["Size"]), handle


@dataclass(frozen=True, slots=True)
class AttachVolumeStep:
    """Attaches the volume to this instance and waits until it is there."""

    publishing: Publishing
    options: AmazonChrootOptions
    volume: Volume
    instance_id: str
    device: str
    require_unmounted: Callable[[], None]
    """Raises GoldsmithError while anything of the volume is mounted: then it stays attached."""
    name: str = "StepAttachVolume"

    @property
    def label(self) -> str:
        """Names the device as EC2 is told of it."""
        return f"Attaching the root volume to {attached_name(self.device)}"

    def run(self, context: StepContext) -> tuple[Node, Handle]:
        """Return the node and what detaches it."""

        def detach() -> None:
            self.require_unmounted()
            context.emitter.say("Detaching EBS volume...")
            try:
                self.volume.detach()
            except AwsError:
                # The end of the build tries once more, before it deletes the volume.
                teardown.defer(label, self.volume.detach)
                raise

        teardown, label = self.publishing.teardown, f"detach volume {self.volume.id}"
        handle = teardown.defer(label, detach)
        try:
            self.volume.attach(self.instance_id, attached_name(self.device))
        except AwsError as e:
            if e.action == "AttachVolume" and not (e.is_passing or e.maybe_made):
                handle.forget()
            raise
        given = self.options.nvme_device_path
        return awaited_node(self.volume.id, self.device, given), handle
