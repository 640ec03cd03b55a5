"""What a template can say in `source "chroot"`; the reference manual is made from this model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from goldsmith.builders.volume_steps.options import VolumeOptions
from goldsmith.core.options import Finding
from goldsmith.disk.formats import FORMATS, check_format
from goldsmith.errors import GoldsmithError

_IMAGE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def _is_format(name: str) -> str:
    try:
        check_format(name)
    except GoldsmithError as e:
        raise ValueError(f"{e}" + (f"; {e.hint}" if e.hint else "")) from e
    return name


class ChrootOptions(VolumeOptions):
    """Options of the `chroot` source."""

    source: str = Field(
        min_length=1,
        description="The image that is to be changed: raw, qcow2, vmdk, vdi, vhdx or vpc, with "
        "partitions or one bare file system. It is never written to.",
    )
    root_label: str | None = Field(
        None, min_length=1, description="The label of the root's file system."
    )
    root_uuid: str | None = Field(
        None, min_length=1, description="The UUID of the root's file system."
    )
    mount_partition: int | None = Field(
        None,
        ge=0,
        description="The number of the root's partition, 0 for an image without partitions; "
        "without any of the three the one partition with a system in it.",
    )
    formats: tuple[Annotated[str, AfterValidator(_is_format)], ...] = Field(
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
    firmware: tuple[Literal["bios", "uefi"], ...] = Field(
        (), description="What the source boots on, for boot-test: bios, uefi."
    )

    @field_validator("image_name")
    @classmethod
    def _is_file_name(cls, given: str | None) -> str | None:
        if given is not None and not _IMAGE_NAME.fullmatch(given):
            raise ValueError(f"{given!r} is not a plain file name")
        return given

    @field_validator("source")
    @classmethod
    def _is_path(cls, given: str) -> str:
        if "\0" in given:
            raise ValueError("a path holds no NUL")
        return given

    @field_validator("formats")
    @classmethod
    def _are_several(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            raise ValueError("name at least one format")
        if len(set(given)) != len(given):
            raise ValueError("a format is named twice")
        return given

    @model_validator(mode="after")
    def _names_one_root(self) -> ChrootOptions:
        named = [name for name in ("root_label", "root_uuid", "mount_partition")
                 if getattr(self, name) is not None]  # fmt: skip
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} exclude each other: name the root by one")
        return self

    def findings(self) -> Iterator[Finding]:
        """What is wrong with options that belong together."""
        if "compression" in self.model_fields_set and "qcow2" not in self.formats:
            yield Finding(
                'compression is that of qcow2, and "qcow2" is not among the formats',
                ("compression",), 'add "qcow2" to formats, or leave compression out',
            )  # fmt: skip
