"""fuel-agent's `ks_spaces`: disks and volume groups with their volumes, checked as a whole.

Sizes are MiB. A key that is not known is an error, because a misspelled `keep_data` would be a lost
disk; those that begin with an underscore are the server's own notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_ROOT_MIB: Final = 16_777_216
"""An ext4 of 4 KiB blocks without further features ends there: 16 TiB."""
LEAST_LVM_META_MIB: Final = 10
_LARGEST_MIB: Final = 1 << 40


class Strict(BaseModel):
    """A map whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_notes(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if not str(key).startswith("_")}


SizeMib = Annotated[int, Field(strict=True, le=_LARGEST_MIB)]


class Mounted(Strict):
    """What volumes of disks and of groups have in common."""

    size: SizeMib
    name: str | None = None
    mount: str | None = None
    file_system: str | None = None
    disk_label: str | None = None
    keep_data: bool = False
    keep: bool = False
    label: str | None = None
    images: list[Any] | None = None
    min_size: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether its data stays."""
        return self.keep_data or self.keep

    @property
    def place(self) -> str | None:
        """Where it is mounted, None for nowhere."""
        return None if self.mount in (None, "none", "") else self.mount


class PartitionVolume(Mounted):
    """A partition, or a part of an array of all that are mounted at the same place."""

    type: Literal["partition", "raid"]
    partition_guid: str | None = None


class PhysicalVolumeSpace(Strict):
    """What a disk gives to a volume group."""

    type: Literal["pv"]
    size: SizeMib
    vg: str
    lvm_meta_size: SizeMib
    keep_data: bool = False
    keep: bool = False
    name: str | None = None
    min_size: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether its data stays."""
        return self.keep_data or self.keep


class OtherVolume(Strict):
    """Room that the server had set aside; it is passed over."""

    type: Literal["boot", "lvm_meta_pool"]
    size: SizeMib
    name: str | None = None
    mount: str | None = None


class LogicalVolumeSpace(Mounted):
    """A logical volume."""

    type: Literal["lv"]


DiskVolume = Annotated[
    PartitionVolume | PhysicalVolumeSpace | OtherVolume, Field(discriminator="type")
]


class DiskSpace(Strict):
    """A disk, its names, and what is to be on it, in order."""

    type: Literal["disk"]
    id: str
    name: str
    size: SizeMib
    volumes: tuple[DiskVolume, ...]
    extra: tuple[str, ...] = ()
    free_space: SizeMib = 0
    bootable: bool = False

    @property
    def is_used(self) -> bool:
        """Whether anything but room for booting is to be on it."""
        return any(
            v.size > 0
            for v in self.volumes
            if v.type != "boot" and not (isinstance(v, PartitionVolume) and v.mount == "/boot")
        )


class GroupSpace(Strict):
    """A volume group; its physical volumes are told by the disks."""

    type: Literal["vg"]
    id: str
    volumes: tuple[LogicalVolumeSpace, ...]
    label: str | None = None
    min_size: int | None = None


Space = Annotated[DiskSpace | GroupSpace, Field(discriminator="type")]


def problems(spaces: Sequence[DiskSpace | GroupSpace]) -> Iterator[str]:
    """What is wrong with the whole, beside the shape of its parts."""
    disks = [space for space in spaces if isinstance(space, DiskSpace)]
    groups = [space for space in spaces if isinstance(space, GroupSpace)]
    if not disks:
        yield "ks_spaces: there is no disk"
    for number, space in enumerate(spaces):
        if space in spaces[:number]:
            yield f"ks_spaces.{number}: it stands there twice"
    for disk in disks:
        for volume in disk.volumes:
            if isinstance(volume, PartitionVolume):
                yield from _of_root(volume, disk.name)
            if isinstance(volume, PhysicalVolumeSpace) and volume.size > 0:
                yield from _of_physical(volume, disk, groups)
    for group in groups:
        for logical in group.volumes:
            yield from _of_root(logical, group.id)
            if logical.size > 0 and not logical.name:
                yield f'volume group "{group.id}": a logical volume has no name'


def _of_root(volume: Mounted, where: str) -> Iterator[str]:
    if volume.mount == "/" and volume.size > LARGEST_ROOT_MIB:
        yield f"{where}: the root has {volume.size} MiB, it can have {LARGEST_ROOT_MIB} at most"


def _of_physical(
    volume: PhysicalVolumeSpace, disk: DiskSpace, groups: list[GroupSpace]
) -> Iterator[str]:
    if volume.lvm_meta_size < LEAST_LVM_META_MIB:
        yield (f'{disk.name}: lvm_meta_size of the part of "{volume.vg}" is '
               f"{volume.lvm_meta_size}, it is {LEAST_LVM_META_MIB} at least")  # fmt: skip
    if all(group.id != volume.vg for group in groups):
        yield f'{disk.name}: there is no volume group "{volume.vg}"'
