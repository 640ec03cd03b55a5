"""From `ks_spaces` to partitions, by fuel-agent's rules: every place is the one that it gave.

A table made here is therefore the one of a machine that fuel-agent has made, which is what lets
its data be kept. Partitions follow each other with 1 MiB between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from goldsmith.deploy.scheme import (
    SWAP_MOUNT,
    Array,
    Group,
    PhysicalVolume,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
    Volume,
)
from goldsmith.errors import GoldsmithError
from goldsmith.template.fuel.spaces_input import (
    DiskSpace,
    GroupSpace,
    PartitionVolume,
    PhysicalVolumeSpace,
)
from goldsmith.units import MIB

BIOS_MIB, UEFI_MIB, CONFIG_DRIVE_MIB = 24, 200, 20
LARGEST_JOURNAL_MIB: Final = 10240
_DEFAULT_TYPE, _DEFAULT_BOOT_TYPE = "xfs", "ext2"
_LABEL_BYTES: Final = 12
_ARRAYS: Final = 128

FindDevice = Callable[[DiskSpace], str]
"""The node of a disk; raises GoldsmithError for one that is not there."""


def to_scheme(
    spaces: Sequence[DiskSpace | GroupSpace],
    find_device: FindDevice,
    *,
    config_drive: bool,
    old_arrays: bool = False,
) -> Scheme:
    """The scheme of checked spaces.

    `config_drive` asks for a partition for one; `old_arrays` for md metadata 0.90. Raises
    GoldsmithError where /boot has no place, or two disks are to boot.
    """
    making = _Making(list(spaces), find_device, config_drive, "0.90" if old_arrays else "default")
    return making.scheme()


@dataclass(slots=True)
class _Disk:
    """A disk that is being filled."""

    device: str
    partitions: list[TargetPartition] = field(default_factory=list)

    def add(self, size_mib: int, **fields: object) -> TargetPartition:
        begin = MIB if not self.partitions else self.partitions[-1].end_bytes + MIB
        made = TargetPartition(
            self.device, len(self.partitions) + 1, begin, size_mib * MIB, **fields  # type: ignore[arg-type]
        )  # fmt: skip
        self.partitions.append(made)
        return made


class _Making:
    def __init__(
        self,
        spaces: list[DiskSpace | GroupSpace],
        find_device: FindDevice,
        config_drive: bool,
        metadata: str,
    ) -> None:
        self.disks = [space for space in spaces if isinstance(space, DiskSpace)]
        self.groups = [space for space in spaces if isinstance(space, GroupSpace)]
        self.find_device, self.metadata = find_device, metadata
        self.wants_drive = config_drive
        self.used = [disk for disk in self.disks if disk.is_used]
        self.boot_disk = self._boot_disk()
        self.arrays: dict[str, Array] = {}
        self.physical: list[PhysicalVolume] = []
        self.members: dict[str, list[str]] = {}
        self.filesystems: list[TargetFilesystem] = []
        osds = [v for v in self._volumes() if v.name == "ceph" and v.size > 0]
        journals = [v for v in self._volumes() if v.name == "cephjournal" and v.size > 0]
        self.journals_left = len(osds)
        self.journals_each = math.ceil(len(osds) / len(journals)) if journals else 0

    def _volumes(self) -> list[PartitionVolume]:
        return [v for disk in self.used for v in disk.volumes if isinstance(v, PartitionVolume)]

    def scheme(self) -> Scheme:
        targets = [self._target(disk) for disk in self.used]
        groups, volumes = self._groups_and_volumes()
        scheme = Scheme(
            tuple(targets), tuple(self.arrays.values()), tuple(self.physical), groups, volumes,
            tuple(self.filesystems),
        )  # fmt: skip
        return with_kept_data(scheme)

    def _boot_disk(self) -> DiskSpace:
        """Where /boot goes: on one disk, however many have room for it."""
        having = [disk for disk in self.used if any(map(_is_boot, disk.volumes))]
        flagged = [disk for disk in self.disks if disk.bootable]
        if len(flagged) > 1:
            names = ", ".join(disk.name for disk in flagged)
            raise GoldsmithError(f"ks_spaces: more than one disk is bootable: {names}")
        # BIOS boots few NVMe disks; where there are no others they have to do.
        plain = [disk for disk in having if "nvme" not in disk.name] or having
        of_array = [disk for disk in plain if any(
            v.type == "raid" and v.mount == "/" and v.size > 0
            for v in disk.volumes if isinstance(v, PartitionVolume))]  # fmt: skip
        for candidates in ([d for d in plain if d.bootable], of_array, plain):
            if candidates:
                return candidates[0]
        raise GoldsmithError("ks_spaces: no disk that is used has room for /boot",
                             hint="add a volume of type partition with mount /boot")  # fmt: skip

    def _target(self, disk: DiskSpace) -> TargetDisk:
        made = _Disk(self.find_device(disk))
        made.add(BIOS_MIB, type="bios-boot", flags=("bios_grub",))
        made.add(UEFI_MIB)
        has_boot = False
        for volume in disk.volumes:
            if volume.size <= 0:
                continue
            if isinstance(volume, PhysicalVolumeSpace):
                self._physical(volume, made)
            elif isinstance(volume, PartitionVolume) and volume.name == "cephjournal":
                self._journals(volume, made)
            elif isinstance(volume, PartitionVolume) and _is_boot(volume):
                if disk is self.boot_disk and not has_boot:
                    has_boot = True
                    self._mounted(volume, made, _DEFAULT_BOOT_TYPE)
            elif isinstance(volume, PartitionVolume):
                self._volume(volume, made)
        if self.wants_drive and self._holds_system(disk):
            self.wants_drive = False
            made.add(CONFIG_DRIVE_MIB, config_drive=True)
        return TargetDisk(made.device, "gpt", "clean", tuple(made.partitions), True)

    def _volume(self, volume: PartitionVolume, disk: _Disk) -> None:
        if volume.place is None:
            disk.add(volume.size, guid=volume.partition_guid, keep_data=volume.keeps,
                     type="raid" if volume.type == "raid" else "data")  # fmt: skip
        elif volume.type == "raid":
            self._member(volume, disk)
        else:
            self._mounted(volume, disk, _DEFAULT_TYPE)

    def _mounted(self, volume: PartitionVolume, disk: _Disk, default_type: str) -> None:
        kind = volume.file_system or default_type
        made = disk.add(volume.size, type="swap" if kind == "swap" else "data",
                        guid=volume.partition_guid, keep_data=volume.keeps)  # fmt: skip
        self._add_filesystem(made.node, volume.place, kind, volume.disk_label)

    def _member(self, volume: PartitionVolume, disk: _Disk) -> None:
        """A part of the array of its mount point."""
        made = disk.add(volume.size, type="raid", flags=("raid",), keep_data=volume.keeps)
        mount = volume.place or ""
        array = self.arrays.get(mount)
        if array is None:
            if len(self.arrays) >= _ARRAYS:
                raise GoldsmithError(f"ks_spaces: there are more than {_ARRAYS} arrays")
            array = Array(f"/dev/md{len(self.arrays)}", "1", (), (), self.metadata)
            self._add_filesystem(array.node, mount, volume.file_system or _DEFAULT_TYPE,
                                 volume.disk_label)  # fmt: skip
        self.arrays[mount] = replace(array, members=(*array.members, made.node))

    def _add_filesystem(self, node: str, mount: str | None, kind: str, label: str | None) -> None:
        point = SWAP_MOUNT if kind == "swap" or mount == "swap" else mount
        short = (label or "").encode()[:_LABEL_BYTES].decode(errors="ignore")
        self.filesystems.append(TargetFilesystem(node, point, kind, short))

    def _physical(self, volume: PhysicalVolumeSpace, disk: _Disk) -> None:
        made = disk.add(volume.size, type="lvm", flags=("lvm",), keep_data=volume.keeps)
        metadata_mib = (volume.lvm_meta_size - 8) // 2
        self.physical.append(PhysicalVolume(made.node, metadata_mib * MIB, 2, volume.keeps))
        self.members.setdefault(volume.vg, []).append(made.node)

    def _journals(self, volume: PartitionVolume, disk: _Disk) -> None:
        """The journals of all stores, shared evenly among the places for them."""
        if volume.type != "partition" or not self.journals_each:
            return
        size_mib = min(volume.size // self.journals_each, LARGEST_JOURNAL_MIB)
        count = min(self.journals_each, self.journals_left)
        for _ in range(count):
            disk.add(size_mib, guid=volume.partition_guid, keep_data=volume.keeps)
        self.journals_left -= count

    def _holds_system(self, disk: DiskSpace) -> bool:
        """Whether the root, or the group "os" that holds it, lies on the disk."""
        root_groups = {group.id for group in self.groups
                       if any(v.mount == "/" and v.size > 0 for v in group.volumes)}  # fmt: skip
        for volume in disk.volumes:
            if volume.size <= 0:
                continue
            if isinstance(volume, PartitionVolume) and volume.mount == "/":
                return True
            if isinstance(volume, PhysicalVolumeSpace) and volume.vg in {*root_groups, "os"}:
                return True
        return False

    def _groups_and_volumes(self) -> tuple[tuple[Group, ...], tuple[Volume, ...]]:
        groups: list[Group] = []
        volumes: list[Volume] = []
        for group in self.groups:
            if group.id not in self.members:
                continue
            groups.append(Group(group.id, tuple(self.members[group.id])))
            for logical in group.volumes:
                if logical.size <= 0:
                    continue
                made = Volume(logical.name or "", group.id, logical.size * MIB, logical.keeps)
                volumes.append(made)
                if logical.place is not None:
                    self._add_filesystem(made.node, logical.place,
                                         logical.file_system or _DEFAULT_TYPE,
                                         logical.disk_label)  # fmt: skip
        return tuple(groups), tuple(volumes)


def _is_boot(volume: object) -> bool:
    return isinstance(volume, PartitionVolume) and volume.mount == "/boot" and volume.size > 0


def with_kept_data(scheme: Scheme) -> Scheme:
    """What is kept of a partition is kept of all that lies on it; then all tables stay as they are.

    That is fuel-agent's rule: data to be kept anywhere means no partitioning anywhere.
    """
    kept = {p.node for p in scheme.partitions() if p.keep_data}
    kept |= {volume.node for volume in scheme.physical_volumes if volume.keep_data}
    arrays = tuple(
        replace(a, keep_data=a.keep_data or bool(kept & {*a.members, *a.spares}))
        for a in scheme.arrays
    )
    kept |= {array.node for array in arrays if array.keep_data}
    groups = tuple(
        replace(g, keep_data=g.keep_data or bool(kept & {*g.physical_volumes}))
        for g in scheme.groups
    )
    names = {group.name for group in groups if group.keep_data}
    volumes = tuple(replace(v, keep_data=v.keep_data or v.group in names) for v in scheme.volumes)
    kept |= {volume.node for volume in volumes if volume.keep_data}
    filesystems = tuple(
        replace(fs, keep_data=fs.keep_data or fs.node in kept) for fs in scheme.filesystems
    )
    stays = bool(kept) or any(fs.keep_data for fs in filesystems)
    disks = scheme.disks
    if stays:
        disks = tuple(replace(disk, policy="keep") for disk in scheme.disks)
    return replace(scheme, disks=disks, arrays=arrays, groups=groups, volumes=volumes,
                   filesystems=filesystems)  # fmt: skip
