"""A `disk` block as a block device configuration, so that it takes the place of an element's.

Elements describe a disk in YAML, of which JSON is a part; what that cannot say is refused at the
option that says it. Source: `specs/diskimage-builder.md`, A12.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final

from goldsmith.builders.image.options import Disk
from goldsmith.core.options import Finding
from goldsmith.disk import fstab, mbr
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import (
    AutoSize,
    ExactSize,
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    PartitionSize,
    RestSize,
    ShareSize,
)
from goldsmith.units import MIB

_DISK: Final = "image0"
_KINDS: Final = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap")
_GPT_TYPES: Final = {"esp": "EF00", "bios-boot": "EF02", "swap": "8200"}
_MBR_TYPES: Final = {"esp": "ef", "swap": "82"}
_LVM_TYPES: Final = {"gpt": "8E00", "mbr": "8e"}


def disk_findings(disk: Disk) -> Iterator[Finding]:
    """What a disk of elements cannot be, each finding at its option."""
    if disk.raid:
        yield Finding(
            "elements know no software RAID", ("disk", "raid", 0),
            'leave it out, or make the tree with another method than "elements"',
        )  # fmt: skip
    if disk.headroom.strip().endswith("%"):
        yield Finding("with elements headroom is a size", ("disk", "headroom"),
                      'write for example "500MiB"')  # fmt: skip
    sizes = [partition.to_layout() for partition in disk.partition]
    for number, (partition, given) in enumerate(zip(sizes, disk.partition, strict=True)):
        at = ("disk", "partition", number)
        if isinstance(partition.size, AutoSize) and not _takes_all(sizes, number):
            yield Finding(f'partition "{given.name}" needs a size', (*at, "size"),
                          "with elements only the last partition takes what is left")  # fmt: skip
        yield from _kind_findings(partition.filesystem, (*at, "filesystem"))
        before = sizes[:number]
        if isinstance(partition.size, ExactSize) and not all(
            isinstance(one.size, ExactSize) for one in before
        ):
            yield Finding(
                f'partition "{given.name}" has a size, and one before it a share',
                (*at, "size"), "with elements, those of exact sizes come first",
            )  # fmt: skip
    for number, volume in enumerate(disk.logical_volume):
        at = ("disk", "logical_volume", number)
        if isinstance(volume.to_layout().size, AutoSize):
            yield Finding(f'logical volume "{volume.name}" needs a size', (*at, "size"),
                          'write for example "2GiB", "40%" or "rest"')  # fmt: skip
        yield from _kind_findings(volume.file_system(), (*at, "filesystem"))


def _kind_findings(filesystem: FileSystem | None, at: tuple[str | int, ...]) -> Iterator[Finding]:
    if filesystem is not None and filesystem.type not in _KINDS:
        yield Finding(f"elements cannot fill {filesystem.type}", at,
                      f"choose one of {', '.join(_KINDS)}")  # fmt: skip


def _takes_all(partitions: Sequence[Partition], number: int) -> bool:
    rest = [one for one in partitions if isinstance(one.size, RestSize)]
    return number == len(partitions) - 1 and not rest


def block_devices_text(disk: Disk, identity: DiskIdentity) -> str:
    """The configuration that makes this disk, for one without `disk_findings`."""
    layout = disk.to_layout()
    entries: list[dict[str, Any]] = [{"local_loop": _loop(layout)}]
    if layout.label != "none":
        entries.append({"partitioning": _table(layout)})
    if layout.volume_groups:
        entries.append({"lvm": _lvm(layout)})
    lines = {entry.mount: entry for entry in fstab.entries(layout, identity)}
    for volume in layout.volumes():
        if volume.filesystem is None:
            continue
        base = _DISK if layout.label == "none" else volume.name.rpartition("/")[2]
        # Not mkfs_root: that one takes options of the command line.
        node = f"fs_{base}"
        entries.append(
            {"mkfs": _mkfs(node, base, volume.filesystem,
                           identity.filesystem_uuid(volume.name, volume.filesystem.type))}
        )  # fmt: skip
        if volume.mount is None and volume.filesystem.type != "swap":
            continue
        place = volume.mount or "none"
        entries.append({"mount": {"name": f"mount_{base}", "base": node, "mount_point": place}})
        line = lines[place]
        entries.append(
            {"fstab": {"name": f"fstab_{base}", "base": f"mount_{base}",
                       "options": fstab.options_of(line), "fsck-passno": fstab.pass_of(line)}}
        )  # fmt: skip
    return json.dumps(entries, indent=1)


def _loop(layout: Layout) -> dict[str, Any]:
    size = {} if layout.size_bytes is None else {"size": layout.size_bytes}
    return {"name": _DISK, **size}


def _table(layout: Layout) -> dict[str, Any]:
    logical = mbr.logical_flags(layout.partitions)
    bootable = mbr.bootable_index(layout) if layout.label == "mbr" else None
    in_groups = {name for group in layout.volume_groups for name in group.physical_volumes}
    shares = _shares([one.size for one in layout.partitions])
    entries = []
    for number, one in enumerate(layout.partitions):
        types = _GPT_TYPES if layout.label == "gpt" else _MBR_TYPES
        usual = "8300" if layout.label == "gpt" else "83"
        kind = _LVM_TYPES[layout.label] if one.name in in_groups else types.get(one.type, usual)
        entry: dict[str, Any] = {"name": one.name, "type": kind, "size": shares[number]}
        flags = []
        if layout.label == "mbr":
            flags = ["boot"] * (bootable == number) + ["primary"] * (not logical[number])
        entries.append({**entry, "flags": flags} if flags else entry)
    return {"base": _DISK, "label": layout.label, "partitions": entries}


def _shares(sizes: Sequence[PartitionSize]) -> list[str | int]:
    """Shares of all that is divided, as shares of what the partitions before have left."""
    left = Fraction(1)
    words: list[str | int] = []
    for size in sizes:
        if isinstance(size, ExactSize):
            words.append(size.size_bytes)
        elif isinstance(size, ShareSize):
            share = size.percent / 100
            words.append(_percent(share / left if left else share))
            left -= share
        else:
            words.append("100%")
    return words


def _percent(share: Fraction) -> str:
    return f"{float(min(share, Fraction(1)) * 100):.10f}".rstrip("0").rstrip(".") + "%"


def _lvm(layout: Layout) -> dict[str, Any]:
    groups = layout.volume_groups
    return {
        "name": "lvm",
        "pvs": [{"name": f"pv_{name}", "base": name}
                for group in groups for name in group.physical_volumes],
        "vgs": [{"name": group.name, "base": [f"pv_{name}" for name in group.physical_volumes]}
                for group in groups],
        "lvs": [{"name": volume.name, "base": group.name, **_volume_size(volume)}
                for group in groups for volume in group.logical_volumes],
    }  # fmt: skip


def _volume_size(volume: LogicalVolume) -> dict[str, Any]:
    if isinstance(volume.size, ExactSize):
        return {"size": volume.size.size_bytes}
    percent = volume.size.percent if isinstance(volume.size, ShareSize) else Fraction(100)
    return {"extents": f"{_percent(percent / 100)}FREE"}


def _mkfs(node: str, base: str, filesystem: FileSystem, uuid: str) -> dict[str, Any]:
    # Elements find the root by its label, so it has one.
    label = filesystem.label or base
    words: dict[str, Any] = {"name": node, "base": base, "type": filesystem.type, "label": label}
    if filesystem.options:
        words["opts"] = " ".join(filesystem.options)
    if uuid and filesystem.type != "vfat":
        words["uuid"] = uuid
    return words


def size_variables(disk: Disk) -> dict[str, str]:
    """What the disk says of its size beside its layout, by upstream's names."""
    if not disk.headroom:
        return {}
    extra_bytes = disk.to_layout().headroom.minimum_bytes
    return {"DIB_IMAGE_EXTRA_SIZE": f"{extra_bytes / MIB:f}"}
