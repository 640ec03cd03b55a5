"""Who may use an image, until when, and what it is called: attributes and tags."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.cloud.calls import Service
from goldsmith.cloud.image_options import tag_list
from goldsmith.cloud.images import Publishing, snapshots_of, wait_for_image
from goldsmith.cloud.refusals import AwsError
from goldsmith.core.step import StepContext
from goldsmith.host.cancellation import pause

_SEEN_WITHIN_S: Final = 120.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0

Attribute = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class DeprecationStep:
    """Says when each image counts as deprecated."""

    publishing: Publishing
    name: str = "StepEnableDeprecation"
    label: str = "Enabling AMI deprecation"

    def run(self, context: StepContext) -> None:
        """Say it, if the template does."""
        at = self.publishing.options.deprecate_at
        if not at:
            context.emitter.say("Skipping Enable AMI deprecation...")
            return
        for ec2, image_id in _images(self.publishing):
            context.emitter.say(
                f'Enabling deprecation on AMI ({image_id}) in region "{ec2.region}" ...'
            )
            ec2.call("enable_image_deprecation", ImageId=image_id, DeprecateAt=at)


@dataclass(frozen=True, slots=True)
class ProtectionStep:
    """Protects each image from being deregistered; what follows could not be undone so easily."""

    publishing: Publishing
    name: str = "StepEnableDeregistrationProtection"
    label: str = "Enabling AMI deregistration protection"

    def run(self, context: StepContext) -> None:
        """Protect them, if the template says so."""
        wanted = self.publishing.options.deregistration_protection
        if wanted is None or not (wanted.enabled or wanted.with_cooldown):
            context.emitter.say("Skipping Enable AMI deregistration protection...")
            return
        for ec2, image_id in _images(self.publishing):
            context.emitter.say(
                f'Enabling deregistration protection on AMI ({image_id}) in region "{ec2.region}" '
                "..."
            )
            ec2.call("enable_image_deregistration_protection", ImageId=image_id,
                     WithCooldown=wanted.with_cooldown)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModifyAttributesStep:
    """Sets the attributes of every image, then those of their snapshots."""

    publishing: Publishing
    description: str
    """As rendered."""
    name: str = "StepModifyAMIAttributes"
    label: str = "Modifying attributes of the AMI"

    def run(self, context: StepContext) -> None:
        """Set what the template gives."""
        publishing = self.publishing
        of_images = dict(self._of_image())
        of_snapshots = dict(self._of_snapshot())
        for ec2, image_id in _images(publishing):
            if of_images:
                context.emitter.say(f"Modifying attributes on AMI ({image_id})...")
            for kind, given in of_images.items():
                context.emitter.say(f"Modifying: {kind}")
                ec2.call("modify_image_attribute", ImageId=image_id, **given)
        if not of_snapshots:
            return
        for region, snapshots in sorted(publishing.snapshots.items()):
            for snapshot_id in snapshots:
                context.emitter.say(f"Modifying attributes on snapshot ({snapshot_id})...")
                for kind, given in of_snapshots.items():
                    context.emitter.say(f"Modifying: {kind}")
                    publishing.account.ec2(region).call(
                        "modify_snapshot_attribute", SnapshotId=snapshot_id, **given
                    )

    def _of_image(self) -> Iterator[Attribute]:
        options = self.publishing.options
        if self.description:
            yield "description", {"Description": {"Value": self.description}}
        for kind, values, inner, outer in (
            ("users", options.ami_users, "UserId", "UserIds"),
            ("groups", options.ami_groups, "Group", "UserGroups"),
            ("ami org arns", options.ami_org_arns, "OrganizationArn", "OrganizationArns"),
            ("ami ou arns", options.ami_ou_arns, "OrganizationalUnitArn",
             "OrganizationalUnitArns"),
        ):  # fmt: skip
            if values:
                added = [{inner: value} for value in values]
                yield kind, {"LaunchPermission": {"Add": added}, outer: list(values)}
        if options.ami_product_codes:
            yield "product codes", {"ProductCodes": list(options.ami_product_codes)}
        if options.imds_support:
            yield "imds_support", {"ImdsSupport": {"Value": options.imds_support}}

    def _of_snapshot(self) -> Iterator[Attribute]:
        options = self.publishing.options
        for kind, values, inner, outer in (
            ("users", options.snapshot_users, "UserId", "UserIds"),
            ("groups", options.snapshot_groups, "Group", "GroupNames"),
        ):
            if values:
                added = [{inner: value} for value in values]
                yield kind, {"CreateVolumePermission": {"Add": added}, outer: list(values)}


@dataclass(frozen=True, slots=True)
class TagStep:
    """Tags every image with its snapshots, then the snapshots once more with their own tags."""

    publishing: Publishing
    tags: Mapping[str, str]
    snapshot_tags: Mapping[str, str] = field(default_factory=dict)
    name: str = "StepCreateTags"
    label: str = "Adding tags"

    def run(self, context: StepContext) -> None:
        """Tag, where the template has tags."""
        if not (self.tags or self.snapshot_tags):
            return
        for ec2, image_id in _images(self.publishing):
            context.emitter.say(f"Adding tags to AMI ({image_id})...")
            snapshots = snapshots_of(wait_for_image(ec2, self.publishing.waiting, image_id))
            for snapshot_id in snapshots:
                context.emitter.say(f"Tagging snapshot: {snapshot_id}")
            for what, resources, tags in (
                ("AMI", [image_id, *snapshots], self.tags),
                ("snapshot", snapshots, self.snapshot_tags),
            ):
                if not tags or not resources:
                    continue
                context.emitter.say(f"Creating {what} tags")
                for key, value in tags.items():
                    context.emitter.say(f'Adding tag: "{key}": "{value}"')
                create_tags(ec2, resources, tags)


def create_tags(ec2: Service, resources: list[str], tags: Mapping[str, str]) -> None:
    """Tag resources; what was just made may not be known everywhere at once."""
    started_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            ec2.call("create_tags", Resources=resources, Tags=tag_list(tags))
            return
        except AwsError as e:
            if not e.is_absence or time.monotonic() - started_s > _SEEN_WITHIN_S:
                raise
        pause(pause_s)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)


def _images(publishing: Publishing) -> Iterator[tuple[Service, str]]:
    """The lasting images, sorted by region."""
    for region, image_id in sorted(publishing.images.items()):
        yield publishing.account.ec2(region), image_id
