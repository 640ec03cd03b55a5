"""Makes an image of EC2 on a volume: the steps in Packer's order."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from goldsmith.builders.amazon.making import Making
from goldsmith.builders.amazon.texts import run_values, source_data
from goldsmith.builders.amazon_chroot.builder import BUILDER_ID
from goldsmith.builders.amazon_chroot.devices import Node
from goldsmith.builders.amazon_chroot.entering import AttachedVolume, require_unmounted
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.steps import (
    AttachVolumeStep,
    CreateVolumeStep,
    InstanceInfoStep,
    PrepareDeviceStep,
)
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.cloud.images import Made, SnapshotStep
from goldsmith.cloud.publish import PreValidateStep
from goldsmith.cloud.volumes import Volume
from goldsmith.core.artifact import Artifact

LOCK: Final = Path("/var/lock/packer-chroot/lock")


@dataclass(slots=True)
class ChrootMaking(Making[AmazonChrootOptions]):
    """One build of an image on a volume of this instance."""

    builder_id: ClassVar[str] = BUILDER_ID
    volume: Made | None = None

    def steps(self) -> Artifact:
        """The steps in their order."""
        options, publishing, state = self.options, self.publishing, self.state
        self.step(PreValidateStep(publishing))
        instance_id, zone = self.step(InstanceInfoStep(publishing))
        if options.has_source:
            self.source()
        data = source_data(state.source_image, publishing.account.region)
        described = self.described(data)
        tags = self.texts.render_all(options.all_volume_tags, data)
        volume, size_gib, node = self._attach(instance_id, zone, tags)
        attached = AttachedVolume(options, self.texts, self.context, state, self.teardown, node)
        known = {**run_values(data), "ID": instance_id, "Device": state.device}
        values = self.provision(attached, known)
        snapshot_id = self.step(SnapshotStep(publishing, volume.id))
        return self.published(snapshot_id, size_gib, described, values)

    def _attach(
        self, instance_id: str, zone: str, tags: Mapping[str, str]
    ) -> tuple[Volume, int, Node]:
        """Lock, prepare a device, make a volume and attach it, unlock; its size is in GiB."""
        options, publishing, state = self.options, self.publishing, self.state
        lock = LockStep(LOCK, self.teardown, name="StepFlock")
        state.flock_cleanup = self.step(lock, told=False)
        state.device = self.step(PrepareDeviceStep(options), told=False)
        volume, size, created = self.step(
            CreateVolumeStep(publishing, options, state.source_image, zone, tags)
        )
        state.volume_id = volume.id
        self.volume = Made(f"Volume {volume.id}", created, volume.claim)
        attach = AttachVolumeStep(
            publishing, options, volume, instance_id, state.device,
            functools.partial(require_unmounted, state),
        )  # fmt: skip
        node, state.attach_cleanup = self.step(attach)
        state.node = node.disk
        unlock = EarlyUnlockStep(state.flock_cleanup, name="StepEarlyUnflock")
        self.step(unlock, told=False)
        return volume, size, node

    def keep_volume(self) -> None:
        """Leave it at AWS, attached if it is; mounts never stay, they end with the build."""
        cleanup = self.state.attach_cleanup
        if self.volume is not None and self.volume.handle.pending:
            attached = cleanup is not None and cleanup.pending
            self.stays.append(f"{self.volume.what} stays{' attached' if attached else ''}")
            self.volume.keep()
        if cleanup is not None:
            cleanup.forget()
