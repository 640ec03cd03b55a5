"""What a template can say in `source "image"`; the reference manual is made from these models."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.option_words import MountOption, read_headroom, read_size_bytes
from goldsmith.builders.image.set_options import ImageSetOptions
from goldsmith.core.options import Finding, Options
from goldsmith.disk import layout as disk
from goldsmith.disk.bootloader import grub
from goldsmith.disk.formats import FORMATS, LARGEST_VPC_BYTES, check_format
from goldsmith.disk.model import Layout
from goldsmith.disk.tree_packages import layout_packages
from goldsmith.errors import GoldsmithError, Severity
from goldsmith.units import (
    LARGEST_FILE_BYTES,
    UnitError,
    format_size,
)

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What packages.identity.set_hostname takes; a test holds the two against each other.
_HOST_NAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(\.{_LABEL})*")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# Debian's kernels, Ubuntu's flavours, and those of other archives ("proxmox-kernel-6.8").
_KERNEL_PACKAGE = re.compile(
    r"linux-(image|generic|virtual|lowlatency|kvm|aws|azure|gcp|oem|oracle|raspi)|.*kernel"
)


def _is_format(name: str) -> str:
    try:
        check_format(name)
    except GoldsmithError as e:
        raise ValueError(f"{e}" + (f"; {e.hint}" if e.hint else "")) from e
    return name


FormatName = Annotated[str, AfterValidator(_is_format)]


def _is_size(given: str) -> str:
    try:
        size = disk.parse_partition_size(given)
    except UnitError as e:
        raise ValueError(f"{e}; {e.hint}" if e.hint else str(e)) from e
    if isinstance(size, disk.ExactSize) and size.size_bytes > LARGEST_FILE_BYTES:
        raise ValueError("files are smaller than 8 EiB")
    return given


ShareableSize = Annotated[str, AfterValidator(_is_size)]


class _Formatted(Options):
    """What can hold a file system."""

    filesystem: str | None = Field(
        None,
        description="ext4, ext3, ext2, xfs, btrfs, vfat, squashfs, erofs or swap; none for "
        "bios-boot and for parts of an array or volume group.",
    )
    filesystem_options: tuple[str, ...] = Field(
        (), description="Further words for the mkfs program of the file system."
    )
    mount: str | None = Field(None, description="Where it is mounted in the running system.")
    label: str | None = Field(
        None, description="The label of the file system; squashfs and erofs have none."
    )
    mount_options: tuple[MountOption, ...] = Field((), description="Options for its line in fstab.")

    @property
    def _type(self) -> str | None:
        return self.filesystem

    @model_validator(mode="after")
    def _has_what_is_described(self) -> Self:
        if self._type is None and (self.label is not None or self.filesystem_options):
            raise ValueError("label and filesystem_options belong to a filesystem")
        return self

    def file_system(self) -> disk.FileSystem | None:
        """The file system in the one layout model."""
        if self._type is None:
            return None
        return disk.FileSystem(self._type, self.label, self.filesystem_options)


class Partition(_Formatted):
    """A partition, in the order of the disk."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label; the partition's name on a gpt disk.")
    type: str = Field(description="esp, bios-boot, boot, root, swap or data.")
    size: ShareableSize = Field(
        "auto", description='"64MiB", "40%", "rest" or "100%" (all that is left), or "auto".'
    )

    @property
    def _type(self) -> str | None:
        return self.filesystem or ("swap" if self.type == "swap" else None)

    def to_layout(self) -> disk.Partition:
        """The same partition in the one layout model."""
        return disk.Partition(
            self.name, self.type, disk.parse_partition_size(self.size), self.file_system(),
            self.mount, self.mount_options,
        )  # fmt: skip


class Raid(_Formatted):
    """A software RAID array over partitions of type data."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label; the array is /dev/md/NAME.")
    level: str = Field(description="0, 1, 5, 6 or 10.")
    members: tuple[str, ...] = Field(description="The names of its partitions.")

    def to_layout(self) -> disk.Raid:
        """The same array in the one layout model."""
        return disk.Raid(self.name, self.level, self.members, self.file_system(), self.mount,
                         self.mount_options)  # fmt: skip


class VolumeGroup(Options):
    """An LVM volume group."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label.")
    physical_volumes: tuple[str, ...] = Field(
        description="The names of partitions of type data, or of arrays."
    )


class LogicalVolume(_Formatted):
    """An LVM logical volume."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label.")
    volume_group: str = Field(description="The name of its volume group.")
    size: ShareableSize = Field(
        "auto",
        description='"2GiB", "40%", "rest" or "100%" of what the group has left, or "auto".',
    )

    def to_layout(self) -> disk.LogicalVolume:
        """The same volume in the one layout model."""
        return disk.LogicalVolume(self.name, disk.parse_partition_size(self.size),
                                  self.file_system(), self.mount,
                                  self.mount_options)  # fmt: skip


class Disk(Options):
    """How the disk is divided."""

    label: str = Field(
        "gpt", description="The partition table: gpt, mbr, or none for one bare file system."
    )
    size: str = Field("auto", description='"4GiB", or "auto": what the tree needs and headroom.')
    headroom: str = Field(
        "", description='Free space that "auto" adds: "500MiB" or "20%"; 10 %, at least 64 MiB.'
    )
    partition: tuple[Partition, ...] = Field((), description="The partitions.")
    raid: tuple[Raid, ...] = Field((), description="Software RAID arrays over partitions.")
    volume_group: tuple[VolumeGroup, ...] = Field((), description="LVM volume groups.")
    logical_volume: tuple[LogicalVolume, ...] = Field(
        (), description="Logical volumes of the volume groups."
    )

    @field_validator("size")
    @classmethod
    def _is_size(cls, given: str) -> str:
        if given != "auto":
            read_size_bytes(given)
        return given

    @field_validator("headroom")
    @classmethod
    def _is_headroom(cls, given: str) -> str:
        read_headroom(given)
        return given

    def to_layout(self) -> disk.Layout:
        """The same disk in the one layout model."""
        return disk.Layout(
            self.label, None if self.size == "auto" else read_size_bytes(self.size),
            tuple(partition.to_layout() for partition in self.partition),
            read_headroom(self.headroom),
            tuple(raid.to_layout() for raid in self.raid),
            tuple(self._group(group) for group in self.volume_group),
        )  # fmt: skip

    def _group(self, group: VolumeGroup) -> disk.VolumeGroup:
        inside = tuple(v.to_layout() for v in self.logical_volume if v.volume_group == group.name)
        return disk.VolumeGroup(group.name, group.physical_volumes, inside)

    def findings(self) -> Iterator[Finding]:
        """Logical volumes of a group that does not exist, which the layout cannot have."""
        groups = [group.name for group in self.volume_group]
        for number, volume in enumerate(self.logical_volume):
            if volume.volume_group not in groups:
                yield Finding(f'there is no volume group "{volume.volume_group}"',
                              ("disk", "logical_volume", number, "volume_group"))  # fmt: skip

    def places(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Where each thing of the layout is written, by its kind and its name there."""
        found = {("partition", p.name): ("partition", n) for n, p in enumerate(self.partition)}
        found |= {("raid", r.name): ("raid", n) for n, r in enumerate(self.raid)}
        found |= {("volume_group", g.name): ("volume_group", n)
                  for n, g in enumerate(self.volume_group)}  # fmt: skip
        found |= {
            ("logical_volume", disk.volume_name(v.volume_group, v.name)): ("logical_volume", n)
            for n, v in enumerate(self.logical_volume)
        }
        return found


_MISSING: Final = object()
"""Stands for the disk that a source needs and has not."""


class ImageOptions(Options):
    """Options of the `image` source."""

    bootstrap: Bootstrap = Field(description="Where the tree comes from.")
    disk: Disk | None = Field(
        None,
        description="How the disk is divided. Needed, except with elements, which may divide it "
        "themselves: then the block wins.",
    )
    image_set: ImageSetOptions | None = Field(
        None,
        description="In place of a disk: one image per mount point, each a bare file system.",
    )
    firmware: tuple[str, ...] = Field(
        ("bios", "uefi"),
        description="What it must boot on: bios, uefi; [] is no boot loader. With elements it is "
        "what their boot loader is installed for, unless it is given.",
    )
    kernel_cmdline: str = Field(
        "",
        description="Arguments of the kernel besides the root; with elements in place of "
        "DIB_BOOTLOADER_DEFAULT_CMDLINE.",
    )
    hostname: str | None = Field(None, description="The name of the machine.")
    formats: tuple[FormatName, ...] = Field(
        ("qcow2",),
        description="The files to write, all from one disk: "
        + "; ".join(f"{format.name}: {format.description}" for format in FORMATS.values())
        + ".",
    )
    compression: Literal["zstd", "zlib"] = Field(
        "zstd",
        description="How the clusters of qcow2 are compressed: zstd, or zlib for readers older "
        "than QEMU 5.1.",
    )
    output_directory: str = Field("output", description="Where the image is written.")
    image_name: str | None = Field(
        None, description="The file name without its ending; by default the source's name."
    )
    seed: str | None = Field(
        None, description="Makes all UUIDs of the image; by default the image's name."
    )
    secrets_in_image: Literal["warn", "error"] = Field(
        "warn",
        description="What a secret of the template in the tree is: error searches the whole tree, "
        "and fails the build.",
    )

    @model_validator(mode="before")
    @classmethod
    def _marks_a_missing_disk(cls, given: Any) -> Any:
        """Look at the method as it is written: a bootstrap with a mistake is seen no later."""
        if not isinstance(given, Mapping) or given.get("disk") is not None:
            return given
        if given.get("image_set") is not None:
            # Bare file systems have no boot loader, so its default is none.
            return {"firmware": (), **given}
        bootstrap = given.get("bootstrap")
        method = bootstrap.get("method") if isinstance(bootstrap, Mapping) else None
        if isinstance(bootstrap, Bootstrap):
            method = bootstrap.method
        # Misspelled, it needs none either.
        likely = isinstance(method, str) and difflib.get_close_matches(
            method, ["elements"], cutoff=0.8
        )
        return given if likely else {**given, "disk": _MISSING}

    @field_validator("disk", mode="before")
    @classmethod
    def _is_given(cls, given: Any) -> Any:
        if given is _MISSING:
            raise PydanticCustomError("missing", "Field required")
        return given

    @field_validator("hostname")
    @classmethod
    def _is_host_name(cls, given: str | None) -> str | None:
        if given is not None and not _HOST_NAME.fullmatch(given):
            raise ValueError(f"{given!r} is not a host name: letters, digits, hyphens and dots")
        return given

    @field_validator("image_name")
    @classmethod
    def _is_file_name(cls, given: str | None) -> str | None:
        if given is not None and not _IMAGE_NAME.fullmatch(given):
            raise ValueError(f"{given!r} is not a plain file name")
        return given

    @field_validator("formats")
    @classmethod
    def _are_several(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            raise ValueError("name at least one format")
        if len(set(given)) != len(given):
            raise ValueError("a format is named twice")
        return given

    @field_validator("kernel_cmdline")
    @classmethod
    def _is_one_line(cls, given: str) -> str:
        if any(character in given for character in "\n\r\0\"'\\$`"):
            raise ValueError("quotes, backslashes, $, ` and line ends do not survive grub.cfg")
        return given

    def layout(self) -> Layout:
        """The layout of the `disk` or the set, which there is unless elements divide the disk."""
        if self.image_set is not None:
            return self.image_set.to_layout()
        assert self.disk is not None, "asked of a source whose elements divide the disk"
        return self.disk.to_layout()

    def tree_packages(self) -> tuple[str, ...]:
        """The packages named, and those that the boot loader and the layout's kinds need."""
        added = (*grub.packages(self.firmware), *layout_packages(self.layout()))
        return tuple(dict.fromkeys((*self.bootstrap.packages, *added)))

    def findings(
        self, firmware: tuple[str, ...] | None = None, image_name: str = ""
    ) -> Iterator[Finding]:
        """What is wrong with layout and formats, each finding at the option that it is about.

        `firmware` is what it boots on, where that is not what the option says; `image_name` what
        files are called where no option says it.
        """
        if self.image_set is not None:
            yield from self._set_findings(self.image_set, image_name)
            return
        yield from self._format_findings()
        yield from self._kernel_findings()
        if self.disk is None:
            return
        yield from self.disk.findings()
        places = self.disk.places()
        for found in disk.check(self.layout(), self.firmware if firmware is None else firmware):
            yield Finding(found.message, _path(found, places), found.hint or "")

    def _kernel_findings(self) -> Iterator[Finding]:
        """A warning, because a provisioner may install the kernel, or a package bring it."""
        bootstrap = self.bootstrap
        if bootstrap.method != "apt" or not self.firmware:
            return
        if not any(_KERNEL_PACKAGE.match(name) for name in bootstrap.packages):
            yield Finding(
                "none of the packages is a kernel, and without one the image does not boot",
                ("bootstrap", "packages"),
                'add "linux-image-cloud-amd64", or write firmware = []', Severity.WARNING,
            )  # fmt: skip

    def _set_findings(self, image_set: ImageSetOptions, image_name: str) -> Iterator[Finding]:
        """What does not go together with a set, and what is wrong with it."""
        if self.disk is not None:
            yield Finding("a source makes a disk or an image set, not both", ("disk",),
                          "make two sources")  # fmt: skip
        if self.bootstrap.method == "elements":
            yield Finding("elements divide their disk themselves and make no image set",
                          ("image_set",), "build the set from a tar archive of theirs")  # fmt: skip
        if self.firmware:
            yield Finding("bare file systems have no boot loader", ("firmware",),
                          "leave it out: the deployment installs one")  # fmt: skip
        for name in ("formats", "compression", "kernel_cmdline"):
            if name in self.model_fields_set:
                yield Finding(f"an image set has no {name}", (name,), "leave it out: the set's "
                              "container says how images are written, the deployment how they "
                              "are booted")  # fmt: skip
        yield from image_set.findings(self.image_name or image_name)

    def _format_findings(self) -> Iterator[Finding]:
        if "compression" in self.model_fields_set and "qcow2" not in self.formats:
            yield Finding(
                'compression is that of qcow2, and "qcow2" is not among the formats',
                ("compression",), 'add "qcow2" to formats, or leave compression out',
            )  # fmt: skip
        size_bytes = None if self.disk is None else self.layout().size_bytes
        if "vpc" in self.formats and size_bytes is not None and size_bytes > LARGEST_VPC_BYTES:
            yield Finding(
                f"a vpc holds at most {format_size(LARGEST_VPC_BYTES)}", ("disk", "size"),
                'choose "vhdx", or a smaller disk',
            )  # fmt: skip


def _path(
    found: disk.Finding, places: Mapping[tuple[str, str], tuple[str, int]]
) -> tuple[str | int, ...]:
    if found.field == "firmware":
        return ("firmware",)
    place = places.get((found.kind, found.partition or ""))
    if place is None:
        return ("disk", found.field) if found.field not in (None, "partition") else ("disk",)
    at = ("disk", *place)
    return at if found.field in (None, "name") else (*at, found.field or "")
