"""From a checked configuration to the one model of a disk, and to the lines of its fstab."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from goldsmith.disk.block_devices.checking import ROOT_IMAGE
from goldsmith.disk.block_devices.ext_words import read_ext_words
from goldsmith.disk.block_devices.model import (
    BlockDevices,
    Extent,
    Fstab,
    Logical,
    Mkfs,
    Mount,
    PartitionEntry,
    Partitioning,
)
from goldsmith.disk.model import (
    REST,
    ExactSize,
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    PartitionSize,
    ShareSize,
    VolumeGroup,
    volume_name,
)
from goldsmith.errors import LayoutError
from goldsmith.units import MIB

# sgdisk(8), "sgdisk -L": its own numbers for the types of a GPT.
GPT_CODES: Final = {
    "EF00": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "EF02": "21686148-6449-6E6F-744E-656564454649",
    "4100": "9E1A2D38-C612-4316-AA26-8B49521E5A8B",
    "8200": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "8300": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "8302": "933AC7E1-2EB4-4F13-B844-0E14E2AEF915",
    "8303": "44479540-F297-41B2-9AF7-D131D5F0458A",
    "8304": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "8305": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
    "8E00": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    "FD00": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "EA00": "BC13C2FF-59E6-4262-A352-B275FD6F7172",
    "0700": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
}
_UNUSED_BYTES: Final = 2 * MIB
"""What upstream leaves of a disk before it takes shares of the rest."""
_BY_CODE: Final = {"EF00": "esp", "EF02": "bios-boot", "8200": "swap"}


def to_layout(devices: BlockDevices, size_bytes: int) -> Layout:
    """The layout of the disk `image0`, of this size unless the configuration has one.

    Raises LayoutError for what the model cannot say: thin volumes, and types of a GPT that are
    neither one of sgdisk's numbers nor a GUID.
    """
    disk = next(loop for loop in devices.loops if loop.name == ROOT_IMAGE)
    whole = disk.size_bytes or size_bytes
    table = next((one for one in devices.tables if one.base == disk.name), None)
    if table is None:
        one = _partition_of(devices, PartitionEntry(name=disk.name, size=_WHOLE), "none")
        return Layout("none", whole, (one,))
    partitions = tuple(
        _partition_of(devices, one, table.label, size)
        for one, size in zip(table.partitions, _sizes(table, whole), strict=True)
    )
    return Layout(table.label, whole, partitions, volume_groups=_groups(devices))


_WHOLE: Final = Extent(share=Fraction(1))


def _sizes(table: Partitioning, whole: int) -> Iterator[PartitionSize]:
    """A share is one of what the partitions before it have left; 100 % is all of that.

    On a GPT sizes are whole MiB, since upstream tells sgdisk those.
    """
    step = MIB if table.label == "gpt" else 512
    left = whole - _UNUSED_BYTES
    for entry in table.partitions:
        share = entry.size.share
        size = int(left * share) if share is not None else entry.size.size_bytes or 0
        yield REST if share == 1 else ExactSize(size // step * step)
        # A logical partition has a table of its own before it.
        is_logical = table.label == "mbr" and "primary" not in entry.flags
        left -= size + (MIB if is_logical else 0)


def _partition_of(
    devices: BlockDevices, entry: PartitionEntry, label: str, size: PartitionSize = REST
) -> Partition:
    filesystem, mount, fstab = _on(devices, entry.name)
    code = (entry.type or "8300").upper()
    kind = _BY_CODE.get(code, "data") if label == "gpt" else "data"
    if filesystem is not None and filesystem.type == "swap":
        kind = "swap"
    elif mount is not None and mount.mount_point == "/":
        kind = "root"
    elif mount is not None and mount.mount_point == "/boot" and kind == "data":
        kind = "boot"
    is_mbr = label == "mbr"
    return Partition(
        entry.name, kind, size, _filesystem(filesystem), _point(mount), _options(fstab),
        "primary" not in entry.flags if is_mbr else None,
        "boot" in entry.flags or None if is_mbr else None,
        None if label == "none" else _type_id(entry, label),
    )  # fmt: skip


def _type_id(entry: PartitionEntry, label: str) -> str:
    """What stands in the table: for upstream it is Linux's own whatever lies there."""
    if label == "mbr":
        return entry.type or "83"
    given = entry.type or "8300"
    if len(given) == 36:
        return given
    found = GPT_CODES.get(given.upper().removeprefix("0X"))
    if found is None:
        raise LayoutError(
            [f'{entry.name}: "{given}" is not one of the types of a GPT that are known here'],
            hint="write its GUID",
        )
    return found


def _groups(devices: BlockDevices) -> tuple[VolumeGroup, ...]:
    found = []
    for lvm in devices.lvms:
        lies_on = {one.name: one.base for one in lvm.physical}
        for group in lvm.groups:
            inside = [one for one in lvm.logical if one.base == group.name]
            found.append(
                VolumeGroup(
                    group.name, tuple(lies_on[name] for name in group.volumes),
                    tuple(_logical(devices, one) for one in inside),
                )
            )  # fmt: skip
    return tuple(found)


def _logical(devices: BlockDevices, volume: Logical) -> LogicalVolume:
    if volume.type:
        raise LayoutError([f"{volume.name}: {volume.type} volumes are not made yet"])
    filesystem, mount, fstab = _on(devices, volume.name)
    return LogicalVolume(
        volume.name, _size(volume.size), _filesystem(filesystem), _point(mount), _options(fstab)
    )


def _on(devices: BlockDevices, name: str) -> tuple[Mkfs | None, Mount | None, Fstab | None]:
    """The file system that lies on a node, where it is mounted, and its line in fstab."""
    filesystem = next((one for one in devices.filesystems if one.base == name), None)
    if filesystem is None:
        return None, None, None
    mount = next((one for one in devices.mounts if one.base == filesystem.name), None)
    if mount is None:
        return filesystem, None, None
    return filesystem, mount, next((one for one in devices.fstab if one.base == mount.name), None)


def _size(extent: Extent) -> PartitionSize:
    if extent.size_bytes is not None:
        return ExactSize(extent.size_bytes)
    assert extent.share is not None, "a size is one or the other"
    return REST if extent.share == 1 else ShareSize(extent.share * 100)


def _filesystem(one: Mkfs | None) -> FileSystem | None:
    if one is None:
        return None
    if not one.type.startswith("ext"):
        return FileSystem(one.type, one.label, one.options, uuid=one.uuid)
    words = read_ext_words(one.options)
    return FileSystem(one.type, one.label, words.others, words.bytes_per_inode, words.journal_mib,
                      uuid=one.uuid)  # fmt: skip


def _point(mount: Mount | None) -> str | None:
    return None if mount is None or not mount.mount_point.startswith("/") else mount.mount_point


def _options(fstab: Fstab | None) -> tuple[str, ...]:
    if fstab is None or fstab.options == "defaults":
        return ()
    return tuple(fstab.options.split(","))


def chosen_uuids(devices: BlockDevices) -> tuple[tuple[str, str], ...]:
    """The UUIDs of `mkfs` entries that have one, for a DiskIdentity: by what they lie on."""
    groups = {one.name: one.base for lvm in devices.lvms for one in lvm.logical}
    return tuple(
        (volume_name(groups[one.base], one.base) if one.base in groups else one.base, one.uuid)
        for one in devices.filesystems
        if one.uuid
    )


def fstab_text(devices: BlockDevices) -> str:
    """The lines of fstab as upstream writes them, by label, in the order of the mount points."""
    filesystems = {one.name: one for one in devices.filesystems}
    mounts = {one.name: one for one in devices.mounts}
    lines = []
    for entry in sorted(devices.fstab, key=lambda one: mounts[one.base].mount_point):
        mount = mounts[entry.base]
        one = filesystems[mount.base]
        if one.type == "swap":
            words = (f"LABEL={one.label}", "none", "swap", "sw", "0", "0")
        else:
            words = (
                f"LABEL={one.label}", mount.mount_point, one.type, entry.options,
                str(entry.dump_freq), str(entry.fsck_passno),
            )  # fmt: skip
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)
