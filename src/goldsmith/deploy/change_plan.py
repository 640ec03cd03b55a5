"""What a deployment changes on each disk: as it is now, and as it will be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.deploy.copying.sources import shown_address
from goldsmith.deploy.disks import HostDisk
from goldsmith.deploy.partitioning import filesystems_to_make
from goldsmith.deploy.scheme import Deployment, Scheme, TargetDisk, TargetPartition
from goldsmith.deploy.scheme_sizes import array_size, is_made
from goldsmith.units import format_size

SCHEMA: Final = 1
_POLICIES: Final = {
    "clean": "everything on it is lost",
    "verify": "its table is the wanted one, and stays",
    "keep": "its table stays as it is",
}


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A partition before or after: `what` is what lies in it, `fate` what happens to that."""

    node: str
    begin_bytes: int
    size_bytes: int
    what: str
    fate: str = ""


@dataclass(frozen=True, slots=True)
class DiskChange:
    """A disk before and after; `table_before` "" is none."""

    device: str
    path: str
    size_bytes: int
    model: str
    policy: str
    table_before: str
    table_after: str
    before: tuple[PlanLine, ...]
    after: tuple[PlanLine, ...]
    stops: tuple[str, ...] = ()
    boot_loader: bool = False


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """All disks that are written to, and what is made on top of them."""

    disks: tuple[DiskChange, ...]
    made: tuple[PlanLine, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def plan_changes(deployment: Deployment, disks: Mapping[str, HostDisk]) -> ChangePlan:
    """What would be done to disks as they are now."""
    scheme = deployment.scheme
    changes = tuple(_change(deployment, target, disks[target.device]) for target in scheme.disks)
    return ChangePlan(changes, tuple(_stacked_lines(deployment)))


def _change(deployment: Deployment, target: TargetDisk, disk: HostDisk) -> DiskChange:
    cleaned = target.policy == "clean"
    before = [
        PlanLine(f"{disk.path} {p.number}", p.begin_bytes, p.size_bytes,
                 f"{p.content}" + (f', named "{p.name}"' if p.name else ""))
        for p in disk.partitions
    ]  # fmt: skip
    if not before and disk.content.kind:
        before = [PlanLine(disk.path, 0, disk.size_bytes, str(disk.content))]
    after = [_partition_line(deployment, p, made=cleaned) for p in target.partitions]
    if target.label == "none":
        after = [PlanLine(target.device, 0, disk.size_bytes,
                          _what(deployment, target.device) or "nothing", "new")]  # fmt: skip
    elif not cleaned:
        ours = {p.number for p in target.partitions}
        after += [PlanLine(f"{disk.path} {p.number}", p.begin_bytes, p.size_bytes, str(p.content),
                           "not touched")
                  for p in disk.partitions if p.number not in ours]  # fmt: skip
    return DiskChange(
        target.device, disk.path, disk.size_bytes, disk.model, target.policy, disk.label,
        target.label, tuple(before), tuple(sorted(after, key=lambda line: line.begin_bytes)),
        tuple(stacked.node for stacked in disk.stacked) if cleaned else (), target.boot_loader,
    )  # fmt: skip


def _partition_line(deployment: Deployment, p: TargetPartition, *, made: bool) -> PlanLine:
    what = _what(deployment, p.node) or _part_of(deployment.scheme, p) or p.type
    fate = "new" if made or _is_written(deployment, p.node) else "kept"
    return PlanLine(p.node, p.begin_bytes, p.size_bytes, what, fate)


def _is_written(deployment: Deployment, node: str) -> bool:
    return (
        any(image.node == node for image in deployment.images)
        or any(fs.node == node for fs in filesystems_to_make(deployment))
        or deployment.scheme.config_drive_node() == node
    )


def _what(deployment: Deployment, node: str) -> str:
    """The file system and image that a node gets, "" for neither."""
    words = []
    fs = deployment.scheme.by_node(node)
    if fs is not None:
        words.append(f"{fs.type} {fs.mount or ''}".strip() if fs.mount != fs.type else fs.type)
    if deployment.scheme.config_drive_node() == node:
        words.append("config drive")
    words += [f"image {shown_address(image.uris[0]).rpartition('/')[2]}"
              for image in deployment.images if image.node == node and image.uris]  # fmt: skip
    return ", ".join(words)


def _part_of(scheme: Scheme, partition: TargetPartition) -> str:
    node = partition.node
    for array in scheme.arrays:
        if node in (*array.members, *array.spares):
            return f"{'spare' if node in array.spares else 'member'} of {array.node}"
    for group in scheme.groups:
        if node in group.physical_volumes:
            return f"physical volume of {group.name}"
    return ""


def _stacked_lines(deployment: Deployment) -> Iterator[PlanLine]:
    scheme = deployment.scheme
    groups = {group.name: group.physical_volumes for group in scheme.groups}
    for array in scheme.arrays:
        what = f"RAID {array.level} of {', '.join(array.members)}"
        inside = _what(deployment, array.node)
        fate = "new" if is_made(scheme, array.members) else "kept"
        yield PlanLine(array.node, 0, array_size(scheme, array),
                       f"{what}: {inside}" if inside else what, fate)  # fmt: skip
    for volume in scheme.volumes:
        inside = _what(deployment, volume.node) or "nothing"
        fate = "new" if is_made(scheme, groups.get(volume.group, ())) else "kept"
        yield PlanLine(volume.node, 0, volume.size_bytes, inside, fate)


def plan_text(plan: ChangePlan) -> str:
    """The plan as lines for people."""
    lines: list[str] = []
    for disk in plan.disks:
        model = f", {disk.model}" if disk.model else ""
        real = f" ({disk.path})" if disk.path != disk.device else ""
        lines.append(f"{disk.device}{real}: {format_size(disk.size_bytes)}{model}; policy "
                     f"{disk.policy}: {_POLICIES[disk.policy]}")  # fmt: skip
        lines += [f"  stopped: {node}" for node in disk.stops]
        lines.append(f"  before: {disk.table_before or 'no partition table'}")
        lines += _rows(disk.before)
        after = "a whole image" if disk.table_after == "none" else disk.table_after
        loader = ", with a boot loader" if disk.boot_loader else ""
        lines.append(f"  after: {after}{loader}")
        lines += _rows(disk.after)
    if plan.made:
        lines.append("on top of them:")
        lines += _rows(plan.made)
    lines.append("No other disk is written to.")
    return "\n".join(lines)


def _rows(entries: tuple[PlanLine, ...]) -> list[str]:
    width = max((len(line.node) for line in entries), default=0)
    rows = []
    for line in entries:
        place = f"{format_size(line.begin_bytes):>9}  " if line.begin_bytes else f"{'':>9}  "
        fate = f"  [{line.fate}]" if line.fate else ""
        size = format_size(line.size_bytes)
        rows.append(f"    {line.node:<{width}}  {place}{size:>9}  {line.what}{fate}")
    return rows
