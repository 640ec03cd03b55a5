"""The partition table of a target disk, as the script that sfdisk reads."""

from __future__ import annotations

from goldsmith.deploy.scheme import TargetDisk, TargetPartition
from goldsmith.disk.partition_table import MBR_TYPES, TYPE_GUIDS

_TYPE_OF_FLAG = {"bios_grub": "bios-boot", "raid": "raid", "lvm": "lvm"}


def type_id(partition: TargetPartition, label: str) -> str:
    """What a partition is called in its table: a GUID (gpt) or a byte in hexadecimal (mbr).

    One that is said wins, then what a flag says, then its type.
    """
    if partition.guid is not None:
        return partition.guid.lower().removeprefix("0x") if label == "mbr" else partition.guid
    kind = partition.type
    if kind in ("data", "root", "boot"):
        kind = next((_TYPE_OF_FLAG[f] for f in partition.flags if f in _TYPE_OF_FLAG), kind)
    return TYPE_GUIDS[kind] if label == "gpt" else MBR_TYPES[kind]


def table_script(disk: TargetDisk, sector_bytes: int) -> str:
    """The script that makes the table of a disk; its places are whole sectors."""
    first = ["label: gpt", "first-lba: 34"] if disk.label == "gpt" else ["label: dos"]
    # sfdisk wants the extended partition before the logical ones, whose numbers are higher.
    ordered = sorted(disk.partitions, key=lambda p: p.number)
    lines = [_line(p, disk.label, sector_bytes) for p in ordered]
    return "\n".join([*first, "unit: sectors", "", *lines, ""])


def _line(partition: TargetPartition, label: str, sector_bytes: int) -> str:
    words = [f"start={partition.begin_bytes // sector_bytes}",
             f"size={partition.size_bytes // sector_bytes}",
             f"type={type_id(partition, label)}"]  # fmt: skip
    if label == "gpt":
        if partition.label:
            words.append(f'name="{partition.label}"')
        if "legacy_boot" in partition.flags:
            words.append('attrs="LegacyBIOSBootable"')
    elif "boot" in partition.flags:
        words.append("bootable")
    return f"{partition.number} : {', '.join(words)}"
