"""How sources make an image of EC2: what is the same whatever stands for the machine's disk."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from goldsmith.builders.amazon.options import AmazonOptions
from goldsmith.builders.amazon.provisioning import provision_tree
from goldsmith.builders.amazon.running import pause_debugging, run_step
from goldsmith.builders.amazon.source import CheckRootDeviceStep, SourceImageStep
from goldsmith.builders.amazon.state import VolumeState
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import POST_MOUNT, PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.entrance import VolumeEntrance, asks_for_policy
from goldsmith.builders.volume_steps.extras import CopyFilesStep, MountExtraStep, extra_mounts
from goldsmith.builders.volume_steps.mounting import MountCommands
from goldsmith.cloud.ami_artifact import ami_artifact
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.publish import Described, publish
from goldsmith.cloud.registering import Image, register_request
from goldsmith.cloud.session import Account
from goldsmith.core.after_error import KEEPING
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.teardown import Teardown
from goldsmith.packages.policy import POLICY, POLICY_FILE

_STEPS: Final = {PRE_MOUNT: "StepPreMountCommands", POST_MOUNT: "StepPostMountCommands"}
O = TypeVar("O", bound=AmazonOptions)  # noqa: E741
R = TypeVar("R")


class Volume(Protocol):
    """The disk of a build: attached to this host, not mounted yet."""

    @property
    def device(self) -> str:
        """What commands of the template call it."""

    @property
    def commands(self) -> MountCommands:
        """What mounts and unmounts."""

    def changed(self) -> None:
        """Commands of the template may have written to it."""

    def mount(self) -> Path:
        """Mount its root; raises GoldsmithError."""


@dataclass(slots=True)
class Making(ABC, Generic[O]):
    """One build of an image."""

    builder_id: ClassVar[str]
    options: O
    texts: Texts
    builder_type: str
    context: BuildContext
    publishing: Publishing
    state: VolumeState = field(default_factory=VolumeState)
    stays: list[str] = field(default_factory=list)
    """What is told to stay at AWS, as the user wants no cleanup."""

    @classmethod
    def of(cls, options: O, texts: Texts, builder_type: str, context: BuildContext) -> Self:
        """One that begins; its directory is made."""
        context.work.mkdir(mode=0o700)
        account = Account(options, context.emitter.redactor, context.emitter.say)
        publishing = Publishing(
            account, options, Waiting.of(options.aws_polling, os.environ),
            Ledger(context.run, account, context.name), Teardown(), force=context.force,
        )  # fmt: skip
        return cls(options, texts, builder_type, context, publishing)

    @property
    def teardown(self) -> Teardown:
        """What gives back all that the build has acquired."""
        return self.publishing.teardown

    def make(self) -> Artifact:
        """Run the steps; raises GoldsmithError and leaves nothing on this host or at AWS.

        What cannot be taken back now stays in the journal of the run, for its end and for `clean`.
        So does what cannot be given back once the image stands: that is told, and no more.
        """
        try:
            with self.teardown:
                artifact = self._kept_if_wanted()
                for label, error in self.teardown.close():
                    self.context.emitter.warn(f"cleanup failed: {label}: {error}")
        except GoldsmithError:
            for what in self.stays:
                self.context.emitter.say(f"{what}, as -on-error says; remove it when it is not "
                                         "needed any more")  # fmt: skip
            raise
        return artifact

    def _kept_if_wanted(self) -> Artifact:
        try:
            return self.steps()
        except Interrupted:
            raise
        except GoldsmithError as e:
            failed_provisioner = getattr(e, "keeps", None)
            abort = self.context.on_error in KEEPING
            if failed_provisioner or (failed_provisioner is None and abort):
                self.keep_volume()
                self.stays += [f"{made.what} stays" for made in self.publishing.kept]
                self.publishing.keep()
            raise

    @abstractmethod
    def steps(self) -> Artifact:
        """The steps in their order."""

    def keep_volume(self) -> None:
        """Leave at AWS what the build works on, and note in `stays` that it does.

        What may be there and was never heard of stays in the journal, and goes.
        """

    def step(self, step: Step[R], *, told: bool = True) -> R:
        """Run a step; raises StepFailed, or Interrupted."""
        return run_step(self.context, step, told=told)

    def source(self) -> Image:
        """The source, which has a volume as its root."""
        image = self.step(SourceImageStep(self.publishing, self.options))
        self.state.source_image = image
        self.step(CheckRootDeviceStep(image))
        return image

    def described(self, data: Mapping[str, Any]) -> Described:
        """The texts of the image: rendered before anything is made, so that mistakes show."""
        texts, options = self.texts, self.options
        return Described(
            texts.render(options.ami_description, data), texts.render_all(options.all_tags, data),
            texts.render_all(options.all_snapshot_tags, data),
        )  # fmt: skip

    def provision(self, volume: Volume, values: Mapping[str, str]) -> dict[str, str]:
        """Run the provisioners on the volume; returns what `build.*` says.

        The volume is not mounted or attached any more then.
        """
        context, options, data = self.context, self.options, {"Device": volume.device}
        self._run_commands(PRE_MOUNT, options.pre_mount_commands, data, volume)
        tree = volume.mount()
        place = {"MountPath": str(tree)}
        self._run_commands(POST_MOUNT, options.post_mount_commands, {**data, **place}, volume)
        known = {**values, **place, "PackerRunUUID": context.run_uuid}
        entrance = self._extras(tree, volume.commands)
        provision_tree(context, self.builder_type, entrance, tree, known)
        pause_debugging(context, "StepChrootProvision")
        self.step(EarlyCleanupStep(self.state.early_cleanups, name="StepEarlyCleanup"))
        return known

    def _run_commands(
        self, which: tuple[str, str], commands: tuple[str, ...], data: Mapping[str, str],
        volume: Volume,
    ) -> None:  # fmt: skip
        if commands:
            wrapper = self.options.command_wrapper
            self.step(HostCommandsStep(_STEPS[which], which[1], commands, wrapper, data))
            volume.changed()

    def _extras(self, tree: Path, commands: MountCommands) -> VolumeEntrance:
        """Make places for further mounts and for files of this host."""
        state, teardown = self.state, self.teardown
        extra = extra_mounts(self.options.chroot_mounts)
        files = {path: Path(path) for path in self.options.shown_files}
        if extra:
            step = MountExtraStep(tree, extra, teardown, name="StepMountExtra")
            state.mount_extra_cleanup = self.step(step)
        policy = self.context.work / Path(POLICY_FILE).name
        policy.write_bytes(POLICY)
        policy.chmod(0o755)
        shown = {**files, **({POLICY_FILE: policy} if asks_for_policy(tree) else {})}
        if shown:
            copying = CopyFilesStep(tree, shown, teardown, tuple(files), name="StepCopyFiles")
            state.copy_files_cleanup = self.step(copying, told=bool(files))
        return VolumeEntrance(extra, files, policy, commands)

    def published(
        self, snapshot_id: str, size_gib: int, described: Described, values: Mapping[str, str]
    ) -> Artifact:
        """Register an image of a complete snapshot; it stays. Raises StepFailed."""
        self.state.snapshot_id = snapshot_id
        request = register_request(self.options, self.state.source_image, snapshot_id, size_gib)
        publish(self.publishing, self.step, request, described, self.context.commit)
        return ami_artifact(self.builder_id, self.publishing.images, self.options, values)
