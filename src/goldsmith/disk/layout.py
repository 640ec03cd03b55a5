"""The one model of a disk's layout, whatever language it was written in, and what is wrong with it.

The `image` source, block-device YAML, fuel-agent's schemes and deploy all become a `Layout`.
`check` reports every reason why one cannot be at once, each with the volume and the field that it
concerns. The model itself is `model`; it is offered here so that users import one module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from goldsmith.disk import mbr
from goldsmith.disk.findings import Finding, unknown
from goldsmith.disk.layout_filesystems import FILE_SYSTEM_TYPES, LABEL_LIMITS, check_file_systems
from goldsmith.disk.layout_sizes import check_sizes
from goldsmith.disk.layout_volumes import check_raids_and_groups
from goldsmith.disk.model import (
    AUTO,
    REST,
    AutoSize,
    ExactSize,
    FileSystem,
    Headroom,
    Layout,
    LogicalVolume,
    Partition,
    PartitionSize,
    Raid,
    RestSize,
    ShareSize,
    Volume,
    VolumeGroup,
    parse_partition_size,
    volume_name,
)
from goldsmith.errors import LayoutError

__all__ = [
    "AUTO", "FILE_SYSTEM_TYPES", "FIRMWARES", "LABELS", "LABEL_LIMITS", "PARTITION_TYPES", "REST",
    "AutoSize", "ExactSize", "FileSystem", "Finding", "Headroom", "Layout", "LogicalVolume",
    "Partition", "PartitionSize", "Raid", "RestSize", "ShareSize", "Volume", "VolumeGroup",
    "check", "parse_partition_size", "require_valid", "volume_name",
]  # fmt: skip

LABELS: Final = ("gpt", "mbr", "none")
PARTITION_TYPES: Final = ("esp", "bios-boot", "boot", "root", "swap", "data")
FIRMWARES: Final = ("bios", "uefi")

# UEFI specification 2.10, table 5-6: 72 bytes of UTF-16.
GPT_NAME_LIMIT: Final = 36
GPT_MAX_PARTITIONS: Final = 128
# GRUB 2.06 has modules for more, but these are what its core images hold. vfat, which holds no
# system, is refused elsewhere.
GRUB_READS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat")

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BYTE = re.compile(r"(0x)?[0-9a-fA-F]{1,2}")


def require_valid(layout: Layout, firmware: Collection[str] = ()) -> None:
    """Raise LayoutError with every finding of `check`."""
    findings = check(layout, firmware)
    if findings:
        raise LayoutError(
            [str(finding) for finding in findings],
            hint=next((finding.hint for finding in findings if finding.hint), None),
        )


def check(layout: Layout, firmware: Collection[str] = ()) -> list[Finding]:
    """Every reason why this layout cannot be assembled for these firmwares; [] is a good one."""
    findings = list(_check_disk(layout))
    members = layout.users()
    for partition in layout.partitions:
        findings.extend(_check_partition(partition, layout.label))
    for volume in layout.volumes():
        findings.extend(check_file_systems(volume, is_member=volume.name in members))
        findings.extend(_check_mount(volume))
    findings.extend(_check_duplicates(layout))
    findings.extend(check_sizes(layout))
    findings.extend(check_raids_and_groups(layout))
    findings.extend(_check_firmware(layout, firmware))
    return findings


def _check_disk(layout: Layout) -> Iterator[Finding]:
    if layout.label not in LABELS:
        yield Finding(f'"{layout.label}" is not a partition table', field="label",
                      hint=unknown(layout.label, LABELS))  # fmt: skip
    if not layout.partitions:
        yield Finding("the layout has no partitions", field="partition",
                      hint='add at least one of type "root"')  # fmt: skip
    if layout.label == "gpt" and len(layout.partitions) > GPT_MAX_PARTITIONS:
        yield Finding(
            f"{len(layout.partitions)} partitions are more than the {GPT_MAX_PARTITIONS} of a GPT",
            field="partition",
        )
    if layout.label == "mbr":
        yield from (Finding(text, field="partition", hint='write label = "gpt"')
                    for text in mbr.problems(layout.partitions))  # fmt: skip
    if layout.label == "none":
        yield from _check_bare(layout)


def _check_bare(layout: Layout) -> Iterator[Finding]:
    """One file system and nothing else is what label "none" means."""
    if len(layout.partitions) > 1 or layout.raids or layout.volume_groups:
        yield Finding('label "none" is one bare file system: there can be only one partition',
                      field="partition", hint='write label = "gpt"')  # fmt: skip
    for partition in layout.partitions:
        if partition.type in ("esp", "bios-boot", "swap"):
            yield Finding(f'a disk without a partition table has no "{partition.type}" partition',
                          partition.name, "type")  # fmt: skip
        elif partition.filesystem is None:
            yield Finding('label "none" is one bare file system: it needs one', partition.name,
                          "filesystem", 'write filesystem = "ext4"')  # fmt: skip


def _check_partition(partition: Partition, label: str) -> Iterator[Finding]:
    def finding(message: str, field: str, hint: str | None = None) -> Finding:
        return Finding(message, partition.name, field, hint)

    # sfdisk's script language has no escape for a quote inside a name (util-linux 2.38).
    if not partition.name or re.search(r'["\\\x00-\x1f\x7f]', partition.name):
        yield finding("its name is empty or has a quote, backslash or control character", "name")
    if label == "gpt" and len(partition.name.encode("utf-16-le")) // 2 > GPT_NAME_LIMIT:
        yield finding(f"its name is longer than {GPT_NAME_LIMIT} characters", "name")
    if partition.type not in PARTITION_TYPES:
        yield finding(f'"{partition.type}" is not a partition type', "type",
                      unknown(partition.type, PARTITION_TYPES))  # fmt: skip
    elif partition.type == "bios-boot" and label == "mbr":
        yield finding("on an mbr disk GRUB lies before the first partition", "type",
                      "remove this partition")  # fmt: skip
    if partition.type_id is not None:
        pattern = _GUID if label == "gpt" else _BYTE
        if not pattern.fullmatch(partition.type_id):
            wanted = "a GUID" if label == "gpt" else "a byte in hexadecimal"
            yield finding(f'"{partition.type_id}" is not {wanted}', "type_id")
    if label != "mbr" and (partition.logical or partition.bootable):
        word = "logical" if partition.logical else "bootable"
        yield finding(f"only an mbr disk has {word} partitions", word)


def _check_mount(volume: Volume) -> Iterator[Finding]:
    mount = volume.mount

    def finding(message: str, hint: str | None = None) -> Finding:
        return Finding(message, volume.name, "mount", hint, volume.kind)

    if mount is None:
        if volume.type == "root":
            yield finding("the root partition has no mount point", 'write mount = "/"')
        return
    if volume.type in ("bios-boot", "swap"):
        yield finding(f"a {volume.type} partition cannot be mounted", "remove mount")
        return
    if not mount.startswith("/"):
        yield finding(f'mount point "{mount}" is not absolute', f'write "/{mount}"')
    elif mount != "/" and ("//" in mount or mount.endswith("/")):
        yield finding(f'mount point "{mount}" has a superfluous slash',
                      f'write "{re.sub("/+", "/", mount).rstrip("/") or "/"}"')  # fmt: skip
    elif {".", ".."} & set(mount.split("/")) or not mount.isprintable():
        yield finding(f"mount point {mount!r} is not a plain path")
    if volume.type == "root" and mount != "/":
        yield finding(f'the root partition is mounted at "{mount}"', 'write mount = "/"')
    if volume.kind == "partition" and volume.type != "root" and mount == "/":
        yield finding(f'a {volume.type} partition is mounted at "/"', 'write type = "root"')


def _check_duplicates(layout: Layout) -> Iterator[Finding]:
    names = Counter(p.name for p in layout.partitions)
    yield from (
        Finding(f"{count} partitions have this name", name, "name")
        for name, count in names.items() if count > 1
    )  # fmt: skip
    seen: dict[str, Volume] = {}
    for volume in layout.volumes():
        if volume.mount is None:
            continue
        first = seen.setdefault(volume.mount, volume)
        if first is not volume:
            yield Finding(f'"{first.name}" is mounted at "{volume.mount}" too',
                          volume.name, "mount", kind=volume.kind)  # fmt: skip
    for type in ("root", "esp", "bios-boot", "boot"):
        same = [p for p in layout.partitions if p.type == type]
        yield from (
            Finding(f'there is more than one partition of type "{type}"', p.name, "type")
            for p in same[1:]
        )
    flagged = [p for p in layout.partitions if p.bootable]
    yield from (Finding(f'"{flagged[0].name}" has the boot flag already', p.name, "bootable")
                for p in flagged[1:])  # fmt: skip
    has_root = not layout.has_root or layout.of_type("root") is not None or "/" in seen
    if not has_root and layout.partitions and layout.label != "none":
        yield Finding('there is no partition of type "root"', field="partition",
                      hint='give the partition of "/" type = "root"')  # fmt: skip


def _check_firmware(layout: Layout, firmware: Collection[str]) -> Iterator[Finding]:
    for word in firmware:
        if word not in FIRMWARES:
            yield Finding(f'"{word}" is not a firmware', field="firmware",
                          hint=unknown(word, FIRMWARES))  # fmt: skip
    if not firmware:
        return
    if layout.label == "none":
        yield Finding("a disk without a partition table has no boot loader", field="firmware",
                      hint="write firmware = []")  # fmt: skip
        return
    if "bios" in firmware and layout.label == "gpt" and layout.of_type("bios-boot") is None:
        yield Finding(
            'firmware "bios" needs a partition of type "bios-boot" on a gpt disk',
            field="partition", hint='add one with size = "1MiB"',
        )  # fmt: skip
    if "uefi" in firmware and layout.of_type("esp") is None:
        yield Finding(
            'firmware "uefi" needs a partition of type "esp"',
            field="partition", hint='add one with size = "64MiB" and filesystem = "vfat"',
        )  # fmt: skip
    yield from _check_boot_volumes(layout)


def _check_boot_volumes(layout: Layout) -> Iterator[Finding]:
    """GRUB reads /boot, and its configuration names the root by the UUID of a file system."""
    mounts = layout.by_mount()
    root, boot = mounts.get("/"), mounts.get("/boot", mounts.get("/"))
    if (
        boot is not None
        and boot.filesystem is not None
        and (boot.filesystem.type in FILE_SYSTEM_TYPES and boot.filesystem.type not in GRUB_READS)
    ):
        yield Finding(
            f"GRUB cannot read kernels from {boot.filesystem.type}", boot.name, "filesystem",
            'add a partition of type "boot" with filesystem = "ext4"', boot.kind,
        )  # fmt: skip
    if root is not None and root.filesystem is not None and root.filesystem.type == "squashfs":
        yield Finding(
            "squashfs has no UUID by which the boot loader could name the root", root.name,
            "filesystem", 'write filesystem = "erofs", or firmware = []', root.kind,
        )  # fmt: skip
