"""The root of the volume, mounted where the template wants it, and what provisioners see in it."""

from __future__ import annotations

import functools
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from goldsmith.builders.amazon_chroot.devices import mounted_of
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.running import run_step
from goldsmith.builders.amazon_chroot.state import ChrootState
from goldsmith.builders.amazon_chroot.texts import Texts
from goldsmith.builders.volume_steps.entrance import VolumeEntrance, asks_for_policy
from goldsmith.builders.volume_steps.extras import CopyFilesStep, MountExtraStep, extra_mounts
from goldsmith.builders.volume_steps.mounting import OWN_COMMANDS, MountCommands, MountDeviceStep
from goldsmith.core.builder import BuildContext
from goldsmith.errors import GoldsmithError
from goldsmith.host import mounts
from goldsmith.host.teardown import Teardown
from goldsmith.packages.policy import POLICY, POLICY_FILE


@dataclass(frozen=True, slots=True)
class Entering:
    """The mounts of one build."""

    options: AmazonChrootOptions
    texts: Texts
    context: BuildContext
    state: ChrootState
    teardown: Teardown

    @property
    def commands(self) -> MountCommands:
        """What mounts and unmounts: the template's own programs, if it names some."""
        options = self.options
        if options.mount_command == "mount" and options.unmount_command == "umount":
            return OWN_COMMANDS
        return MountCommands(
            shlex.split(options.mount_command), shlex.split(options.unmount_command)
        )

    def mount(self, partition: Path) -> Path:
        """Mount the root; the directories that are made for that go again."""
        options, state = self.options, self.state
        place = self.context.work / "volume"
        if options.mount_path:
            data = {"Device": os.path.basename(options.nvme_device_path or state.device)}
            given = self.texts.render(options.mount_path, data)
            place = Path(os.path.normpath(self.context.directory / given))
        for one in reversed([one for one in (place, *place.parents) if not one.exists()]):
            entry = self.context.run.record("directory", path=str(one))
            one.mkdir(mode=0o755)
            self.teardown.defer(f"remove {one}", functools.partial(self._unmake, one, entry))
        # Before it is mounted: a mount that is interrupted half way must be found too.
        state.mount_path = str(place)
        mounted = run_step(
            self.context,
            MountDeviceStep(
                partition, place, self.teardown, "", options.mount_options, runs_programs=True,
                commands=self.commands, name="StepMountDevice",
            ),
        )  # fmt: skip
        state.mount_device_cleanup = mounted.handle
        return mounted.path

    def _unmake(self, place: Path, entry: str) -> None:
        place.rmdir()
        self.context.run.forget(entry)

    def require_unmounted(self) -> None:
        """Raise GoldsmithError while anything of the volume is mounted: it stays attached then."""
        state, known = self.state, mounts.list_mounts()
        places = [one.path for one in known if one.path == state.mount_path]
        places += mounted_of(state.node, known) if state.node else []
        if places:
            raise GoldsmithError(
                f"{places[0]} is still mounted: its volume is detached when the build has ended",
                hint="what pre_mount_commands and post_mount_commands have mounted is theirs to "
                "unmount",
            )

    def extras(self, place: Path) -> VolumeEntrance:
        """Make places for further mounts and for files of this host."""
        state, teardown = self.state, self.teardown
        extra = extra_mounts(self.options.chroot_mounts)
        files = {path: Path(path) for path in self.options.shown_files}
        if extra:
            step = MountExtraStep(place, extra, teardown, name="StepMountExtra")
            state.mount_extra_cleanup = run_step(self.context, step)
        policy = self.context.work / Path(POLICY_FILE).name
        policy.write_bytes(POLICY)
        policy.chmod(0o755)
        shown = dict(files)
        if asks_for_policy(place):
            shown[POLICY_FILE] = policy
        if shown:
            copying = CopyFilesStep(place, shown, teardown, tuple(files), name="StepCopyFiles")
            state.copy_files_cleanup = run_step(self.context, copying, told=bool(files))
        return VolumeEntrance(extra, files, policy, self.commands)
