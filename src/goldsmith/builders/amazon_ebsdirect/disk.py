"""The image on this host: attached, mounted, provisioned, and let go of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.builders.amazon_chroot.provisioning import provision_tree
from goldsmith.builders.amazon_chroot.running import pause_debugging, run_step
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.builders.chroot.image_steps import AttachedImage, AttachImageStep
from goldsmith.builders.chroot.root import MountedImage, MountImageStep, numbers_of
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import POST_MOUNT, PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.entrance import VolumeEntrance, asks_for_policy
from goldsmith.builders.volume_steps.extras import CopyFilesStep, MountExtraStep, extra_mounts
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.core.builder import BuildContext
from goldsmith.host.teardown import Handle, Teardown
from goldsmith.packages.image_file import read_partitions
from goldsmith.packages.policy import POLICY, POLICY_FILE


@dataclass(slots=True)
class Provisioning:
    """The steps between the reading of a snapshot and the writing of another one."""

    options: AmazonEbsdirectOptions
    context: BuildContext
    builder_type: str
    image: Path
    shown_as: Path
    """What messages call the image."""
    teardown: Teardown
    handles: list[Handle] = field(default_factory=list)
    """What the early cleanup lets go of, in the order of acquisition."""

    def run(self, values: Mapping[str, str]) -> dict[str, str]:
        """Run them all; returns what `build.*` says. The image is not in use any more then."""
        context, options = self.context, self.options
        attached = self._attach()
        self._commands(PRE_MOUNT, options.pre_mount_commands, attached, {})
        mounted = self._mount(attached)
        place = {"MountPath": str(mounted.tree)}
        self._commands(POST_MOUNT, options.post_mount_commands, attached, place)
        known = {**values, **place, "PackerRunUUID": context.run_uuid}
        entrance = self._extras(mounted.tree)
        provision_tree(context, self.builder_type, entrance, mounted.tree, known)
        pause_debugging(context, "StepChrootProvision")
        run_step(context, EarlyCleanupStep(self.handles, name="StepEarlyCleanup"))
        return known

    def _attach(self) -> AttachedImage:
        context = self.context
        lock = run_step(context, LockStep(context.state / "attach.lock", self.teardown), told=False)
        numbers = numbers_of(read_partitions(self.image, self.shown_as))
        attached = run_step(context, AttachImageStep(self.image, numbers, self.teardown))
        run_step(context, EarlyUnlockStep(lock), told=False)
        self.handles.append(attached.handle)
        return attached

    def _commands(
        self, which: tuple[str, str], commands: tuple[str, ...], attached: AttachedImage,
        data: Mapping[str, str],
    ) -> None:  # fmt: skip
        if commands:
            known = {"Device": str(attached.device), **data}
            wrapper = self.options.command_wrapper
            run_step(self.context, HostCommandsStep(*which, commands, wrapper, known))
            attached.flush(numbers_of(read_partitions(self.image, self.shown_as)))

    def _mount(self, attached: AttachedImage) -> MountedImage:
        context = self.context
        # Looked at again: commands may have changed them.
        partitions = read_partitions(self.image, self.shown_as)
        mounted = run_step(context, MountImageStep(
            self.shown_as, attached, partitions, self.options, context.work / "volume",
            self.teardown, runs_programs=True,
        ))  # fmt: skip
        for point in mounted.offered:
            context.emitter.warn(f"/{point} of the image is vfat, and is not mounted: what "
                                 "provisioners put there does not reach it")  # fmt: skip
        self.handles += mounted.handles
        return mounted

    def _extras(self, tree: Path) -> VolumeEntrance:
        """Make places for further mounts and for files of this host."""
        context, options = self.context, self.options
        extra = extra_mounts(options.chroot_mounts)
        files = {path: Path(path) for path in options.copy_files}
        if extra:
            self.handles.append(run_step(context, MountExtraStep(tree, extra, self.teardown)))
        policy = context.work / Path(POLICY_FILE).name
        policy.write_bytes(POLICY)
        policy.chmod(0o755)
        shown = {**files, **({POLICY_FILE: policy} if asks_for_policy(tree) else {})}
        if shown:
            copying = CopyFilesStep(tree, shown, self.teardown, tuple(files))
            self.handles.append(run_step(context, copying, told=bool(files)))
        return VolumeEntrance(extra, files, policy)
