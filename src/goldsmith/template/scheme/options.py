"""What a scheme file can say; the reference manual is made from these models."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from goldsmith.builders.image.options import LogicalVolume, Partition, Raid, ShareableSize
from goldsmith.core.options import Options


class SchemePartition(Partition):
    """A partition of a target disk, in the order of the disk."""

    size: ShareableSize = Field(
        "rest",
        description='"64MiB", "40%", "rest" or "100%" (all that is left). On a disk of policy keep '
        "it is the least size, and may be left out.",
    )
    number: int | None = Field(
        None, ge=1, le=128, description="Its number in the table; needed on a disk of policy keep."
    )
    keep_data: bool = Field(
        False, description="What lies in it stays; the policy of the disk is verify or keep."
    )
    config_drive: bool = Field(
        False, description="It gets the configuration for cloud-init (a config drive)."
    )
    type_id: str | None = Field(
        None, description="A GUID (gpt) or a byte in hexadecimal (mbr) instead of the type's own."
    )


class SchemeDisk(Options):
    """A disk that is written to. No other one is."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label, by which arrays and groups name it.")
    device: str | None = Field(
        None, description="Its node, or a link to it below /dev/disk; -disk NAME=DEVICE wins."
    )
    label: Literal["gpt", "mbr", "none"] = Field(
        "gpt", description="The partition table; none: an image is written onto the whole disk."
    )
    policy: Literal["clean", "verify", "keep"] = Field(
        "clean",
        description="What happens to what is there: clean: everything goes; verify: the table must "
        "be the wanted one, and stays; keep: the table is taken as it is.",
    )
    boot_loader: bool = Field(False, description="It gets the boot loader.")
    partition: tuple[SchemePartition, ...] = Field((), description="The partitions.")


class SchemeRaid(Raid):
    """A software RAID array over partitions of type data, of any disks."""

    name: str = Field(description="The block's label: the array is /dev/NAME, such as md0.")
    members: tuple[str, ...] = Field(description='Its partitions, each as "DISK.PARTITION".')
    spares: tuple[str, ...] = Field((), description="Partitions that wait for one to fail.")
    metadata: str = Field("default", description="The version of its metadata: 1.2, 1.0 or 0.90.")


class SchemeVolumeGroup(Options):
    """An LVM volume group over partitions of type data, and arrays."""

    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str = Field(description="The block's label.")
    physical_volumes: tuple[str, ...] = Field(
        description='Partitions, each as "DISK.PARTITION", and names of arrays.'
    )
    metadata_mib: int = Field(
        1, ge=1, le=1024, description="The room for each copy of its metadata, in MiB."
    )
    metadata_copies: Literal[1, 2] = Field(1, description="How many copies each volume has.")


class SchemeLogicalVolume(LogicalVolume):
    """An LVM logical volume."""

    size: ShareableSize = Field(
        "rest", description='"2GiB", "40%", "rest" or "100%" of what the group has left.'
    )


class SchemeCloudInit(Options):
    """What cloud-init is told: on the config drive, or in the root file system (NoCloud)."""

    fqdn: str | None = Field(None, description="The full name; by default the host name.")
    name_servers: tuple[str, ...] = Field((), description="Addresses of name servers.")
    search_domain: str = Field("", description="The domain in which names are looked for.")
    ssh_keys: tuple[str, ...] = Field((), description="Keys that may log in as root.")
    timezone: str = Field("", description='The time zone, such as "Etc/UTC".')


class SchemeOptions(Options):
    """A scheme file."""

    disk: tuple[SchemeDisk, ...] = Field((), description="The disks.")
    raid: tuple[SchemeRaid, ...] = Field((), description="Software RAID arrays.")
    volume_group: tuple[SchemeVolumeGroup, ...] = Field((), description="LVM volume groups.")
    logical_volume: tuple[SchemeLogicalVolume, ...] = Field(
        (), description="Logical volumes of the groups."
    )
    firmware: tuple[Literal["bios", "uefi"], ...] = Field(
        (), description="What it must boot on; [] installs no boot loader."
    )
    kernel_cmdline: str = Field("", description="Arguments of the kernel besides the root.")
    grub_timeout: int = Field(
        10, ge=0, le=3600, description="How long the boot menu waits, in seconds."
    )
    hostname: str = Field("", description="The name of the machine.")
    cloud_init: SchemeCloudInit | None = Field(None, description="What cloud-init is told.")
