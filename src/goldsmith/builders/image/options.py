"""What a template can say in `source "image"`; the reference manual is made from these models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from goldsmith.core.options import Finding, Options
from goldsmith.disk import layout as disk
from goldsmith.disk.formats import check_format
from goldsmith.errors import GoldsmithError
from goldsmith.packages.bootstrap import PACKAGE_NAME
from goldsmith.units import LARGEST_FILE_BYTES, UnitError, parse_file_size_bytes

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What packages.identity.set_hostname takes; a test holds the two against each other.
_HOST_NAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(\.{_LABEL})*")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_MIRROR = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")


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


class Bootstrap(Options):
    """Where the tree comes from."""

    method: Literal["apt", "tar", "directory"] = Field(
        "apt", description="apt installs packages; tar and directory take a finished tree."
    )
    suite: str | None = Field(None, description='The release, for example "bookworm".')
    mirror: str = Field(
        "", description="Where packages come from; by default this host's own APT sources."
    )
    components: tuple[ComponentName, ...] = Field(
        (), description="Archive components; by default what the sources say, else main."
    )
    packages: tuple[PackageName, ...] = Field(
        (), description="Packages besides the essential ones."
    )
    variant: Literal["minbase", "important", "standard"] = Field(
        "minbase", description="Which packages are installed without being named."
    )
    source: str | None = Field(None, description="The archive or directory (tar, directory).")
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
            raise ValueError('source belongs to the methods "tar" and "directory"')
        if self.method != "apt" and (self.packages or self.mirror or self.suite):
            raise ValueError(
                f'method "{self.method}" installs nothing: packages, mirror and suite belong to '
                '"apt"; install more in a shell provisioner'
            )
        return self

    @field_validator("mirror")
    @classmethod
    def _is_uri(cls, given: str) -> str:
        # It becomes a line of deb822. It is not shown: it may have a password.
        if given and not (_MIRROR.fullmatch(given) and given.isprintable()):
            raise ValueError('a mirror is one URI without blanks: "http://HOST/PATH", "file:/PATH"')
        return given

    @field_validator("suite")
    @classmethod
    def _is_word(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", given):
            raise ValueError(f"{given!r} is not the name of a suite")
        return given


class Partition(Options):
    """A partition, in the order of the disk."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label; the partition's name on a gpt disk.")
    type: str = Field(description="esp, bios-boot, boot, root, swap or data.")
    size: str = Field("auto", description='"64MiB", "40%", "100%" (all that is left) or "auto".')
    filesystem: str | None = Field(None, description="ext4 or vfat; none for bios-boot.")
    mount: str | None = Field(None, description="Where it is mounted in the running system.")
    label: str | None = Field(None, description="The label of the file system.")
    mount_options: tuple[MountOption, ...] = Field((), description="Options for its line in fstab.")

    @field_validator("size")
    @classmethod
    def _is_size(cls, given: str) -> str:
        try:
            size = disk.parse_partition_size(given)
        except UnitError as e:
            raise ValueError(f"{e}; {e.hint}" if e.hint else str(e)) from e
        if isinstance(size, disk.ExactSize) and size.size_bytes > LARGEST_FILE_BYTES:
            raise ValueError("files are smaller than 8 EiB")
        return given

    def to_layout(self) -> disk.Partition:
        """The same partition in the one layout model."""
        filesystem = None
        if self.filesystem is not None:
            filesystem = disk.FileSystem(self.filesystem, self.label)
        return disk.Partition(
            self.name, self.type, disk.parse_partition_size(self.size), filesystem, self.mount,
            self.mount_options,
        )  # fmt: skip


class Disk(Options):
    """How the disk is divided."""

    label: str = Field("gpt", description="The partition table: gpt.")
    size: str = Field("auto", description='"4GiB", or "auto": what the tree needs and headroom.')
    headroom: str = Field(
        "", description='Free space that "auto" adds: "500MiB" or "20%"; 10 %, at least 64 MiB.'
    )
    partition: tuple[Partition, ...] = Field((), description="The partitions.")

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
        )  # fmt: skip


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
    formats: tuple[FormatName, ...] = Field(("qcow2",), description="raw, qcow2; several at once.")
    output_directory: str = Field("output", description="Where the image is written.")
    image_name: str | None = Field(
        None, description="The file name without its ending; by default the source's name."
    )
    seed: str | None = Field(
        None, description="Makes all UUIDs of the image; by default the image's name."
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

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the layout, each finding at the option that it is about."""
        layout = self.disk.to_layout()
        names = [partition.name for partition in layout.partitions]
        for found in disk.check(layout, self.firmware):
            yield Finding(found.message, _path(found, names), found.hint or "")


def _path(found: disk.Finding, names: list[str]) -> tuple[str | int, ...]:
    if found.field == "firmware":
        return ("firmware",)
    if found.partition is None or found.partition not in names:
        return ("disk", found.field) if found.field not in (None, "partition") else ("disk",)
    at = ("disk", "partition", names.index(found.partition))
    return at if found.field in (None, "name") else (*at, found.field or "")
