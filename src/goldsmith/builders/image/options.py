"""What a template can say in `source "image"`; the reference manual is made from these models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from goldsmith.core.options import Finding, Options
from goldsmith.disk import layout as disk
from goldsmith.disk.bootloader import grub
from goldsmith.disk.formats import FORMATS, LARGEST_VPC_BYTES, check_format
from goldsmith.disk.tree_packages import layout_packages
from goldsmith.errors import GoldsmithError, Severity
from goldsmith.packages import repositories
from goldsmith.packages.apt_request import PACKAGE_NAME
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.keyrings import keyring_for, read_key
from goldsmith.units import (
    LARGEST_FILE_BYTES,
    UnitError,
    format_size,
    parse_file_size_bytes,
)

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What packages.identity.set_hostname takes; a test holds the two against each other.
_HOST_NAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(\.{_LABEL})*")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# Debian's kernels, Ubuntu's flavours, and those of other archives ("proxmox-kernel-6.8").
_KERNEL_PACKAGE = re.compile(
    r"linux-(image|generic|virtual|lowlatency|kvm|aws|azure|gcp|oem|oracle|raspi)|.*kernel"
)
_MIRROR = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")


_REPOSITORY_SUITE = re.compile(r"[A-Za-z0-9./][A-Za-z0-9._/+~-]*")
_PINNED = re.compile(r"[A-Za-z0-9*?/^$\[\].+:~-]+")


def _require_uri(given: str) -> None:
    if not (_MIRROR.fullmatch(given) and given.isprintable()):
        raise ValueError('a mirror is one URI without blanks: "http://HOST/PATH", "file:/PATH"')


def _is_package(name: str) -> str:
    if not PACKAGE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a package")
    return name


def _is_component(name: str) -> str:
    if not _COMPONENT.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an archive component")
    return name


def _is_mount_option(option: str) -> str:
    # fstab(5): blanks separate fields, commas options, and "#" begins a comment.
    if not option or not option.isprintable() or set(option) & set(" ,#"):
        raise ValueError(f"{option!r} is not one mount option: no blanks, commas and #")
    return option


def _is_format(name: str) -> str:
    try:
        check_format(name)
    except GoldsmithError as e:
        raise ValueError(f"{e}" + (f"; {e.hint}" if e.hint else "")) from e
    return name


PackageName = Annotated[str, AfterValidator(_is_package)]
FormatName = Annotated[str, AfterValidator(_is_format)]
ComponentName = Annotated[str, AfterValidator(_is_component)]
MountOption = Annotated[str, AfterValidator(_is_mount_option)]


class Repository(Options):
    """A further repository of packages, besides those of the suite."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label.")
    uri: str = Field(description="Its address.")
    suite: str = Field(
        description='Its suite; one that ends in a slash, "./", is a flat repository.'
    )
    components: tuple[ComponentName, ...] | None = Field(
        None, description="Its components; by default main, and none of a flat repository."
    )
    signed_by: str = Field(
        "",
        description="The keyring that it is signed with, or the armored key itself; by default "
        "that of the distribution.",
    )
    priority: int | None = Field(
        None, description="How its packages rank among other versions: apt_preferences(5)."
    )
    pin: str = Field(
        "",
        description='What the priority holds for, for example "release o=Debian"; by default '
        "this repository.",
    )
    pinned_packages: tuple[str, ...] = Field(
        ("*",), description="The packages that the priority holds for; names and patterns."
    )
    build_only: bool = Field(
        True, description="Whether the finished image is without it and its priority."
    )
    trusted: bool = Field(False, description="Take its packages without a signature.")

    @model_validator(mode="after")
    def _belongs_together(self) -> Repository:
        _require_uri(self.uri)
        if not repositories.REPOSITORY_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a repository: letters, digits, _ and -")
        if not _REPOSITORY_SUITE.fullmatch(self.suite):
            raise ValueError(f"{self.suite!r} is not the name of a suite")
        if self.priority is None and (self.pin or self.pinned_packages != ("*",)):
            raise ValueError("pin and pinned_packages belong to a priority")
        if self.priority is not None and self.priority not in repositories.PRIORITIES:
            raise ValueError("a priority is a number from -32768 to 32767")
        if self.pin and not repositories.PIN_EXPRESSION.fullmatch(self.pin):
            raise ValueError(
                'a pin is "release CONDITIONS", "origin HOST" or "version PATTERN" on one line'
            )
        if not self.pinned_packages or any(not _PINNED.fullmatch(p) for p in self.pinned_packages):
            raise ValueError("pinned_packages are names and patterns without blanks")
        if self.trusted and self.signed_by:
            raise ValueError("trusted and signed_by exclude each other")
        if self.suite.endswith("/") and self.components:
            raise ValueError(f'the flat repository "{self.suite}" has no components')
        return self

    def to_repository(self, directory: Path) -> repositories.Repository:
        """The same repository with its key read; paths are relative to `directory`.

        Raises PackageError for a keyring that is not there, or is none.
        """
        flat = self.suite.endswith("/")
        components = self.components or (() if flat else ("main",))
        source = AptSource(("deb",), (self.uri,), (self.suite,), components, self._key(directory))
        return repositories.Repository(
            self.name, source, build_only=self.build_only, trusted=self.trusted,
            priority=self.priority, pin=self.pin, pinned_packages=self.pinned_packages,
        )  # fmt: skip

    def _key(self, directory: Path) -> str:
        if self.trusted:
            return ""
        if not self.signed_by:
            return keyring_for(self.suite)
        inline = "BEGIN PGP" in self.signed_by
        return self.signed_by if inline else read_key(directory / self.signed_by)


class Bootstrap(Options):
    """Where the tree comes from."""

    method: Literal["apt", "tar", "directory", "image"] = Field(
        "apt",
        description="apt installs packages; tar, directory and image take a finished tree.",
    )
    suite: str | None = Field(None, description='The release, for example "bookworm".')
    mirror: str = Field(
        "", description="Where packages come from; by default this host's own APT sources."
    )
    keyring: str = Field(
        "",
        description="The keyring that the mirror is signed with; by default that of the "
        "distribution.",
    )
    components: tuple[ComponentName, ...] = Field(
        (), description="Archive components; by default what the sources say, else main."
    )
    repository: tuple[Repository, ...] = Field(
        (), description="Further repositories, for the build alone or for the image too."
    )
    packages: tuple[PackageName, ...] = Field(
        (), description="Packages besides the essential ones."
    )
    variant: Literal["minbase", "important", "standard"] = Field(
        "minbase", description="Which packages are installed without being named."
    )
    engine: Literal["mmdebstrap", "store"] = Field(
        "mmdebstrap",
        description="Who unpacks packages: mmdebstrap, or goldsmith from packages that it has "
        "unpacked once, which dpkg then only configures.",
    )
    source: str | None = Field(
        None, description="The archive, directory or disk image (tar, directory, image)."
    )
    partition: int | None = Field(
        None, description="The number of the root's partition in the image; by default it is found."
    )
    apt_sources: str | None = Field(
        None, description="The finished image's APT sources, in deb822 form."
    )
    keep_build_sources: bool = Field(
        False, description="Let the finished image keep the sources that the build used."
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> Bootstrap:
        if self.method == "apt" and not self.suite:
            raise ValueError('method "apt" needs a suite, for example suite = "bookworm"')
        if self.method != "apt" and not self.source:
            raise ValueError(f'method "{self.method}" needs a source')
        if self.method == "apt" and self.source:
            raise ValueError('source belongs to the methods "tar", "directory" and "image"')
        if self.method != "apt" and (
            self.packages or self.mirror or self.suite or self.keyring or self.repository
        ):
            raise ValueError(
                f'method "{self.method}" installs nothing: packages, mirror, keyring, repository '
                'and suite belong to "apt"; install more in a shell provisioner'
            )
        if self.method != "image" and self.partition is not None:
            raise ValueError('partition belongs to the method "image"')
        if self.keyring and not self.mirror:
            raise ValueError("a keyring belongs to a mirror: this host's sources name their own")
        names = [repository.name for repository in self.repository]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'there are two repositories "{name}"')
        return self

    def repositories(self, directory: Path) -> tuple[repositories.Repository, ...]:
        """The further repositories with their keys; raises PackageError."""
        return tuple(block.to_repository(directory) for block in self.repository)

    def signed_by(self, directory: Path) -> str:
        """The mirror's key as text, "" for the distribution's own; raises PackageError."""
        return read_key(directory / self.keyring) if self.keyring else ""

    @field_validator("mirror")
    @classmethod
    def _is_uri(cls, given: str) -> str:
        # It becomes a line of deb822. It is not shown: it may have a password.
        if given:
            _require_uri(given)
        return given

    @field_validator("suite")
    @classmethod
    def _is_word(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", given):
            raise ValueError(f"{given!r} is not the name of a suite")
        return given


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
            _size_bytes(given)
        return given

    @field_validator("headroom")
    @classmethod
    def _is_headroom(cls, given: str) -> str:
        _headroom(given)
        return given

    def to_layout(self) -> disk.Layout:
        """The same disk in the one layout model."""
        return disk.Layout(
            self.label, None if self.size == "auto" else _size_bytes(self.size),
            tuple(partition.to_layout() for partition in self.partition), _headroom(self.headroom),
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


def _size_bytes(text: str) -> int:
    try:
        return parse_file_size_bytes(text)
    except UnitError as e:
        raise ValueError(f"{e}; {e.hint}" if e.hint else str(e)) from e


def _headroom(text: str) -> disk.Headroom:
    if not text:
        return disk.Headroom()
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", text.strip()):
        return disk.Headroom(Fraction(match.group(1)) / 100, 0)
    return disk.Headroom(Fraction(0), _size_bytes(text))


class ImageOptions(Options):
    """Options of the `image` source."""

    bootstrap: Bootstrap = Field(description="Where the tree comes from.")
    disk: Disk = Field(description="How the disk is divided.")
    firmware: tuple[str, ...] = Field(
        ("bios", "uefi"), description="What it must boot on: bios, uefi; [] is no boot loader."
    )
    kernel_cmdline: str = Field("", description="Arguments of the kernel besides the root.")
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

    def tree_packages(self) -> tuple[str, ...]:
        """The packages named, and those that the boot loader and the layout's kinds need."""
        added = (*grub.packages(self.firmware), *layout_packages(self.disk.to_layout()))
        return tuple(dict.fromkeys((*self.bootstrap.packages, *added)))

    def findings(self) -> Iterator[Finding]:
        """What is wrong with layout and formats, each finding at the option that it is about."""
        yield from self._format_findings()
        yield from self._kernel_findings()
        yield from self.disk.findings()
        places = self.disk.places()
        for found in disk.check(self.disk.to_layout(), self.firmware):
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

    def _format_findings(self) -> Iterator[Finding]:
        if "compression" in self.model_fields_set and "qcow2" not in self.formats:
            yield Finding(
                'compression is that of qcow2, and "qcow2" is not among the formats',
                ("compression",), 'add "qcow2" to formats, or leave compression out',
            )  # fmt: skip
        size_bytes = self.disk.to_layout().size_bytes
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
