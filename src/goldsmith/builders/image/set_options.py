"""What a template can say in `image_set` of `source "image"`: one image per mount point."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Final, Literal

from pydantic import Field, field_validator

from goldsmith.builders.image.option_words import MountOption, read_headroom
from goldsmith.core.options import Finding, Options
from goldsmith.disk import layout as disk
from goldsmith.disk.model import FileSystem, Headroom, Layout, Partition

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:@~-]{0,199}")
_ENDINGS: Final = {"raw": "", "gzip": ".gz", "zstd": ".zst"}
DOCUMENT_ENDINGS: Final = (".json", ".yaml")
"""The metadata's files, in the order in which they are written."""
BLOCK_MAP_ENDING: Final = ".bmap"

ContainerName = Literal["raw", "gzip", "zstd"]


class SetImage(Options):
    """One bare file system of the set."""

    labels: ClassVar[tuple[str, ...]] = ("mount",)

    mount: str = Field(description="The block's label: the mount point.")
    filesystem: str = Field(
        "ext4", description="ext4, ext3, ext2, xfs, btrfs, vfat, squashfs or erofs."
    )
    filesystem_options: tuple[str, ...] = Field(
        (), description="Further words for the mkfs program of the file system."
    )
    label: str | None = Field(
        None, description="The label of the file system; squashfs and erofs have none."
    )
    mount_options: tuple[MountOption, ...] = Field((), description="Options for its line in fstab.")
    container: ContainerName | None = Field(
        None, description="raw, gzip or zstd; by default that of the set."
    )
    headroom: str | None = Field(
        None, description="Free space that it keeps; by default that of the set."
    )
    file: str | None = Field(
        None,
        description="Its file name; by default the image's name with the mount point, .img and "
        "the ending of the container.",
    )

    @field_validator("headroom")
    @classmethod
    def _is_headroom(cls, given: str | None) -> str | None:
        if given is not None:
            read_headroom(given)
        return given

    @field_validator("file")
    @classmethod
    def _is_file_name(cls, given: str | None) -> str | None:
        if given is not None and not _FILE_NAME.fullmatch(given):
            raise ValueError(f"{given!r} is not a plain file name")
        return given

    def file_name(self, image_name: str, image_set: ImageSetOptions) -> str:
        """The name of its file."""
        if self.file is not None:
            return self.file
        place = self.mount.strip("/").replace("/", "-")
        ending = _ENDINGS[self.container_in(image_set)]
        return f"{image_name}{'-' if place else ''}{place}.img{ending}"

    def container_in(self, image_set: ImageSetOptions) -> str:
        """Its container in a set."""
        return self.container or image_set.container

    def headroom_in(self, image_set: ImageSetOptions) -> Headroom:
        """The free space that it keeps in a set."""
        return read_headroom(image_set.headroom if self.headroom is None else self.headroom)

    def to_partition(self) -> Partition:
        """The same file system in the one layout model, named by its mount point."""
        return Partition(
            self.mount, "root" if self.mount == "/" else "data",
            filesystem=FileSystem(
                self.filesystem, self.label, self.filesystem_options, grows=True
            ),
            mount=self.mount, mount_options=self.mount_options,
        )  # fmt: skip

    def to_layout(self, spare: Headroom) -> Layout:
        """A disk that has nothing but it, with room that it is shrunk by later."""
        return Layout("none", partitions=(self.to_partition(),), headroom=spare)


class ImageSetOptions(Options):
    """One image per mount point, made of one tree, with their metadata."""

    container: ContainerName = Field(
        "zstd", description="What the images are put into: raw, gzip or zstd."
    )
    headroom: str = Field(
        "0%",
        description='Free space that each image keeps, "500MiB" or "20%" of its files; by default '
        "none: an image is grown when it is deployed.",
    )
    metadata: str | None = Field(
        None,
        description="The name of the metadata files without .yaml and .json; by default the "
        "image's.",
    )
    image: tuple[SetImage, ...] = Field((), description="The images.")

    @field_validator("headroom")
    @classmethod
    def _is_headroom(cls, given: str) -> str:
        read_headroom(given)
        return given

    @field_validator("metadata")
    @classmethod
    def _is_file_name(cls, given: str | None) -> str | None:
        if given is not None and not _FILE_NAME.fullmatch(given):
            raise ValueError(f"{given!r} is not a plain file name")
        return given

    def to_layout(self) -> Layout:
        """All file systems together, as fstab and the tree's packages need them; on no disk."""
        return Layout("none", partitions=tuple(image.to_partition() for image in self.image))

    def layouts(self) -> list[Layout]:
        """The disk of each image."""
        return [image.to_layout(image.headroom_in(self)) for image in self.image]

    def findings(self, image_name: str) -> Iterator[Finding]:
        """What is wrong with the file systems, their places and the names of their files."""
        mounts = Counter(image.mount for image in self.image)
        if "/" not in mounts:
            yield Finding("there is no image of the root file system", ("image_set",),
                          'add image "/" { … }')  # fmt: skip
        names = Counter(image.file_name(image_name, self) for image in self.image)
        taken = {f"{self.metadata or image_name}{ending}" for ending in DOCUMENT_ENDINGS}
        taken |= {f"{name}{BLOCK_MAP_ENDING}" for name in names}
        for number, image in enumerate(self.image):
            at = ("image_set", "image", number)
            for found in disk.check(image.to_layout(Headroom())):
                field = () if found.field in (None, "name", "partition") else (str(found.field),)
                yield Finding(found.message, (*at, *field), found.hint or "")
            if mounts[image.mount] > 1:
                yield Finding(f'there is more than one image of "{image.mount}"', at)
            name = image.file_name(image_name, self)
            if names[name] > 1 or name in taken:
                yield Finding(f'another file of the set is called "{name}" too', (*at, "file"),
                              "name another file")  # fmt: skip
