"""What target disks are to become: exact places and sizes, as every front end writes them down.

Our own scheme files and fuel-agent's data become these objects; nothing below them knows a
language. Devices are node paths of the host that deploys, sizes and places are bytes. Whether a
scheme can be carried out is said by `scheme_check` (the scheme itself) and `refusals` (the host).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from goldsmith.units import MIB

TableLabel = Literal["gpt", "mbr", "none"]
Policy = Literal["clean", "verify", "keep"]
"""What happens to what a disk holds now: everything goes; the table must be the one that is wanted
and stays; the table is taken as it is, and only what may not be kept is made anew."""

SWAP_MOUNT: Final = "swap"
DEFAULT_METADATA_BYTES: Final = 16 * MIB
DEFAULT_METADATA_COPIES: Final = 2

# The kernel puts a "p" between a disk's name and a number where the name ends in a digit.
_ENDS_IN_DIGIT: Final = re.compile(r"\d$")


def partition_node(device: str, number: int) -> str:
    """The node of a disk's partition: /dev/sda1, /dev/nvme0n1p1, /dev/mapper/x-part1."""
    if device.startswith("/dev/disk/") or device.startswith("/dev/mapper/"):
        return f"{device}-part{number}"
    separator = "p" if _ENDS_IN_DIGIT.search(device) else ""
    return f"{device}{separator}{number}"


@dataclass(frozen=True, slots=True)
class TargetPartition:
    """A partition with its place; `type` is a word of disk.partition_table, or "extended".

    `flags` are parted's words (bios_grub, boot, raid, lvm, legacy_boot); `guid` is a type of its
    own in place of the one that follows from `type`; `label` is its name in a GPT.
    """

    device: str
    number: int
    begin_bytes: int
    size_bytes: int
    type: str = "data"
    flags: tuple[str, ...] = ()
    guid: str | None = None
    label: str | None = None
    keep_data: bool = False
    config_drive: bool = False

    @property
    def node(self) -> str:
        """The node by which it is used."""
        return partition_node(self.device, self.number)

    @property
    def end_bytes(self) -> int:
        """The first byte after it."""
        return self.begin_bytes + self.size_bytes


@dataclass(frozen=True, slots=True)
class TargetDisk:
    """A disk that may be written to; no other one is.

    With label "none" it has no table of ours: an image is written onto the whole of it.
    """

    device: str
    label: TableLabel = "gpt"
    policy: Policy = "clean"
    partitions: tuple[TargetPartition, ...] = ()
    boot_loader: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """A software RAID array, `node` /dev/md0; members and spares are nodes."""

    node: str
    level: str
    members: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    metadata: str = "default"
    keep_data: bool = False


@dataclass(frozen=True, slots=True)
class PhysicalVolume:
    """A partition or array that LVM uses."""

    node: str
    metadata_bytes: int = DEFAULT_METADATA_BYTES
    metadata_copies: int = DEFAULT_METADATA_COPIES
    keep_data: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A volume group over nodes."""

    name: str
    physical_volumes: tuple[str, ...] = ()
    keep_data: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """A logical volume of a group."""

    name: str
    group: str
    size_bytes: int
    keep_data: bool = False

    @property
    def node(self) -> str:
        """The node that device-mapper makes: dashes within a name are doubled."""
        return "/dev/mapper/" + "-".join(n.replace("-", "--") for n in (self.group, self.name))


@dataclass(frozen=True, slots=True)
class TargetFilesystem:
    """A file system on a node; `mount` None is never mounted, "swap" is swap.

    `options` are further words for its mkfs program, `mount_options` stand in fstab.
    """

    node: str
    mount: str | None
    type: str = "ext4"
    label: str = ""
    options: str = ""
    keep_data: bool = False
    mount_options: tuple[str, ...] = ()

    @property
    def is_mounted(self) -> bool:
        """Whether it has a place in the target's tree."""
        return self.mount is not None and self.mount.startswith("/")


@dataclass(frozen=True, slots=True)
class Scheme:
    """Everything that a deployment makes on its disks, and nothing else."""

    disks: tuple[TargetDisk, ...] = ()
    arrays: tuple[Array, ...] = ()
    physical_volumes: tuple[PhysicalVolume, ...] = ()
    groups: tuple[Group, ...] = ()
    volumes: tuple[Volume, ...] = ()
    filesystems: tuple[TargetFilesystem, ...] = ()

    def root(self) -> TargetFilesystem | None:
        """The file system that is mounted at /."""
        return self.by_mount("/")

    def by_mount(self, mount: str) -> TargetFilesystem | None:
        """The file system that is mounted somewhere."""
        return next((fs for fs in self.filesystems if fs.mount == mount), None)

    def by_node(self, node: str) -> TargetFilesystem | None:
        """The file system that lies on a node."""
        return next((fs for fs in self.filesystems if fs.node == node), None)

    def by_depth(self) -> tuple[TargetFilesystem, ...]:
        """The file systems with a place in the tree, each after those above it."""
        mounted = [fs for fs in self.filesystems if fs.is_mounted]
        return tuple(sorted(mounted, key=lambda fs: _depth(fs.mount or "/")))

    def swaps(self) -> tuple[TargetFilesystem, ...]:
        """What is swap."""
        return tuple(fs for fs in self.filesystems if fs.type == "swap")

    def boot_disks(self) -> tuple[TargetDisk, ...]:
        """The disks that get a boot loader."""
        return tuple(disk for disk in self.disks if disk.boot_loader)

    def partitions(self) -> Iterator[TargetPartition]:
        """The partitions of all disks, in order."""
        for disk in self.disks:
            yield from disk.partitions

    def partition(self, node: str) -> TargetPartition | None:
        """The partition with this node."""
        return next((p for p in self.partitions() if p.node == node), None)

    def config_drive_node(self) -> str | None:
        """The partition that holds a config drive."""
        return next((p.node for p in self.partitions() if p.config_drive), None)

    def array(self, node: str) -> Array | None:
        """The array with this node."""
        return next((array for array in self.arrays if array.node == node), None)

    def volume(self, node: str) -> Volume | None:
        """The logical volume with this node."""
        return next((volume for volume in self.volumes if volume.node == node), None)

    def nodes(self) -> tuple[str, ...]:
        """Everything that can hold a file system or an image: whole disks, too."""
        return (
            *(disk.device for disk in self.disks if disk.label == "none"),
            *(p.node for p in self.partitions() if p.type != "extended"),
            *(array.node for array in self.arrays),
            *(volume.node for volume in self.volumes),
        )


def _depth(mount: str) -> tuple[int, str]:
    return len([part for part in mount.split("/") if part]), os.path.normpath(mount)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image that goes onto a node; several addresses are mirrors of one file.

    Addresses are paths or of http, https or s3. Sizes and digests of what comes out of the
    container are None where nothing says them. `grow` lets its file system have the whole node.
    """

    uris: tuple[str, ...]
    node: str
    mount: str | None = None
    container: str = "raw"
    format: str = ""
    raw_size_bytes: int | None = None
    raw_md5: str | None = None
    raw_sha256: str | None = None
    container_size_bytes: int | None = None
    container_sha256: str | None = None
    container_md5: str | None = None
    block_map_uri: str | None = None
    block_map_sha256: str | None = None
    contents_sha256: str | None = None
    grow: bool = True


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface that the target's own rules and files name; `address` "" has none."""

    name: str
    mac: str
    address: str = ""
    netmask: str = ""
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class UserAccount:
    """A user that the target's first start makes; `password` may be a crypt(3) hash."""

    name: str
    password: str = ""
    home: str = ""
    shell: str = "/bin/bash"
    sudo: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigDriveData:
    """What the templates of a config drive or NoCloud seed are filled with.

    `values` has fuel-agent's further groups as they came (puppet, mcollective, ...), by name;
    `templates` names a file for each of cloud_config, boothook and meta_data that is not ours.
    """

    hostname: str
    fqdn: str
    name_servers: tuple[str, ...] = ()
    search_domain: str = ""
    ssh_auth_keys: tuple[str, ...] = ()
    timezone: str = ""
    gateway: str = ""
    master_ip: str = ""
    master_url: str = ""
    repos: tuple[tuple[tuple[str, object], ...], ...] = ()
    udev_rules: str = ""
    admin: Interface | None = None
    profile: str = ""
    users: tuple[UserAccount, ...] = ()
    values: tuple[tuple[str, object], ...] = ()
    templates: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A whole deployment: disks, what is written to them, and what boots them.

    `firmware` () installs no boot loader. With `seed` the configuration is written into the root
    file system (NoCloud), otherwise onto the scheme's config drive partition; `config_drive_file`
    is a ready image for that partition. `root_by_uuid` adds root=UUID= to the command line. Images
    without any digest are refused unless `allow_unverified`. `distinct_disks` are names of disks
    that are no other disk's paths although they share its identifier.
    `kernel` and `initrd` name what is booted of the target's /boot: a name or a regular expression,
    "" the newest kernel and its own initramfs.
    """

    scheme: Scheme
    images: tuple[ImageRequest, ...] = ()
    firmware: tuple[str, ...] = ()
    kernel_cmdline: str = ""
    grub_timeout_s: int = 10
    root_by_uuid: bool = False
    hostname: str = ""
    config_drive: ConfigDriveData | None = None
    config_drive_file: str | None = None
    seed: bool = False
    interfaces: tuple[Interface, ...] = ()
    secrets: tuple[str, ...] = ()
    allow_unverified: bool = False
    kernel: str = ""
    initrd: str = ""
    distinct_disks: tuple[str, ...] = ()
