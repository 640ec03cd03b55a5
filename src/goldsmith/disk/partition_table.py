"""Partition tables, GPT and MBR, written by sfdisk from a script and read back as JSON.

With fixed identifiers sfdisk writes the same bytes on every run. sfdisk works on the image file:
neither root nor a loop device is needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.disk import mbr
from goldsmith.disk.disk_plan import DiskPlan, PlannedPartition
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout, Partition
from goldsmith.errors import GoldsmithError
from goldsmith.host import loop
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named

# UEFI specification table 5-7, and the Discoverable Partitions Specification (uapi-group.org)
# for root on x86-64, the extended boot loader partition, Linux data, RAID and LVM.
TYPE_GUIDS: Final = {
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "bios-boot": "21686148-6449-6E6F-744E-656564454649",
    "boot": "BC13C2FF-59E6-4262-A352-B275FD6F7172",
    "root": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "swap": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "data": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "raid": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "lvm": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
}

MBR_TYPES: Final = {
    "esp": "ef", "boot": "83", "root": "83", "swap": "82", "data": "83", "raid": "fd", "lvm": "8e",
    "fat": "c", "extended": "5",
}  # fmt: skip
"""The type bytes of an MBR in hexadecimal, as fdisk lists them."""

SFDISK_TIMEOUT_S: Final = 60.0
SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A partition as it stands in a table; an MBR's has a type in hexadecimal and no name."""

    number: int
    start_sector: int
    size_sectors: int
    type_guid: str
    uuid: str
    name: str
    bootable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table as it was read."""

    label: str
    uuid: str
    sector_bytes: int
    entries: tuple[TableEntry, ...]


def type_of(partition: Partition, layout: Layout) -> str:
    """What a partition is called in the table: a GUID (gpt) or a byte in hexadecimal (mbr)."""
    if partition.type_id is not None:
        return partition.type_id.removeprefix("0x")
    kind = partition.type
    users = layout.users().get(partition.name, [])
    if users:
        kind = "raid" if any(raid.name in users for raid in layout.raids) else "lvm"
    if layout.label == "gpt":
        return TYPE_GUIDS[kind]
    filesystem = partition.filesystem
    if kind == "data" and filesystem is not None and filesystem.type == "vfat":
        kind = "fat"
    return MBR_TYPES[kind]


def sfdisk_script(plan: DiskPlan, identity: DiskIdentity) -> str:
    """The script that makes the table of a plan; raises GoldsmithError when it has none."""
    if plan.label == "gpt":
        return _gpt_script(plan, identity)
    if plan.label == "mbr":
        return _mbr_script(plan, identity)
    raise GoldsmithError(f'a disk of label "{plan.label}" has no partition table')


def _gpt_script(plan: DiskPlan, identity: DiskIdentity) -> str:
    lines = [
        "label: gpt",
        f"label-id: {identity.disk_uuid}",
        "unit: sectors",
        "first-lba: 34",
        "",
    ]
    lines += [
        f"start={p.start_sector}, size={p.size_sectors}, "
        f"type={type_of(p.partition, plan.layout)}, uuid={identity.partition_uuid(p.name)}, "
        f'name="{p.name}"'
        for p in plan.partitions
    ]
    return "\n".join([*lines, ""])


def _mbr_script(plan: DiskPlan, identity: DiskIdentity) -> str:
    lines = ["label: dos", f"label-id: 0x{identity.mbr_id:08x}", "unit: sectors", ""]
    flagged = mbr.bootable_index(plan.layout)
    entries = [
        (p.number, _mbr_line(p, plan.layout, bootable=index == flagged))
        for index, p in enumerate(plan.partitions)
    ]
    extended = plan.extended
    if extended is not None:
        line = (f"{extended.number} : start={extended.start_sector}, "
                f"size={extended.size_sectors}, type={MBR_TYPES['extended']}")  # fmt: skip
        entries.append((extended.number, line))
    # sfdisk wants the extended partition before those in it, whose numbers are higher.
    return "\n".join([*lines, *(line for _, line in sorted(entries)), ""])


def _mbr_line(planned: PlannedPartition, layout: Layout, *, bootable: bool) -> str:
    flag = ", bootable" if bootable else ""
    return (f"{planned.number} : start={planned.start_sector}, size={planned.size_sectors}, "
            f"type={type_of(planned.partition, layout)}{flag}")  # fmt: skip


def write_table(image: Path, plan: DiskPlan, identity: DiskIdentity) -> None:
    """Write the table of a plan onto an image file of the plan's size.

    sfdisk takes the size of sectors from a device only, so for large ones the file is attached.
    """
    with full_file_system_named(image), ExitStack() as stack:
        place = image.absolute()
        if plan.sector_bytes != SECTOR_BYTES:
            place = stack.enter_context(loop.attached(image, block_bytes=plan.sector_bytes)).path
        run(
            ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never",
             "--wipe-partitions", "never", place],
            input=sfdisk_script(plan, identity).encode(),
            timeout_s=SFDISK_TIMEOUT_S,
        )  # fmt: skip


def read_table(image: Path) -> Table:
    """Read the table of an image or disk; raises CommandFailed when it has none."""
    done = run(
        ["sfdisk", "--json", image.absolute()], capture=True, timeout_s=SFDISK_TIMEOUT_S,
        hint="the file has no partition table that sfdisk knows",
    )  # fmt: skip
    try:
        table: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
        return Table(
            str(table["label"]), str(table.get("id", "")), int(table.get("sectorsize", 512)),
            tuple(_entries(table.get("partitions", []), str(image.absolute()))),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as e:
        raise GoldsmithError(f"sfdisk's description of {image} cannot be read: {e}") from e


def _entries(partitions: Sequence[dict[str, Any]], device: str) -> list[TableEntry]:
    return [
        TableEntry(
            # The node is the file's name and the number, with a "p" between where it ends in one,
            # or "-part" where device-mapper made it.
            int(str(entry["node"]).removeprefix(device).removeprefix("-part").lstrip("p")),
            int(entry["start"]), int(entry["size"]), str(entry["type"]),
            str(entry.get("uuid", "")), str(entry.get("name", "")),
            bool(entry.get("bootable", False)),
        )
        for entry in partitions
    ]  # fmt: skip
