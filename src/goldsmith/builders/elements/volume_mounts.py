"""The image as a device with all its file systems mounted, as the last phases want it.

Partitions come from partx, logical volumes from loop devices at their places in the image: neither
the device mapper nor a partition parser is needed. Hooks of disks with logical volumes run in the
guest (`guest_phases`); what is done here then only reads and writes files. In place of a file
system that this kernel cannot mount (vfat, on many small hosts) there is a directory: a copy of
what the guest has left in it, or, without hooks, one from which it is filled anew at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from goldsmith.disk import attached
from goldsmith.disk.disk_plan import DiskPlan, PlannedPartition, PlannedVolume
from goldsmith.disk.model import Layout
from goldsmith.disk.volume_places import Pieces, places
from goldsmith.errors import GoldsmithError, HostError
from goldsmith.host import loop, mounts
from goldsmith.host.journal import remove_tree
from goldsmith.host.process import run
from goldsmith.host.teardown import Teardown

MOUNT_OPTIONS: Final = {"xfs": "nouuid"}
"""Another image with the same UUID may be mounted on this host."""
_UNSYNCED: Final = {"ext4": "nobarrier,noauto_da_alloc"}
"""A build that is cut off leaves no image, so nothing need be on the disk while hooks run."""
NOT_TRIMMED: Final = ("vfat", "swap")
"""Nothing is given back by these."""
_IN_MEMORY: Final = "mode=0755"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A directory in place of a file system that this kernel cannot mount."""

    volume: PlannedVolume
    directory: Path


@dataclass(frozen=True, slots=True)
class MountedDisk:
    """The device of an image, and those of its partitions and volumes by their names."""

    device: str
    names: Mapping[str, str]
    trimmed: Mapping[str, Path] = field(default_factory=dict)
    """Mount points of file systems that can give blocks back, and where they are mounted."""

    @property
    def as_bash_array(self) -> str:
        """IMAGE_BLOCK_DEVICES: what bash makes an associative array of."""
        return "".join(f" [{name}]={device} " for name, device in self.names.items())


@dataclass(slots=True)
class VolumeMounts:
    """How the volumes of one image are seen: mounted, or by directories in their place."""

    plan: DiskPlan
    stand_ins: list[StandIn] = field(default_factory=list)
    finished: bool = False
    """Whether directories have all that hooks have left already: the guest has copied it."""

    @contextmanager
    def attached(
        self, image: Path, top: Path, tree: Path, *, block_bytes: int
    ) -> Iterator[MountedDisk]:
        """Attach an image and mount all that is in it below `top`.

        `tree` has what stand-ins are filled with; they outlive the block (see `held`). Raises
        HostError for what cannot be mounted here.
        """
        with Teardown() as teardown:
            device = teardown.enter(
                f"detach {image}", loop.attached(image, block_bytes=block_bytes)
            )
            if self.plan.label != "none":
                device.add_partitions()
            names = {"image0": str(device.path)}
            trimmed: dict[str, Path] = {}
            found = places(self.plan)
            for volume in self.plan.volumes():
                names[short_name(volume)] = self._device(volume, found, image, device, teardown)
            for mount, volume in sorted(self.plan.by_mount().items()):
                place = place_of(top, mount)
                if self._mount(volume, names[short_name(volume)], place, mount, teardown, tree):
                    trimmed[mount] = place
            yield MountedDisk(str(device.path), names, trimmed)

    def _device(
        self,
        volume: PlannedVolume,
        found: Mapping[str, Pieces | None],
        image: Path,
        device: loop.LoopDevice,
        teardown: Teardown,
    ) -> str:
        if isinstance(volume, PlannedPartition):
            return str(
                device.path if self.plan.label == "none" else device.partition(volume.number)
            )
        pieces = found[volume.name]
        if pieces is None or len(pieces) != 1:
            raise HostError(
                f"{volume.name} lies in several pieces: only the device mapper shows it as one",
                hint="make its volume group of one physical volume",
            )
        own = loop.attached(
            image, offset_bytes=pieces[0].offsets[0], size_bytes=pieces[0].size_bytes
        )
        return str(teardown.enter(f"detach {volume.name}", own).path)

    def _mount(
        self,
        volume: PlannedVolume,
        device: str,
        place: Path,
        mount: str,
        teardown: Teardown,
        tree: Path,
    ) -> bool:
        """Mount a volume, or put a directory in its place; returns whether it was mounted."""
        filesystem = volume.filesystem
        if filesystem is None or filesystem.type == "swap":
            return False
        if attached.why_not(filesystem.type) is None:
            kind = filesystem.type
            options = MOUNT_OPTIONS.get(kind) or _UNSYNCED.get(kind, "")
            own = mounts.mounted(device, place, kind, options=options)
            teardown.enter(f"unmount {mount}", own)
            return kind not in NOT_TRIMMED
        held = next((one for one in self.stand_ins if one.volume.name == volume.name), None)
        if held is None:
            raise HostError(f"this host's kernel has no {filesystem.type} for {mount}")
        if not self.finished:
            # Its name in the list of mounts is what says which device a directory is on.
            mounts.mount(device, str(held.directory), "tmpfs", options=_IN_MEMORY)
            _copy(place_of(tree, mount), held.directory)
        teardown.enter(f"unmount {mount}", mounts.bound(held.directory, place))
        return False

    @contextmanager
    def held(self, scratch: Path) -> Iterator[None]:
        """Keep directories for the file systems that this kernel cannot mount."""
        with Teardown() as teardown:
            for mount, volume in sorted(self.plan.by_mount().items()):
                filesystem = volume.filesystem
                if filesystem is None or attached.why_not(filesystem.type) is None:
                    continue
                if mount == "/":
                    raise HostError(
                        f"this host's kernel has no {filesystem.type}, which the image has as its "
                        "root", hint="choose ext4 by FS_TYPE",
                    )  # fmt: skip
                number = len(self.stand_ins)
                directory = scratch / f"stand-in-{number}"
                directory.mkdir(parents=True)
                teardown.defer(f"remove {directory}", partial(remove_tree, directory))
                teardown.defer(f"unmount {directory}", partial(_release, directory))
                self.stand_ins.append(StandIn(volume, directory))
            yield


def _release(directory: Path) -> None:
    if any(one.path == str(directory) for one in mounts.list_mounts()):
        mounts.umount(directory)


def need_guest(layout: Layout) -> list[str]:
    """What of a disk hooks cannot see on this host as it will be on the machine, with the reasons.

    Empty where this kernel can mount all of it.
    """
    told = []
    for volume in layout.volumes():
        reason = None
        if volume.kind == "logical_volume":
            reason = "LVM needs the device mapper"
        elif volume.mount is not None and volume.filesystem is not None:
            reason = attached.why_not(volume.filesystem.type)
        if reason is not None:
            told.append(f"{volume.name}: {reason}")
    return told


def short_name(volume: PlannedVolume) -> str:
    """The name of a node of the configuration: a logical volume's is that without its group."""
    return volume.name.rpartition("/")[2]


def place_of(top: Path, mount: str) -> Path:
    """A mount point below a directory, made where it is missing; never through a link."""
    place = top
    for part in mount.strip("/").split("/"):
        place = place / part if part else place
        if not os.path.lexists(place):
            place.mkdir(mode=0o755)
        if not mounts.is_directory(str(place)):
            raise GoldsmithError(f"{mount} of the tree is not a directory: nothing can lie there")
    return place


def _copy(source: Path, target: Path) -> None:
    run(["cp", "-a", "--", f"{source}/.", f"{target}/"])


def make_mount_points(tree: Path, points: Iterable[str]) -> None:
    """Make the directories on which something will be mounted, where they are missing."""
    for point in points:
        if point.startswith("/"):
            place_of(tree, point)
