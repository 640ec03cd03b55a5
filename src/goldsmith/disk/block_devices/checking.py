"""What is wrong with a configuration as a whole: found before anything is built.

Upstream finds most of this after the tree is made, an hour of work later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from goldsmith.disk.block_devices.model import (
    BlockDevices,
    Fstab,
    Group,
    LocalLoop,
    Logical,
    Mkfs,
    Mount,
    Node,
    PartitionEntry,
    Partitioning,
    PhysicalVolume,
)
from goldsmith.disk.findings import unknown
from goldsmith.disk.layout import LABEL_LIMITS
from goldsmith.errors import Diagnostic

ROOT_IMAGE: Final = "image0"
"""The name of the disk that becomes the image."""

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_EXT_UUIDS: Final = frozenset({"clear", "random", "time"})
"""What mke2fs(8) takes in place of a UUID."""

_LIES_ON: Final[Mapping[type[Node], tuple[type[Node], ...]]] = {
    Partitioning: (LocalLoop,),
    PhysicalVolume: (PartitionEntry, LocalLoop),
    Logical: (Group,),
    Mkfs: (LocalLoop, PartitionEntry, Logical),
    Mount: (Mkfs,),
    Fstab: (Mount,),
}
_WORDS: Final[Mapping[type[Node], str]] = {
    LocalLoop: "local_loop", Partitioning: "partitioning", PartitionEntry: "partition",
    PhysicalVolume: "physical volume", Group: "volume group", Logical: "logical volume",
    Mkfs: "mkfs", Mount: "mount", Fstab: "fstab",
}  # fmt: skip


def check_block_devices(devices: BlockDevices) -> list[Diagnostic]:
    """Every finding about names, bases, labels and mount points; [] is a good configuration."""
    found: list[Diagnostic] = []
    for text, hint, node in _findings(devices):
        found.append(Diagnostic(text, hint, node.place if node is not None else None))
    return found


_Finding = tuple[str, str, Node | None]


def _findings(devices: BlockDevices) -> Iterator[_Finding]:
    nodes: dict[str, Node] = {}
    for node in devices.every():
        first = nodes.setdefault(node.name, node)
        if first is not node:
            where = f", at {first.place}" if first.place else ""
            yield f'something else is called "{node.name}" too{where}', "rename one of them", node
    yield from _bases(devices, nodes)
    yield from _disks(devices)
    yield from _labels(devices)
    yield from _uuids(devices)
    yield from _mounts(devices)
    yield from _volumes(devices)


def _bases(devices: BlockDevices, nodes: Mapping[str, Node]) -> Iterator[_Finding]:
    """Each base is there, of the right kind, and taken once where only one can lie on it."""
    taken: dict[tuple[str, str], Node] = {}
    for node in devices.every():
        allowed = _LIES_ON.get(type(node))
        if allowed is None or not node.base:
            continue
        base = nodes.get(node.base)
        if base is None:
            same = [name for name, one in nodes.items() if isinstance(one, allowed)]
            yield f'{node.name}: there is no "{node.base}"', unknown(node.base, same) or "", node
            continue
        if not isinstance(base, allowed):
            wanted = " or a ".join(_WORDS[kind] for kind in allowed)
            kind = _WORDS.get(type(base), "lvm")
            yield f'{node.name}: "{node.base}" is a {kind}', f"its base is a {wanted}", node
            continue
        if isinstance(node, Logical):
            continue
        use = "fstab" if isinstance(node, Fstab) else "mount" if isinstance(node, Mount) else "use"
        first = taken.setdefault((node.base, use), node)
        if first is not node:
            yield f'{node.name}: "{first.name}" lies on "{node.base}" already', "", node


def _disks(devices: BlockDevices) -> Iterator[_Finding]:
    if not devices.loops:
        yield "there is no disk", f"add `- local_loop: {{name: {ROOT_IMAGE}}}`", None
    elif all(loop.name != ROOT_IMAGE for loop in devices.loops):
        yield f'no disk is called "{ROOT_IMAGE}"', "the image is made of that one", devices.loops[0]


def _labels(devices: BlockDevices) -> Iterator[_Finding]:
    seen: dict[str, Mkfs] = {}
    for one in devices.filesystems:
        limit = LABEL_LIMITS.get(one.type)
        if limit is not None and len(one.label.encode()) > limit:
            told = f'"{one.label}" is longer than the {limit} bytes of a label of {one.type}'
            yield f"{one.name}: {told}", "give it a shorter label", one
        first = seen.setdefault(one.label, one)
        if first is not one:
            yield f'{one.name}: the label "{one.label}" is that of "{first.name}" too', "", one


def _uuids(devices: BlockDevices) -> Iterator[_Finding]:
    """A UUID that mkfs would refuse; upstream writes them on these file systems alone."""
    for one in devices.filesystems:
        is_ext = one.type.startswith("ext")
        if not one.uuid or not (is_ext or one.type == "xfs") or _UUID.fullmatch(one.uuid):
            continue
        if not is_ext or one.uuid not in _EXT_UUIDS:
            hint = "write one as `uuidgen` prints it, or leave it out"
            yield f'{one.name}: "{one.uuid}" is not a UUID', hint, one


def _mounts(devices: BlockDevices) -> Iterator[_Finding]:
    kinds = {one.name: one.type for one in devices.filesystems}
    seen: dict[str, Mount] = {}
    for one in devices.mounts:
        is_swap = kinds.get(one.base) == "swap"
        parts = one.mount_point.split("/")
        if not is_swap and (not one.mount_point.startswith("/") or {".", ".."} & set(parts)):
            yield f'{one.name}: "{one.mount_point}" is not an absolute path', "", one
        first = seen.setdefault(one.mount_point, one)
        if first is not one and not is_swap:
            yield f'{one.name}: "{first.name}" is mounted at "{one.mount_point}" too', "", one
    if "/" not in seen:
        yield "nothing is mounted at /", "give a file system `mount: {mount_point: /}`", None


def _volumes(devices: BlockDevices) -> Iterator[_Finding]:
    physical = {one.name for lvm in devices.lvms for one in lvm.physical}
    used: dict[str, Group] = {}
    volumes = [one for lvm in devices.lvms for one in lvm.logical]
    pools = {one.name: one for one in volumes if one.type == "thin-pool"}
    for group in (one for lvm in devices.lvms for one in lvm.groups):
        for name in group.volumes:
            if name not in physical:
                hint = unknown(name, sorted(physical)) or ""
                yield f'{group.name}: there is no physical volume "{name}"', hint, group
            first = used.setdefault(name, group)
            if first is not group:
                yield f'{group.name}: "{name}" belongs to "{first.name}" already', "", group
    for one in volumes:
        if one.type == "thin" and one.thin_pool and one.thin_pool not in pools:
            yield f'{one.name}: there is no thin pool "{one.thin_pool}"', "", one
