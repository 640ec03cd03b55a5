"""The steps that come before the volume is mounted, with Packer's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from goldsmith.builders.amazon_chroot.devices import (
    Node,
    attached_name,
    available_device,
    awaited_node,
    is_used,
)
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.requests import volume_request
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.metadata import instance_document
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.registering import Image
from goldsmith.cloud.volumes import Volume, create_volume
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.teardown import Handle


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
