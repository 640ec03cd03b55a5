"""The image on this host: attached to a loop device, and mounted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goldsmith.builders.amazon.running import run_step
from goldsmith.builders.amazon.state import VolumeState
from goldsmith.builders.amazon_ebsdirect.options import AmazonEbsdirectOptions
from goldsmith.builders.chroot.image_steps import AttachedImage, AttachImageStep
from goldsmith.builders.chroot.root import MountImageStep, numbers_of
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.builders.volume_steps.mounting import OWN_COMMANDS, MountCommands
from goldsmith.core.builder import BuildContext
from goldsmith.host.teardown import Teardown
from goldsmith.packages.image_file import read_partitions


@dataclass(frozen=True, slots=True)
class AttachedDisk:
    """The image of one build, as a node of this host."""

    options: AmazonEbsdirectOptions
    context: BuildContext
    state: VolumeState
    teardown: Teardown
    image: Path
    shown_as: Path
    """What messages call the image."""
    attached: AttachedImage

    @property
    def device(self) -> str:
        """The loop device."""
        return str(self.attached.device)

    @property
    def commands(self) -> MountCommands:
        """Those of goldsmith."""
        return OWN_COMMANDS

    def changed(self) -> None:
        """What was written to the loop device becomes readable in the image."""
        self.attached.flush(numbers_of(read_partitions(self.image, self.shown_as)))

    def mount(self) -> Path:
        """Mount the root, and what its fstab names."""
        context = self.context
        # Looked at again: commands may have changed them.
        partitions = read_partitions(self.image, self.shown_as)
        mounted = run_step(context, MountImageStep(
            self.shown_as, self.attached, partitions, self.options, context.work / "volume",
            self.teardown, runs_programs=True, name="StepMountDevice",
        ))  # fmt: skip
        for point in mounted.offered:
            context.emitter.warn(f"/{point} of the image is vfat, and is not mounted: what "
                                 "provisioners put there does not reach it")  # fmt: skip
        self.state.mount_device_cleanup, *self.state.mount_below_cleanups = mounted.handles
        self.state.mount_path = str(mounted.tree)
        return mounted.tree


def attached_disk(
    options: AmazonEbsdirectOptions, context: BuildContext, state: VolumeState, teardown: Teardown,
    image: Path, shown_as: Path,
) -> AttachedDisk:  # fmt: skip
    """Attach the image; raises StepFailed. Builds look for a loop device one at a time."""
    lock = LockStep(context.state / "attach.lock", teardown, name="StepFlock")
    state.flock_cleanup = run_step(context, lock, told=False)
    numbers = numbers_of(read_partitions(image, shown_as))
    step = AttachImageStep(image, numbers, teardown, name="StepAttachVolume")
    attached = run_step(context, step)
    run_step(context, EarlyUnlockStep(state.flock_cleanup, name="StepEarlyUnflock"), told=False)
    state.attach_cleanup, state.node = attached.handle, str(attached.device)
    return AttachedDisk(options, context, state, teardown, image, shown_as, attached)
