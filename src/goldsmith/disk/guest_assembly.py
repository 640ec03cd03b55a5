"""One job for the guest: arrays and volume groups of a disk, and what only a driver can write.

Whatever is plain arithmetic stays on the host (`volume_places`): the guest makes the metadata of
mirrors and linear volumes, and writes only to striped arrays (a copy of a finished file system)
and to file systems that this host's kernel lacks (an archive, unpacked).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from goldsmith.disk import lvm_metadata, md_superblock
from goldsmith.disk.disk_plan import DiskPlan, PlannedArray, PlannedGroup, PlannedVolume
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.volume_places import Pieces, part_sizes
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError
from goldsmith.host.sparse import is_full_message, no_space
from goldsmith.units import GIB, MIB

_STARTED_S: Final = 600.0
_SECONDS_PER_GIB: Final = 600.0
_SHORT_OF_ROOM_BYTES: Final = MIB
_COPY_BLOCK: Final = "256K"
_DISK: Final = "/dev/vda"
_STRIPED_CHUNK_KIB: Final = 512

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestJob:
    """Commands for a guest, run as root one after the other until one fails.

    Disk N is /dev/disk/N there, the image /dev/vda too; `inputs` follow it and are only read.
    `files` are put at their paths; the guest's clock begins at `clock_s` (seconds since 1970).
    """

    image: Path
    commands: tuple[Command, ...]
    inputs: tuple[Path, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    clock_s: int
    timeout_s: float


class Guest(Protocol):
    """A machine of ours whose kernel has what this host's may lack."""

    def run(self, job: GuestJob) -> None:
        """Run a job to its end; raises CommandFailed for a command, GoldsmithError otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class GuestFill:
    """A volume that the guest writes: it copies a finished file system's file, or runs `mkfs`.

    `mkfs` is a whole argument list; `archive` is unpacked into the new file system.
    """

    volume: PlannedVolume
    content: Path | None = None
    mkfs: Command = ()
    archive: Path | None = None

    @property
    def input(self) -> Path | None:
        """What the guest reads."""
        return self.content or self.archive


def devices(plan: DiskPlan) -> dict[str, str]:
    """The name in the guest of every partition, array and logical volume."""
    found = {p.name: f"{_DISK}{p.number}" if plan.label != "none" else _DISK
             for p in plan.partitions}  # fmt: skip
    found |= {array.name: f"/dev/md{number}" for number, array in enumerate(plan.arrays)}
    return found | {v.name: f"/dev/{v.name}" for group in plan.groups for v in group.volumes}


def make_job(
    plan: DiskPlan,
    fills: Sequence[GuestFill],
    image: Path,
    *,
    identity: DiskIdentity,
    epoch_s: int,
) -> GuestJob:
    """The job for a disk whose partition table is written already."""
    names, sizes = devices(plan), part_sizes(plan)
    filled = {fill.volume.name for fill in fills}
    active = [g for g in plan.groups if any(volume.name in filled for volume in g.volumes)]
    files = {
        _description(group): lvm_metadata.describe(
            group, sizes, names, identity, epoch_s=epoch_s
        ).encode()
        for group in plan.groups
    }
    inputs = [fill.input for fill in fills if fill.input is not None]
    commands: list[Command] = []
    for array in plan.arrays:
        commands.append(_create(array, names, identity.array_uuid(array.name)))
    for group in plan.groups:
        commands += _restore(group, names, identity)
    commands += [("vgchange", "--activate", "y", group.name) for group in active]
    for number, fill in enumerate(fills):
        place = f"/dev/disk/{1 + inputs.index(fill.input)}" if fill.input is not None else None
        commands += _fill(fill, names[fill.volume.name], place, f"/mnt/{number}")
    commands += [("vgchange", "--activate", "n", group.name) for group in active]
    commands += [("mdadm", "--stop", names[array.name]) for array in plan.arrays]
    written = sum(fill.volume.size_bytes for fill in fills)
    return GuestJob(
        image=image, commands=tuple(commands), inputs=tuple(inputs), files=files, clock_s=epoch_s,
        timeout_s=_STARTED_S + _SECONDS_PER_GIB * written / GIB,
    )  # fmt: skip


def _create(array: PlannedArray, names: Mapping[str, str], uuid: str) -> Command:
    """The array: of a disk that was a hole all members are equal, and their parity is right."""
    raid = array.raid
    words = [
        "mdadm", "--create", names[array.name], "--run", f"--level={raid.level}",
        f"--raid-devices={len(raid.members)}", "--metadata=1.2", "--homehost=any",
        f"--name={raid.name}", f"--uuid={uuid}",
        f"--data-offset={array.data_offset_bytes >> 10}K",
    ]  # fmt: skip
    if raid.level != "1":
        words.append(f"--chunk={_STRIPED_CHUNK_KIB}")
    if raid.level != "0":
        words += [f"--size={array.component_bytes >> 10}K", "--assume-clean", "--bitmap=none"]
    return (*words, *(names[member] for member in raid.members))


def _description(group: PlannedGroup) -> str:
    return f"/run/goldsmith/{group.name}.vg"


def _restore(
    group: PlannedGroup, names: Mapping[str, str], identity: DiskIdentity
) -> Iterator[Command]:
    """The physical volumes, and the group from its description."""
    for part in group.group.physical_volumes:
        yield ("pvcreate", "--yes", "--quiet", "--zero", "y",
               "--uuid", identity.lvm_uuid("physical", part),
               "--restorefile", _description(group), names[part])  # fmt: skip
    yield ("vgcfgrestore", "--yes", "--quiet", "--file", _description(group), group.name)


def _fill(fill: GuestFill, device: str, place: str | None, mount: str) -> Iterator[Command]:
    if fill.content is not None:
        # What is zero there already is not written: parity is right, and the image stays sparse.
        yield ("dd", f"if={place}", f"of={device}", f"bs={_COPY_BLOCK}",
               "conv=notrunc,sparse,fsync", "status=none")  # fmt: skip
        return
    yield fill.mkfs
    if place is None:
        return
    yield ("mkdir", "-p", mount)
    yield ("mount", device, mount)
    yield ("tar", "--extract", f"--file={place}", f"--directory={mount}", "--numeric-owner",
           "--same-owner", "--preserve-permissions", "--acls", "--xattrs", "--xattrs-include=*",
           "--delay-directory-restore")  # fmt: skip
    yield ("sync", "--file-system", mount)
    yield ("umount", mount)


def run_job(guest: Guest, job: GuestJob) -> None:
    """Run a job; an error says that it was in the guest, and whether something had no room."""
    try:
        guest.run(job)
    except GoldsmithError as e:
        if _is_short_of_room(job):
            raise no_space(job.image) from e
        if not isinstance(e, CommandFailed):
            raise
        if e.argv[0] in ("tar", "dd") and any(is_full_message(line) for line in e.tail):
            raise LayoutError(
                [f"files do not fit in their file system (in the guest: {e})"],
                hint='make the volume larger, or write size = "auto"',
            ) from e
        raise GoldsmithError(f"in the guest, {e}", hint=e.hint) from e
    if _is_short_of_room(job):
        raise no_space(job.image)


def _is_short_of_room(job: GuestJob) -> bool:
    """Whether writes of the guest may have failed: it sees a bad disk then, and no reason.

    md goes on without the member that failed, and the end of a mount is no error.
    """
    free = os.statvfs(job.image.parent)
    return free.f_bavail * free.f_frsize < _SHORT_OF_ROOM_BYTES


def settle(
    plan: DiskPlan,
    places: Mapping[str, Pieces | None],
    image: Path,
    *,
    identity: DiskIdentity,
    epoch_s: int,
) -> None:
    """Hold what the guest has made against the plan, and give it the image's own times.

    Raises GoldsmithError where they differ. Physical volumes on striped arrays keep the times that
    the guest gave them.
    """
    offsets = {p.name: p.offset_bytes for p in plan.partitions}
    with open(image, "r+b", buffering=0) as stream:
        fd = stream.fileno()
        for array in plan.arrays:
            members = [offsets[name] for name in array.raid.members]
            _check(array, [md_superblock.read(fd, at) for at in members], identity)
            for name, at in zip(array.raid.members, members, strict=True):
                md_superblock.settle(
                    fd, at, device_uuid=identity.member_uuid(name), epoch_s=epoch_s
                )
        for group in plan.groups:
            for part in group.group.physical_volumes:
                for piece in places[part] or ():
                    for offset in piece.offsets:
                        lvm_metadata.settle(fd, offset, epoch_s=epoch_s)


def _check(
    array: PlannedArray, found: Sequence[md_superblock.Superblock], identity: DiskIdentity
) -> None:
    """Raise GoldsmithError when members are not as planned, or one was lost on the way."""
    for member, superblock in zip(array.raid.members, found, strict=True):
        wanted = replace(
            superblock, array_uuid=identity.array_uuid(array.name), level=int(array.raid.level),
            data_offset_bytes=array.data_offset_bytes,
            size_bytes=array.component_bytes if array.raid.level != "0" else 0,
            events=found[0].events,
        )  # fmt: skip
        if superblock != wanted:
            raise GoldsmithError(
                f'the guest made member "{member}" of array "{array.name}" in another way than it '
                f"was planned: {superblock}, not {wanted}"
            )
