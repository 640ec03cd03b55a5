"""Makes an image of EC2: the steps in Packer's order, and what each leaves to be taken back."""

from __future__ import annotations

import functools
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from goldsmith.builders.amazon_chroot.devices import awaited_partition
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.provisioning import provision_tree
from goldsmith.builders.amazon_chroot.requests import register_request
from goldsmith.builders.amazon_chroot.steps import (
    AttachVolumeStep,
    CheckRootDeviceStep,
    CreateVolumeStep,
    InstanceInfoStep,
    PrepareDeviceStep,
    PreValidateStep,
    SourceImageStep,
)
from goldsmith.builders.amazon_chroot.texts import Texts, run_values, source_data
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import POST_MOUNT, PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.entrance import VolumeEntrance, asks_for_policy
from goldsmith.builders.volume_steps.extras import CopyFilesStep, MountExtraStep, extra_mounts
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.builders.volume_steps.mounting import OWN_COMMANDS, MountCommands, MountDeviceStep
from goldsmith.cloud.images import (
    DeregisterStep,
    Made,
    Publishing,
    RegionCopyStep,
    RegisterStep,
    SnapshotStep,
)
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.session import Account
from goldsmith.cloud.sharing import (
    DeprecationStep,
    ModifyAttributesStep,
    ProtectionStep,
    TagStep,
)
from goldsmith.core.after_error import KEEPING
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step, StepContext
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.host import mounts
from goldsmith.host.signals import check_interrupted
from goldsmith.host.teardown import Handle, Teardown
from goldsmith.packages.policy import POLICY, POLICY_FILE

BUILDER_ID: Final = "mitchellh.amazon.chroot"
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
    place: Path | None = None
    """Where the root is mounted."""
    handles: list[Handle] = field(default_factory=list)
    """What the early cleanup lets go of, in the order of acquisition."""
    volume: Made | None = None
    attached: Handle | None = None
    keeps: bool = False
    stays: list[str] = field(default_factory=list)
    """What is told to stay at AWS, as the user wants no cleanup."""

    @property
    def teardown(self) -> Teardown:
        """What gives back all that the build has acquired."""
        return self.publishing.teardown

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
        options, publishing = self.options, self.publishing
        self._step(PreValidateStep(publishing))
        instance_id, zone = self._step(InstanceInfoStep(publishing))
        image = None
        if not options.from_scratch:
            image = self._step(SourceImageStep(publishing, options))
            self._step(CheckRootDeviceStep(image))
        data = source_data(image, publishing.account.region)
        # A mistake in them shows itself before anything is made.
        render = self.texts.render_all
        tags, snapshot_tags, volume_tags = (
            render(one, data)
            for one in (options.all_tags, options.all_snapshot_tags, options.all_volume_tags)
        )
        description = self.texts.render(options.ami_description, data)
        lock = self._step(LockStep(LOCK, self.teardown), told=False)
        device = self._step(PrepareDeviceStep(options), told=False)
        volume, size, created = self._step(
            CreateVolumeStep(publishing, options, image, zone, volume_tags)
        )
        self.volume = Made(f"Volume {volume.id}", created, volume.claim)
        node, attached = self._step(
            AttachVolumeStep(publishing, options, volume, instance_id, device,
                             self._require_unmounted)
        )  # fmt: skip
        self.handles.append(attached)
        self.attached = attached
        self._step(EarlyUnlockStep(lock), told=False)
        whole = image is not None and image.get("VirtualizationType") != "hvm"
        if options.from_scratch:
            whole = options.ami_virtualization_type != "hvm"
        self._commands(PRE_MOUNT, options.pre_mount_commands, {"Device": node.disk})
        partition = awaited_partition(node, "0" if whole else options.mount_partition)
        shown = options.nvme_device_path or device
        place = self._mount(partition, shown)
        known = {"Device": device, "MountPath": str(place)}
        self._commands(POST_MOUNT, options.post_mount_commands, {**known, "Device": node.disk})
        entrance = self._extras(place)
        values = {**run_values(data), **known, "ID": instance_id}
        values["PackerRunUUID"] = self.context.run_uuid
        provision_tree(self.context, self.builder_type, entrance, place, values)
        self._step(EarlyCleanupStep(self.handles))
        snapshot_id = self._step(SnapshotStep(publishing, volume.id))
        request = register_request(options, image, snapshot_id, size)
        if publishing.replaces:
            self._step(DeregisterStep(publishing, request))
        image_id = self._step(RegisterStep(publishing, request))
        if publishing.copy_regions:
            self._step(RegionCopyStep(publishing, image_id))
        self._step(DeprecationStep(publishing), told=False)
        self._step(ModifyAttributesStep(publishing, description), told=False)
        self._step(TagStep(publishing, tags, snapshot_tags), told=False)
        check_interrupted()
        self._step(ProtectionStep(publishing), told=False)
        self.context.commit()
        publishing.keep()
        return self._artifact(values)

    def finish(self) -> None:
        """Give back what is left; the image stands, so that a failure here is told and no more.

        It stays in the journal: the end of the run tries once more.
        """
        for label, error in self.teardown.close():
            self.context.emitter.warn(f"cleanup failed: {label}: {error}")

    def _step(self, step: Step[R], *, told: bool = True) -> R:
        check_interrupted()
        emitter = self.context.emitter
        scratch = self.context.work / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)
        inner = StepContext(emitter=emitter, scratch=scratch, epoch_s=self.context.epoch_s)
        try:
            if not told:
                return step.run(inner)
            with emitter.running(step.name, step.label, takes_long=True):
                return step.run(inner)
        except Interrupted:
            raise
        except GoldsmithError as e:
            raise StepFailed(step.label, e) from e
        except OSError as e:
            raise StepFailed(step.label, explain_os_error(e)) from e

    def _commands(
        self, which: tuple[str, str], commands: tuple[str, ...], data: Mapping[str, str]
    ) -> None:
        if commands:
            self._step(HostCommandsStep(*which, commands, self.options.command_wrapper, data))

    def _mount(self, partition: Path, device: str) -> Path:
        """Mount the root where the template wants it; the directories made for that go again."""
        options = self.options
        place = self.context.work / "volume"
        if options.mount_path:
            data = {"Device": os.path.basename(device)}
            given = self.texts.render(options.mount_path, data)
            place = Path(os.path.normpath(self.context.directory / given))
        missing = [one for one in (place, *place.parents) if not one.exists()]
        for one in reversed(missing):
            entry = self.context.run.record("directory", path=str(one))
            one.mkdir(mode=0o755)
            self.teardown.defer(f"remove {one}", functools.partial(self._unmake, one, entry))
        commands = OWN_COMMANDS
        if options.mount_command != "mount" or options.unmount_command != "umount":
            commands = MountCommands(
                shlex.split(options.mount_command), shlex.split(options.unmount_command)
            )
        self.place = place
        mounted = self._step(
            MountDeviceStep(partition, place, self.teardown, "", options.mount_options,
                            runs_programs=True, commands=commands)
        )  # fmt: skip
        self.handles.append(mounted.handle)
        return mounted.path

    def _unmake(self, place: Path, entry: str) -> None:
        place.rmdir()
        self.context.run.forget(entry)

    def _require_unmounted(self) -> None:
        """Raise GoldsmithError while the root is mounted: the volume stays attached then."""
        if self.place is not None and any(
            Path(one.path) == self.place for one in mounts.list_mounts()
        ):
            raise GoldsmithError(
                f"{self.place} is still mounted: its volume is detached when the build has ended"
            )

    def _extras(self, place: Path) -> VolumeEntrance:
        """Make places for further mounts and for files of this host."""
        extra = extra_mounts(self.options.chroot_mounts)
        files = {path: Path(path) for path in self.options.shown_files}
        if extra:
            self.handles.append(self._step(MountExtraStep(place, extra, self.teardown)))
        if files:
            self.handles.append(self._step(CopyFilesStep(place, files, self.teardown)))
        policy = self.context.work / Path(POLICY_FILE).name
        policy.write_bytes(POLICY)
        policy.chmod(0o755)
        if asks_for_policy(place):
            shown = CopyFilesStep(place, {POLICY_FILE: policy}, self.teardown)
            self.handles.append(self._step(shown, told=False))
        return VolumeEntrance(extra, files, policy)

    def _keep_everything(self) -> None:
        """Leave at AWS what is there; mounts never stay, they end with the build.

        What may be there and was never heard of stays in the journal, and goes.
        """
        if self.volume is not None and self.volume.handle.pending:
            attached = self.attached is not None and self.attached.pending
            self.stays.append(f"{self.volume.what} stays{' attached' if attached else ''}")
            self.volume.keep()
        if self.attached is not None:
            self.attached.forget()
        self.stays += [f"{made.what} stays" for made in self.publishing.kept]
        self.publishing.keep()

    def tell_kept(self) -> None:
        """Say what stays."""
        for what in self.stays:
            self.context.emitter.say(
                f"{what}, as -on-error says; remove it when it is not needed any more"
            )

    def _artifact(self, values: Mapping[str, str]) -> Artifact:
        images = dict(sorted(self.publishing.images.items()))
        listed = "\n".join(f"{region}: {image_id}" for region, image_id in images.items())
        return Artifact(
            builder_id=BUILDER_ID,
            id=",".join(f"{region}:{image_id}" for region, image_id in images.items()),
            string=f"AMIs were created:\n{listed}\n",
            state={"generated_data": dict(values), "amis": images, "made_s": int(time.time())},
        )  # fmt: skip
