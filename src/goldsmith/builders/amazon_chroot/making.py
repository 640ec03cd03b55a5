"""Makes an image of EC2: the steps in Packer's order, and what each leaves to be taken back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from goldsmith.builders.amazon_chroot.builder import BUILDER_ID
from goldsmith.builders.amazon_chroot.devices import Node, awaited_partition
from goldsmith.builders.amazon_chroot.entering import Entering
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.provisioning import provision_tree
from goldsmith.builders.amazon_chroot.running import pause_debugging, run_step
from goldsmith.builders.amazon_chroot.state import ChrootState
from goldsmith.builders.amazon_chroot.steps import (
    AttachVolumeStep,
    CheckRootDeviceStep,
    CreateVolumeStep,
    InstanceInfoStep,
    PrepareDeviceStep,
    SourceImageStep,
)
from goldsmith.builders.amazon_chroot.texts import Texts, run_values, source_data
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import POST_MOUNT, PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.cloud.ami_artifact import ami_artifact
from goldsmith.cloud.images import Made, Publishing, SnapshotStep
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.publish import Described, PreValidateStep, publish
from goldsmith.cloud.registering import register_request
from goldsmith.cloud.session import Account
from goldsmith.cloud.volumes import Volume
from goldsmith.core.after_error import KEEPING
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.teardown import Teardown

LOCK: Final = Path("/var/lock/packer-chroot/lock")
R = TypeVar("R")


def make_image(
    options: AmazonChrootOptions, texts: Texts, builder_type: str, context: BuildContext
) -> Artifact:
    """Run the steps; raises GoldsmithError and leaves nothing on this host or at AWS.

    What cannot be taken back now stays in the journal of the run, for its end and for `clean`.
    """
    context.work.mkdir(mode=0o700)
    account = Account(options, context.emitter.redactor)
    teardown = Teardown()
    publishing = Publishing(
        account, options, Waiting.of(options.aws_polling, os.environ),
        Ledger(context.run, account, context.name), teardown, force=context.force,
    )  # fmt: skip
    making = _Making(options, texts, builder_type, context, publishing)
    try:
        with teardown:
            artifact = making.run()
            making.finish()
    except GoldsmithError:
        if making.keeps:
            making.tell_kept()
        raise
    return artifact


@dataclass(slots=True)
class _Making:
    """One build of an image."""

    options: AmazonChrootOptions
    texts: Texts
    builder_type: str
    context: BuildContext
    publishing: Publishing
    state: ChrootState = field(default_factory=ChrootState)
    volume: Made | None = None
    keeps: bool = False
    stays: list[str] = field(default_factory=list)
    """What is told to stay at AWS, as the user wants no cleanup."""

    @property
    def teardown(self) -> Teardown:
        """What gives back all that the build has acquired."""
        return self.publishing.teardown

    @property
    def entering(self) -> Entering:
        """What mounts the volume."""
        return Entering(self.options, self.texts, self.context, self.state, self.teardown)

    def run(self) -> Artifact:
        """The steps in their order."""
        try:
            return self._steps()
        except Interrupted:
            raise
        except GoldsmithError as e:
            failed_provisioner = getattr(e, "keeps", None)
            abort = self.context.on_error in KEEPING
            self.keeps = bool(failed_provisioner) or (failed_provisioner is None and abort)
            if self.keeps:
                self._keep_everything()
            raise

    def _steps(self) -> Artifact:
        options, publishing, state = self.options, self.publishing, self.state
        self._step(PreValidateStep(publishing))
        instance_id, zone = self._step(InstanceInfoStep(publishing))
        if not options.from_scratch:
            state.source_image = self._step(SourceImageStep(publishing, options))
            self._step(CheckRootDeviceStep(state.source_image))
        data = source_data(state.source_image, publishing.account.region)
        # A mistake in them shows itself before anything is made.
        render = self.texts.render_all
        tags, snapshot_tags, volume_tags = (
            render(one, data)
            for one in (options.all_tags, options.all_snapshot_tags, options.all_volume_tags)
        )
        description = self.texts.render(options.ami_description, data)
        volume, size, node = self._attach(instance_id, zone, volume_tags)
        values = self._provision(node, {**run_values(data), "ID": instance_id})
        self._step(EarlyCleanupStep(state.early_cleanups, name="StepEarlyCleanup"))
        state.snapshot_id = self._step(SnapshotStep(publishing, volume.id))
        request = register_request(options, state.source_image, state.snapshot_id, size)
        described = Described(description, tags, snapshot_tags)
        publish(publishing, self._step, request, described, self.context.commit)
        return ami_artifact(BUILDER_ID, publishing.images, options, values)

    def _attach(
        self, instance_id: str, zone: str, tags: Mapping[str, str]
    ) -> tuple[Volume, int, Node]:
        """Lock, prepare a device, make a volume and attach it, unlock; its size is in GiB."""
        options, publishing, state = self.options, self.publishing, self.state
        lock = LockStep(LOCK, self.teardown, name="StepFlock")
        state.flock_cleanup = self._step(lock, told=False)
        state.device = self._step(PrepareDeviceStep(options), told=False)
        volume, size, created = self._step(
            CreateVolumeStep(publishing, options, state.source_image, zone, tags)
        )
        state.volume_id = volume.id
        self.volume = Made(f"Volume {volume.id}", created, volume.claim)
        attach = AttachVolumeStep(
            publishing, options, volume, instance_id, state.device, self.entering.require_unmounted
        )
        node, state.attach_cleanup = self._step(attach)
        state.node = node.disk
        unlock = EarlyUnlockStep(state.flock_cleanup, name="StepEarlyUnflock")
        self._step(unlock, told=False)
        return volume, size, node

    def _provision(self, node: Node, values: dict[str, str]) -> dict[str, str]:
        """Mount the volume and run the provisioners; returns what `build.*` says."""
        options, state, entering = self.options, self.state, self.entering
        self._commands(PRE_MOUNT, "StepPreMountCommands", options.pre_mount_commands,
                       {"Device": node.disk})  # fmt: skip
        kind = options.ami_virtualization_type
        if state.source_image is not None:
            kind = state.source_image.get("VirtualizationType", "")
        number = options.mount_partition if kind == "hvm" else "0"
        place = entering.mount(awaited_partition(node, number))
        self._commands(POST_MOUNT, "StepPostMountCommands", options.post_mount_commands,
                       {"Device": node.disk, "MountPath": str(place)})  # fmt: skip
        entrance = entering.extras(place)
        values |= {"Device": state.device, "MountPath": str(place),
                   "PackerRunUUID": self.context.run_uuid}  # fmt: skip
        provision_tree(self.context, self.builder_type, entrance, place, values)
        pause_debugging(self.context, "StepChrootProvision")
        return values

    def finish(self) -> None:
        """Give back what is left; the image stands, so that a failure here is told and no more.

        It stays in the journal: the end of the run tries once more.
        """
        for label, error in self.teardown.close():
            self.context.emitter.warn(f"cleanup failed: {label}: {error}")

    def _step(self, step: Step[R], *, told: bool = True) -> R:
        return run_step(self.context, step, told=told)

    def _commands(
        self, which: tuple[str, str], name: str, commands: tuple[str, ...], data: Mapping[str, str]
    ) -> None:
        if commands:
            wrapper = self.options.command_wrapper
            self._step(HostCommandsStep(name, which[1], commands, wrapper, data))

    def _keep_everything(self) -> None:
        """Leave at AWS what is there; mounts never stay, they end with the build.

        What may be there and was never heard of stays in the journal, and goes.
        """
        cleanup = self.state.attach_cleanup
        if self.volume is not None and self.volume.handle.pending:
            attached = cleanup is not None and cleanup.pending
            self.stays.append(f"{self.volume.what} stays{' attached' if attached else ''}")
            self.volume.keep()
        if cleanup is not None:
            cleanup.forget()
        self.stays += [f"{made.what} stays" for made in self.publishing.kept]
        self.publishing.keep()

    def tell_kept(self) -> None:
        """Say what stays."""
        for what in self.stays:
            self.context.emitter.say(
                f"{what}, as -on-error says; remove it when it is not needed any more"
            )
