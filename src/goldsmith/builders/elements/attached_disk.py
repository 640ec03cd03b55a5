"""An image attached and mounted for good: until somebody asks for the end of it, in another call.

For `goldsmith block-device` alone. A build does the same with guards (`volume_mounts`), so that
nothing of it outlives the worker.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from goldsmith.builders.elements.finishing import fill_stand_ins, trim_mounts
from goldsmith.builders.elements.volume_mounts import (
    MOUNT_OPTIONS,
    NOT_TRIMMED,
    StandIn,
    place_of,
    short_name,
)
from goldsmith.disk import attached
from goldsmith.disk.disk_plan import DiskPlan, PlannedPartition
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.volume_places import places
from goldsmith.errors import HostError
from goldsmith.host import loop, mounts
from goldsmith.host.journal import remove_tree
from goldsmith.host.process import run
from goldsmith.host.teardown import Teardown


@dataclass(frozen=True, slots=True)
class AttachedDisk:
    """What `attach` has made."""

    image: Path
    names: Mapping[str, str]
    """The device of the image and of everything on it."""
    loops: tuple[str, ...]
    mounted: Mapping[str, str]
    """Mount points of the image, in the order of mounting, and where each is mounted."""
    stand_ins: Mapping[str, str]
    """Mount points whose file system this kernel lacks, and the directories in their place."""
    trimmed: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "image": str(self.image), "names": dict(self.names), "loops": list(self.loops),
            "mounted": dict(self.mounted), "stand_ins": dict(self.stand_ins),
            "trimmed": list(self.trimmed),
        }  # fmt: skip

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> AttachedDisk:
        """What `to_wire` made."""
        return cls(
            Path(wire["image"]), wire["names"], tuple(wire["loops"]), wire["mounted"],
            wire["stand_ins"], tuple(wire["trimmed"]),
        )  # fmt: skip


def attach(
    plan: DiskPlan, image: Path, base: Path, scratch: Path, *, block_bytes: int
) -> AttachedDisk:
    """Attach an image and mount all that is in it below `base`; an error leaves nothing behind."""
    found = places(plan)
    mounted: dict[str, str] = {}
    stand_ins: dict[str, str] = {}
    trimmed: list[str] = []
    with Teardown() as teardown:
        device = _attach_loop(image, teardown, block_bytes=block_bytes)
        loops, names = [device], {"image0": device}
        if plan.label != "none":
            run(["partx", "--update", device])
        for volume in plan.volumes():
            if isinstance(volume, PlannedPartition):
                part = device if plan.label == "none" else f"{device}p{volume.number}"
                names[short_name(volume)] = part
                continue
            pieces = found[volume.name]
            if pieces is None or len(pieces) != 1:
                raise HostError(f"{volume.name} lies in several pieces")
            own = _attach_loop(image, teardown, offset_bytes=pieces[0].offsets[0],
                               size_bytes=pieces[0].size_bytes)  # fmt: skip
            loops.append(own)
            names[short_name(volume)] = own
        for number, (mount, volume) in enumerate(sorted(plan.by_mount().items())):
            kind = volume.filesystem.type if volume.filesystem is not None else "swap"
            if kind == "swap":
                continue
            place, source = place_of(base, mount), names[short_name(volume)]
            if attached.why_not(kind) is None:
                mounts.mount(source, str(place), kind, options=MOUNT_OPTIONS.get(kind, ""))
                if kind not in NOT_TRIMMED:
                    trimmed.append(mount)
            elif mount == "/":
                raise HostError(f"this host's kernel has no {kind}")
            else:
                mounts.mount(source, str(place), "tmpfs", options="mode=0755")
                stand_ins[mount] = str(scratch / f"stand-in-{number}")
            teardown.defer(f"unmount {place}", partial(mounts.umount, place))
            mounted[mount] = str(place)
        teardown.pop_all()  # all of it stays
    return AttachedDisk(image, names, tuple(loops), mounted, stand_ins, tuple(trimmed))


def _attach_loop(
    image: Path, teardown: Teardown, *, offset_bytes: int = 0, size_bytes: int = 0,
    block_bytes: int = 512,
) -> str:  # fmt: skip
    device = loop.attach_lasting(
        image, offset_bytes=offset_bytes, size_bytes=size_bytes, block_bytes=block_bytes
    )
    teardown.defer(f"detach {device}", partial(loop.detach_lasting, Path(device), image))
    return str(device)


def detach(
    disk: AttachedDisk, plan: DiskPlan, *, identity: DiskIdentity, scratch: Path
) -> list[str]:
    """Take back all that `attach` has made; the image is finished then. Returns what was trimmed.

    Every part is tried, and the first error raised at the end.
    """
    # An earlier try may have got half the way.
    there = {mount: place for mount, place in disk.mounted.items() if os.path.ismount(place)}
    told = list(trim_mounts({one: Path(there[one]) for one in disk.trimmed if one in there}))
    by_mount = plan.by_mount()
    kept = []
    for mount, directory in disk.stand_ins.items():
        if mount in there:
            shutil.copytree(there[mount], directory, symlinks=True, dirs_exist_ok=True)
        if os.path.isdir(directory):
            kept.append(StandIn(by_mount[mount], Path(directory)))
    with Teardown() as teardown:
        for device in disk.loops:
            teardown.defer(
                f"detach {device}", partial(loop.detach_lasting, Path(device), disk.image)
            )
        for place in there.values():
            teardown.defer(f"unmount {place}", partial(mounts.umount, place))
    fill_stand_ins(disk.image, plan, kept, identity=identity, epoch_s=0, scratch=scratch)
    for one in kept:
        remove_tree(one.directory)
    return told
