"""The root of the volume, mounted where the template wants it, and what must not be detached."""

from __future__ import annotations

import functools
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from goldsmith.builders.amazon.running import run_step
from goldsmith.builders.amazon.state import VolumeState
from goldsmith.builders.amazon.texts import Texts
from goldsmith.builders.amazon_chroot.devices import Node, awaited_partition, mounted_of
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.volume_steps.mounting import OWN_COMMANDS, MountCommands, MountDeviceStep
from goldsmith.core.builder import BuildContext
from goldsmith.errors import GoldsmithError
from goldsmith.host import mounts
from goldsmith.host.teardown import Teardown


def require_unmounted(state: VolumeState) -> None:
    """Raise GoldsmithError while anything of the volume is mounted: it stays attached then."""
    known = mounts.list_mounts()
    places = [one.path for one in known if one.path == state.mount_path]
    places += mounted_of(state.node, known) if state.node else []
    if places:
        raise GoldsmithError(
            f"{places[0]} is still mounted: its volume is detached when the build has ended",
            hint="what pre_mount_commands and post_mount_commands have mounted is theirs to "
            "unmount",
        )


@dataclass(frozen=True, slots=True)
class AttachedVolume:
    """The volume of one build, as a node of this host."""

    options: AmazonChrootOptions
    texts: Texts
    context: BuildContext
    state: VolumeState
    teardown: Teardown
    node: Node

    @property
    def device(self) -> str:
        """The node of the whole disk."""
        return self.node.disk

    @property
    def commands(self) -> MountCommands:
        """What mounts and unmounts: the template's own programs, if it names some."""
        options = self.options
        if options.mount_command == "mount" and options.unmount_command == "umount":
            return OWN_COMMANDS
        return MountCommands(
            shlex.split(options.mount_command), shlex.split(options.unmount_command)
        )

    def changed(self) -> None:
        """Its partitions are looked for when it is mounted."""

    def _partition(self) -> Path:
        """The node of the root, awaited; commands may have made it."""
        options, source = self.options, self.state.source_image
        kind = options.ami_virtualization_type
        if source is not None:
            kind = source.get("VirtualizationType", "")
        return awaited_partition(self.node, options.mount_partition if kind == "hvm" else "0")

    def mount(self) -> Path:
        """Mount the root; the directories that are made for that go again."""
        options, state = self.options, self.state
        partition = self._partition()
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
