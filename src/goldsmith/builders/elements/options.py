"""What a template can say in `source "elements"`; `disk-image-create` says the same in words."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from goldsmith.core.options import DurationSeconds, Options, SizeBytes
from goldsmith.elements.option_types import Architecture
from goldsmith.units import MIB

ChecksumType = Literal["md5", "sha256"]


class ElementsOptions(Options):
    """Options of `source "elements"`."""

    elements: tuple[str, ...] = Field(
        description='The elements, as disk-image-create takes them: "vm", "debian-minimal". '
        "ELEMENTS_PATH in `environment` names directories of your own."
    )
    skip_base: bool = Field(False, description='Do without the element "base".')
    ramdisk: bool = Field(
        False, description="Make a kernel and a ramdisk, as ramdisk-image-create does, and no disk."
    )
    ramdisk_element: str = Field("ramdisk", description="The element that makes a ramdisk.")
    arch: Architecture = Field(
        "", description="Debian's name of the architecture; by default this host's."
    )
    image_name: str = Field(
        "", description="The path of the outputs without a suffix; by default the source's name."
    )
    types: tuple[str, ...] = Field(
        ("qcow2",),
        description="What is to come out: qcow2, raw, tar, tgz, squashfs, vhd, docker, aci, or the "
        "name of another format that qemu-img writes.",
    )
    packages: tuple[str, ...] = Field(
        (), description="Packages that are installed after the phase install.d."
    )
    install_type: str = Field("source", description="What decides between install types.")
    environment: dict[str, str] = Field(
        {}, description="The variables that hooks see: DIB_RELEASE and so on."
    )
    offline: bool = Field(False, description="Hooks ask nothing of the network: DIB_OFFLINE.")
    compat_elements: bool = Field(
        True,
        description="Add goldsmith's elements apt-keys and build-settings to images made by APT.",
    )
    image_size: SizeBytes | None = Field(
        None, description="The size of the disk; by default what the tree needs."
    )
    image_extra_size: SizeBytes | None = Field(
        None, description="How much larger than its tree the disk is, without image_size."
    )
    image_cache: str = Field(
        "", description="Where hooks keep what they fetch; by default ~/.cache/image-create."
    )
    root_filesystem: str = Field("ext4", description="The file system of the root: FS_TYPE.")
    root_label: str = Field("", description="The label of the root's file system.")
    mkfs_options: tuple[str, ...] = Field((), description="Further words for mkfs of the root.")
    journal_size: SizeBytes | None = Field(
        None, description="The journal of an ext4 root, whole MiB; by default 64 MiB."
    )
    max_online_resize: int | None = Field(
        None, description="The blocks that an ext4 root can be grown to while it is mounted."
    )
    compress: bool = Field(True, description="Compress qcow2 files.")
    qemu_img_options: str = Field("", description="Options for qemu-img, K=V,K=V.")
    docker_target: str = Field("", description='The name of an image of type docker: "NAME:TAG".')
    checksums: tuple[ChecksumType, ...] = Field((), description="Files of checksums to write.")
    overwrite: bool = Field(
        False, description="Replace outputs that are there, rather than rename them."
    )
    cache_ttl: DurationSeconds | None = Field(
        None,
        description="How long the results of phases are used again: hooks may fetch anything. By "
        "default a day; any time with `offline`.",
    )
    trace: int = Field(0, ge=0, le=9, description="How much hooks tell: DIB_DEBUG_TRACE.")
    terminal: str = Field(
        "", description="The path of the terminal for shells where the variable `break` asks."
    )
    arguments: str = Field("", description="The words of the command line, for DIB_ARGS.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.elements:
            raise ValueError("at least one distribution root element must be specified")
        if not self.types:
            raise ValueError("types is empty: nothing would come out")
        if "docker" in self.types and not self.docker_target:
            raise ValueError('the type docker needs a docker_target: "NAME:TAG"')
        if self.journal_size is not None and self.journal_size % MIB:
            raise ValueError("journal_size is not a whole number of MiB")
        return self
