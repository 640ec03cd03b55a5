"""What lies on a target disk and on other disks too, whether or not the kernel has assembled it.

An array or a volume group that is not running is lost just as a running one is when a part of it
is overwritten: the data on the disks that nobody named would go with it. So the marks on the disks
themselves are read, those of the others only where a target has a part of something.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from goldsmith.deploy.disks import Content, HostDisk, content_of, whole_disks_below
from goldsmith.deploy.scheme import partition_node
from goldsmith.disk.lvm_labels import GroupOnDisk, read_group
from goldsmith.errors import GoldsmithError

_KINDS: Final = {
    "LVM2_member": "volume group", "linux_raid_member": "array", "btrfs": "btrfs",
    "zfs_member": "ZFS pool",
}  # fmt: skip
_BLOCK: Final = Path("/sys/block")
_BTRFS_AT: Final = 64 << 10
_BTRFS_MAGIC: Final = (64, b"_BHRfS_M")
_BTRFS_DEVICES_AT: Final = 136
"""Of the superblock: struct btrfs_super_block, linux/btrfs_tree.h."""


@dataclass(frozen=True)
class Part:
    """A stretch of a disk that belongs to something: `shown` is its partition, or the disk."""

    disk: str
    shown: str
    path: str
    begin_bytes: int
    content: Content
    number: int = 0

    @cached_property
    def group(self) -> GroupOnDisk | None:
        """The volume group that it says it belongs to."""
        try:
            with open(self.path, "rb", buffering=0) as stream:
                return read_group(stream.fileno(), self.begin_bytes)
        except OSError:
            return None

    def belongs_with(self, other: Part) -> bool:
        """Whether both are parts of the same."""
        if self.content.kind != other.content.kind:
            return False
        if self.content.kind != "LVM2_member":
            return bool(self.content.uuid) and self.content.uuid == other.content.uuid
        # One of both may have no copy of the metadata.
        pairs = ((self, other), (other, self))
        return any(one.group is not None and two.content.uuid in one.group.members
                   for one, two in pairs)  # fmt: skip


def shared_parts(
    disk: HostDisk, named: Collection[str], numbers: Collection[int] | None = None
) -> Iterator[str]:
    """Reasons against a disk: what parts of it belong to, and the disks that have the others.

    `named` are the kernel's names of all target disks and of what lies below them; `numbers` are
    those of the partitions that are overwritten, None for all of the disk.
    """
    ours = [part for part in _parts_of(disk) if numbers is None or part.number in numbers]
    if not ours:
        return
    others = list(_parts_of_others(named))
    for part in ours:
        found = sorted({other.disk for other in others if part.belongs_with(other)})
        if found:
            what = _KINDS[part.content.kind]
            group = part.group if part.content.kind == "LVM2_member" else None
            name = group.name if group is not None else part.content.label
            yield (f"{part.shown} is a part of the {what}{f' {name!r}' if name else ''}, "
                   f"which also lies on {', '.join(f'/dev/{one}' for one in found)}, which the "
                   f"scheme does not name: name it, or take {part.shown} out first "
                   "(vgreduce, mdadm --zero-superblock, wipefs)")  # fmt: skip


def _parts_of(disk: HostDisk) -> Iterator[Part]:
    whole = Part(disk.name, disk.path, disk.path, 0, disk.content)
    found = [whole]
    for p in disk.partitions:
        node = partition_node(disk.path, p.number)
        found.append(Part(disk.name, node, disk.path, p.begin_bytes, p.content, p.number))
    for stacked in disk.stacked:
        found += _read(stacked.name, stacked.node)
    return (part for part in found if _is_shared(part))


def _parts_of_others(named: Collection[str]) -> Iterator[Part]:
    for entry in sorted(_BLOCK.iterdir()):
        name = entry.name
        try:
            if int((entry / "size").read_text()) == 0 or whole_disks_below(name) <= set(named):
                continue
        except (OSError, ValueError):
            continue  # gone meanwhile
        node = "/dev/" + name.replace("!", "/")
        yield from (part for part in _read(name, node) if _is_shared(part))


def _read(name: str, node: str) -> list[Part]:
    """The parts of a device; none where nothing can be read: nothing of it is in use then."""
    if not os.path.exists(node):
        return []
    try:
        content = content_of(node)
    except (GoldsmithError, OSError):
        return []
    found = [Part(name, node, node, 0, content.whole)]
    found += [Part(name, node, node, p.begin_bytes, p.content) for p in content.partitions]
    return found


def _is_shared(part: Part) -> bool:
    if part.content.kind == "btrfs":
        return _btrfs_devices(part) > 1
    return part.content.kind in _KINDS


def _btrfs_devices(part: Part) -> int:
    """How many devices a btrfs has; 0 where it cannot be read."""
    try:
        fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        block = os.pread(fd, 4096, part.begin_bytes + _BTRFS_AT)
    except OSError:
        return 0
    finally:
        os.close(fd)
    at, magic = _BTRFS_MAGIC
    if block[at : at + len(magic)] != magic:
        return 0
    return int.from_bytes(block[_BTRFS_DEVICES_AT : _BTRFS_DEVICES_AT + 8], "little")
