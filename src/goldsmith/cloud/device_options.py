"""What templates say about the devices of machines that are launched from an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import Field

from goldsmith.cloud.image_options import ImageOptions, kms_findings
from goldsmith.core.options import Finding, Options

ARCHITECTURES: Final = ("arm64", "arm64_mac", "i386", "x86_64", "x86_64_mac")


class DeviceMapping(Options):
    """One device that machines of the image get."""

    device_name: str = Field("", description="Its name; needed.")
    delete_on_termination: bool = Field(False, description="Whether it goes with its machine.")
    encrypted: bool | None = Field(None, description="Whether a new volume is encrypted.")
    iops: int | None = Field(None, ge=0, description="Operations a second: io1, io2, gp3.")
    no_device: bool = Field(False, description="Leave out a device of the source.")
    snapshot_id: str = Field("", description="What a volume is made of.")
    throughput: int | None = Field(None, ge=0, description="MiB a second: gp3.")
    virtual_name: str = Field("", description="An instance store: ephemeral0 and so on.")
    volume_type: str = Field("", description="gp2, gp3, io1, io2, sc1, st1 or standard.")
    volume_size: int = Field(0, ge=0, description="GiB.")
    kms_key_id: str = Field("", description="The key of an encrypted volume.")


class DeviceOptions(ImageOptions):
    """Options of an image, the devices of its machines among them."""

    ami_architecture: str = Field("x86_64", description="Of an image from scratch.")
    ami_block_device_mappings: tuple[DeviceMapping, ...] = Field(
        (), description="One device that machines of the image get, each."
    )
    root_device_name: str = Field(
        "", description="Which of ami_block_device_mappings is the root's."
    )
    root_volume_size: int = Field(0, ge=0, description="GiB; used where the source is smaller.")
    root_volume_type: str = Field("", description="By default the source's, gp2 from scratch.")

    def device_findings(self) -> Iterator[Finding]:
        """What is wrong with each of them."""
        if self.ami_architecture not in ARCHITECTURES:
            yield Finding(f"ami_architecture is one of {', '.join(ARCHITECTURES)}",
                          ("ami_architecture",))  # fmt: skip
        where = ("ami_block_device_mappings",)
        names = [one.device_name for one in self.ami_block_device_mappings]
        if names and self.root_device_name and self.root_device_name not in names:
            yield Finding(f"no device of ami_block_device_mappings is {self.root_device_name}",
                          ("root_device_name",))  # fmt: skip
        for number, one in enumerate(self.ami_block_device_mappings):
            if not one.device_name:
                yield Finding("ami_block_device_mappings needs a device_name", (*where, number))
            if one.throughput and not 125 <= one.throughput <= 1000:
                yield Finding("throughput is between 125 and 1000", (*where, number, "throughput"))
            yield from kms_findings("ami_block_device_mappings", one.kms_key_id)
