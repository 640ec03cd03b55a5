"""fuel-agent's `nailgun_simple`: a scheme as its own objects; nothing is calculated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field

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
from goldsmith.template.fuel.build_input import input_error
from goldsmith.template.fuel.spaces import with_kept_data
from goldsmith.template.fuel.spaces_input import SizeMib, Strict
from goldsmith.units import MIB

_LEVELS: Final = {"0": "0", "raid0": "0", "stripe": "0", "1": "1", "raid1": "1", "mirror": "1"}
_FLAGS: Final = {"bios_grub": "bios-boot", "lvm": "lvm", "raid": "raid"}


def _one_line(given: object) -> object:
    return "" if given is None else given


Text = Annotated[str, BeforeValidator(_one_line)]


class SimplePartition(Strict):
    """A partition: `begin` and `end` in MiB, its name as its node."""

    name: str | None
    count: int
    device: str
    begin: SizeMib
    end: SizeMib
    type: Literal["primary", "logical", "extended"] = Field(
        validation_alias=AliasChoices("type", "partition_type")
    )
    flags: tuple[str, ...] = ()
    guid: str | None = None
    configdrive: bool = False
    keep_data: bool = False
    file_system: str | None = None

    @property
    def number(self) -> int:
        """Its number, which stands at the end of its name."""
        found = re.search(r"(\d+)$", self.name or "")
        return int(found.group(1)) if found else self.count


class SimpleDisk(Strict):
    """A disk with its table."""

    name: str
    label: Literal["gpt", "msdos"]
    partitions: tuple[SimplePartition, ...] = ()
    install_bootloader: bool = False
    disk_size: SizeMib | None = None


class SimplePhysicalVolume(Strict):
    """A physical volume; its metadata in MiB."""

    name: str
    metadatasize: SizeMib = 16
    metadatacopies: int = Field(2, ge=0, le=2)
    keep_data: bool = False


class SimpleGroup(Strict):
    """A volume group."""

    name: str
    pvnames: tuple[str, ...] = ()
    keep_data: bool = False


class SimpleVolume(Strict):
    """A logical volume; its size in MiB."""

    name: str
    vgname: str
    size: SizeMib
    keep_data: bool = False


class SimpleArray(Strict):
    """An array."""

    name: str
    level: Annotated[str, BeforeValidator(str)]
    devices: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    metadata: str = "default"
    keep_data: bool = False


class SimpleFilesystem(Strict):
    """A file system."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    device: str
    mount: str | None = None
    type: str = Field("xfs", validation_alias=AliasChoices("fs_type", "type"))
    options: Text = Field("", validation_alias=AliasChoices("fs_options", "options"))
    label: Text = Field("", validation_alias=AliasChoices("fs_label", "label"))
    keep_data: bool = False


class Partitioning(Strict):
    """The whole: `parteds`, `pvs`, `vgs`, `lvs`, `mds` and `fss`."""

    parteds: tuple[SimpleDisk, ...]
    pvs: tuple[SimplePhysicalVolume, ...] = ()
    vgs: tuple[SimpleGroup, ...] = ()
    lvs: tuple[SimpleVolume, ...] = ()
    mds: tuple[SimpleArray, ...] = ()
    fss: tuple[SimpleFilesystem, ...] = ()


def to_scheme(given: Partitioning, origin: str) -> Scheme:
    """The scheme that the objects say; raises InputError with everything that fits nowhere."""
    scheme = Scheme(
        tuple(_disk(disk) for disk in given.parteds),
        tuple(Array(md.name, _LEVELS.get(md.level, md.level), tuple(md.devices), tuple(md.spares),
                    md.metadata, md.keep_data) for md in given.mds),
        tuple(PhysicalVolume(pv.name, pv.metadatasize * MIB, pv.metadatacopies, pv.keep_data)
              for pv in given.pvs),
        tuple(Group(vg.name, tuple(vg.pvnames), vg.keep_data) for vg in given.vgs),
        tuple(Volume(lv.name, lv.vgname, lv.size * MIB, lv.keep_data) for lv in given.lvs),
        tuple(_filesystem(fs) for fs in given.fss),
    )  # fmt: skip
    if wrong := list(_misnamed(given, scheme.disks)):
        raise input_error(wrong, origin)
    return with_kept_data(scheme)


def _misnamed(given: Partitioning, disks: Sequence[TargetDisk]) -> Iterator[str]:
    """Partitions whose names are not the nodes that they will have, and mounts that are none."""
    for number, (disk, target) in enumerate(zip(given.parteds, disks, strict=True)):
        for at, (one, made) in enumerate(zip(disk.partitions, target.partitions, strict=True)):
            place = f"partitioning.parteds.{number}.partitions.{at}"
            if one.name is not None and one.name != made.node:
                yield f"{place}.name: it is {one.name}, and would be {made.node}"
            if one.end <= one.begin:
                yield f"{place}.end: it lies before its begin"
    for at, fs in enumerate(given.fss):
        if fs.mount not in (None, SWAP_MOUNT) and not str(fs.mount).startswith("/"):
            yield f'partitioning.fss.{at}.mount: "{fs.mount}" is not absolute'


def _disk(disk: SimpleDisk) -> TargetDisk:
    label: Literal["gpt", "mbr"] = "gpt" if disk.label == "gpt" else "mbr"
    partitions = tuple(
        TargetPartition(
            disk.name, p.number, p.begin * MIB, (p.end - p.begin) * MIB, _type(p, label),
            tuple(p.flags), p.guid, None, p.keep_data, p.configdrive,
        )
        for p in disk.partitions
    )  # fmt: skip
    return TargetDisk(disk.name, label, "clean", partitions, disk.install_bootloader)


def _type(partition: SimplePartition, label: str) -> str:
    if partition.type == "extended":
        return "extended"
    if label == "gpt" and "boot" in partition.flags:
        return "esp"
    return next((_FLAGS[flag] for flag in partition.flags if flag in _FLAGS), "data")


def _filesystem(fs: SimpleFilesystem) -> TargetFilesystem:
    mount = SWAP_MOUNT if fs.type == "swap" else fs.mount
    return TargetFilesystem(fs.device, mount, fs.type, fs.label, fs.options, fs.keep_data)
