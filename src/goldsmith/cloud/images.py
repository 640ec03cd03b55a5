"""Snapshots and images: made, waited for, copied to other regions, and taken back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from goldsmith.cloud.calls import Service
from goldsmith.cloud.image_options import ImageOptions
from goldsmith.cloud.journal import Claim, Ledger, delete_snapshots, deregister, gone
from goldsmith.cloud.polling import IMAGE, SNAPSHOT, Waiting
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.session import Account
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.teardown import Handle, Teardown

_NAME_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Made:
    """Something at AWS that goes again unless all goes well, or the user wants it to stay."""

    what: str
    handle: Handle
    """What takes it back."""
    claim: Claim

    def keep(self) -> None:
        """It is not taken back any more."""
        self.handle.forget()
        self.claim.settle()


@dataclass(slots=True)
class Publishing:
    """What the steps that make images share."""

    account: Account
    options: ImageOptions
    waiting: Waiting
    ledger: Ledger
    teardown: Teardown
    force: bool = False
    images: dict[str, str] = field(default_factory=dict)
    """The lasting images by region."""
    snapshots: dict[str, list[str]] = field(default_factory=dict)
    """Their snapshots by region."""
    kept: list[Made] = field(default_factory=list)
    """Both, in the order in which they were made."""

    @property
    def replaces(self) -> bool:
        """Whether an older image of the name makes room."""
        return self.force or self.options.force_deregister

    @property
    def copy_regions(self) -> list[str]:
        """Where copies go, each once and sorted; the build's own region only if copied there."""
        regions = set(self.options.ami_regions) - {self.account.region}
        if self.options.encrypt_boot is True and not self.options.skip_save_build_region:
            regions.add(self.account.region)
        return sorted(regions)

    def keep(self) -> None:
        """All is well: nothing of it is taken back any more."""
        for made in self.kept:
            made.handle.forget()
        # At once: of a build that is killed here `clean` removes everything or nothing.
        self.ledger.run.forget(*(made.claim.entry for made in self.kept))
        self.kept.clear()


@dataclass(frozen=True, slots=True)
class SnapshotStep:
    """Makes a snapshot of a volume that is not written to any more."""

    publishing: Publishing
    volume_id: str
    name: str = "StepSnapshot"
    label: str = "Creating snapshot"

    def run(self, context: StepContext) -> str:
        """Make it, wait for it and return its id; it goes again unless the image is kept."""
        publishing = self.publishing
        ec2 = publishing.account.ec2()
        claim = publishing.ledger.claim("snapshot", ec2.region)

        def made_before() -> Mapping[str, Any] | None:
            found = ec2.call("describe_snapshots", OwnerIds=["self"], Filters=claim.filters())
            return next(iter(found["Snapshots"]), None)

        with claim.settled_if_refused():
            made = ec2.call(
                "create_snapshot", VolumeId=self.volume_id, made_before=made_before,
                Description=time.strftime("Packer: %Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime()),
                TagSpecifications=claim.tags("snapshot"),
            )  # fmt: skip
        snapshot_id = str(made["SnapshotId"])

        lasting = not publishing.options.copies_first

        def remove() -> None:
            if lasting:
                context.emitter.say("Removing snapshot since we cancelled or halted...")
            gone(ec2, "delete_snapshot", SnapshotId=snapshot_id)
            claim.settle()

        handle = publishing.teardown.defer(f"delete snapshot {snapshot_id}", remove)
        if lasting:
            publishing.kept.append(Made(f"Snapshot {snapshot_id}", handle, claim))
        context.emitter.say(f"Snapshot ID: {snapshot_id}")

        def look() -> tuple[str, bool]:
            found = ec2.one("describe_snapshots", SnapshotIds=[snapshot_id])
            state = str(found["State"])
            if state == "error":
                said = found.get("StateMessage", "AWS says no more")
                raise GoldsmithError(f"snapshot {snapshot_id} failed: {said}")
            return state, state == "completed"

        publishing.waiting.until(SNAPSHOT, f"snapshot {snapshot_id}", look)
        return snapshot_id


@dataclass(frozen=True, slots=True)
class DeregisterStep:
    """Makes room for the new image: only once its registration was tried."""

    publishing: Publishing
    request: Mapping[str, Any]
    """What the image will be registered with."""
    name: str = "StepDeregisterAMI"
    label: str = "Deregistering older images of this name"

    def run(self, context: StepContext) -> None:
        """Deregister images of the name in every region; raises what a refusal raises."""
        publishing = self.publishing
        self._try_registration()
        home = publishing.account.region
        others = [one for one in publishing.options.ami_regions if one != home]
        regions = [*dict.fromkeys(others)]
        if not publishing.options.skip_save_build_region:
            regions.append(home)
        for region in regions:
            self._remove(publishing.account.ec2(region), context)

    def _try_registration(self) -> None:
        # That the name is taken would hide whatever else is wrong.
        request = {**self.request, "Name": temporary_name(), "DryRun": True}
        try:
            self.publishing.account.ec2().call("register_image", **request)
        except AwsError as e:
            if e.code != "DryRunOperation":
                raise

    def _remove(self, ec2: Service, context: StepContext) -> None:
        name = self.publishing.options.ami_name
        for image in find_named(ec2, name):
            gone(ec2, "deregister_image", ImageId=image["ImageId"])
            context.emitter.say(f"Deregistered AMI {name}, id: {image['ImageId']}")
            if self.publishing.options.force_delete_snapshot:
                for snapshot_id in snapshots_of(image):
                    _delete_unless_used(ec2, snapshot_id, context)


def _delete_unless_used(ec2: Service, snapshot_id: str, context: StepContext) -> None:
    """Delete a snapshot; to fail for one of another image would leave no image of the name."""
    try:
        gone(ec2, "delete_snapshot", SnapshotId=snapshot_id)
    except AwsError as e:
        if e.code != "InvalidSnapshot.InUse":
            raise
        context.emitter.warn(f"{snapshot_id} stays, as another image uses it")
        return
    context.emitter.say(f"Deleted snapshot: {snapshot_id}")


@dataclass(frozen=True, slots=True)
class RegisterStep:
    """Registers the image of a snapshot."""

    publishing: Publishing
    request: Mapping[str, Any]
    name: str = "StepRegisterAMI"
    label: str = "Registering the AMI"

    def run(self, context: StepContext) -> str:
        """Register it, wait for it and return its id."""
        publishing = self.publishing
        ec2 = publishing.account.ec2()
        claim = publishing.ledger.claim("image", ec2.region)
        lasting = not publishing.options.copies_first
        name = publishing.options.ami_name if lasting else temporary_name()

        def made_before() -> Mapping[str, Any] | None:
            found = ec2.call("describe_images", Owners=["self"], Filters=claim.filters())
            return next(iter(found["Images"]), None)

        with claim.settled_if_refused():
            made = ec2.call(
                "register_image", **{**self.request, "Name": name}, made_before=made_before,
                TagSpecifications=claim.tags("image"),
            )  # fmt: skip
        image_id = str(made["ImageId"])

        def remove() -> None:
            if not lasting:
                context.emitter.say("Deregistering the AMI and deleting unencrypted temporary "
                                    "AMIs and snapshots")  # fmt: skip
            take_back(ec2, image_id, claim)()

        handle = publishing.teardown.defer(f"deregister {image_id}", remove)
        if lasting:
            publishing.kept.append(Made(f"AMI {image_id}", handle, claim))
            publishing.images[ec2.region] = image_id
        context.emitter.say(f"AMI: {image_id}")
        context.emitter.say("Waiting for AMI to become ready...")
        image = wait_for_image(ec2, publishing.waiting, image_id)
        if lasting:
            publishing.snapshots[ec2.region] = snapshots_of(image)
        return image_id


@dataclass(frozen=True, slots=True)
class RegionCopyStep:
    """Copies the image to other regions, all at once."""

    publishing: Publishing
    image_id: str
    name: str = "StepAMIRegionCopy"

    @property
    def label(self) -> str:
        """Names the image."""
        return f"Copying/Encrypting AMI ({self.image_id}) to other regions"

    def run(self, context: StepContext) -> None:
        """Ask for every copy, then wait for them; raises what the first that fails raises."""
        publishing = self.publishing
        for region in publishing.copy_regions:
            context.emitter.say(f"Copying to: {region}")
            self._copy(publishing.account.ec2(region))
        context.emitter.say("Waiting for all copies to complete...")
        for region in publishing.copy_regions:
            ec2, image_id = publishing.account.ec2(region), publishing.images[region]
            image = wait_for_image(ec2, publishing.waiting, image_id)
            publishing.snapshots[region] = snapshots_of(image)

    def _copy(self, ec2: Service) -> None:
        publishing, options = self.publishing, self.publishing.options
        claim = publishing.ledger.claim("image", ec2.region)
        home = publishing.account.region
        key = options.region_kms_key_ids.get(ec2.region, "")
        if ec2.region == home:
            key = options.kms_key_id
        # Without CopyImageTags: the image has no tag yet but the one of this run, which would stand
        # beside the copy's own of the same key. The template's tags come when all copies are there.
        with claim.settled_if_refused():
            made = ec2.call(
                "copy_image", SourceRegion=home, SourceImageId=self.image_id,
                Name=options.ami_name, Encrypted=options.encrypt_boot, KmsKeyId=key or None,
                ClientToken=secrets.token_hex(16),
                SnapshotCopyCompletionDurationMinutes=options.snapshot_copy_duration_minutes
                or None,
                TagSpecifications=claim.tags("image", "snapshot"),
            )  # fmt: skip
        image_id = str(made["ImageId"])
        handle = publishing.teardown.defer(
            f"deregister {image_id} in {ec2.region}", take_back(ec2, image_id, claim, copy=True)
        )
        publishing.images[ec2.region] = image_id
        publishing.kept.append(Made(f"AMI {image_id} in {ec2.region}", handle, claim))


def take_back(
    ec2: Service, image_id: str, claim: Claim, *, copy: bool = False
) -> Callable[[], None]:
    """What removes an image; a copy's snapshots are its own, and go with it."""

    def remove() -> None:
        snapshots: list[str] = []
        if copy:
            try:
                snapshots = snapshots_of(ec2.one("describe_images", ImageIds=[image_id]))
            except AwsError as e:
                if not e.is_absence:
                    raise
        deregister(ec2, image_id)
        for snapshot_id in snapshots:
            gone(ec2, "delete_snapshot", SnapshotId=snapshot_id)
        if copy:
            # A copy that is not ready yet does not say its snapshots.
            delete_snapshots(ec2, claim.filters())
        claim.settle()

    return remove


def wait_for_image(ec2: Service, waiting: Waiting, image_id: str) -> Mapping[str, Any]:
    """Wait until an image can be used and return it; raises GoldsmithError when it never will."""
    found: Mapping[str, Any] = {}

    def look() -> tuple[str, bool]:
        nonlocal found
        found = ec2.one("describe_images", ImageIds=[image_id])
        state = str(found["State"])
        if state in ("failed", "error", "invalid", "deregistered"):
            said = found.get("StateReason", {}).get("Message", "AWS says no more")
            raise GoldsmithError(
                f"AMI {image_id} became {state}: {said}",
                hint="a key that may not be used, or a snapshot that is gone, are usual causes",
            )
        return state, state == "available"

    waiting.until(IMAGE, f"AMI {image_id}", look)
    return found


def remove_image(account: Account, region: str, image_id: str) -> None:
    """Deregister an image and delete the snapshots of its devices; raises AwsError."""
    ec2 = account.ec2(region)
    try:
        snapshots = snapshots_of(ec2.one("describe_images", ImageIds=[image_id]))
    except AwsError as e:
        if not e.is_absence:
            raise
        return
    deregister(ec2, image_id)
    for snapshot_id in snapshots:
        gone(ec2, "delete_snapshot", SnapshotId=snapshot_id)


def find_named(ec2: Service, name: str) -> Sequence[Mapping[str, Any]]:
    """The account's own images of a name."""
    filters = [{"Name": "name", "Values": [name]}]
    found: Sequence[Mapping[str, Any]] = ec2.call(
        "describe_images", Owners=["self"], Filters=filters
    )["Images"]
    return found


def snapshots_of(image: Mapping[str, Any]) -> list[str]:
    """The snapshots of an image's devices; ephemeral ones have none."""
    ebs = (mapping.get("Ebs", {}) for mapping in image.get("BlockDeviceMappings", ()))
    return [one["SnapshotId"] for one in ebs if one.get("SnapshotId")]


def temporary_name() -> str:
    """A name for an image that does not last."""
    return "".join(secrets.choice(_NAME_LETTERS) for _ in range(7))
