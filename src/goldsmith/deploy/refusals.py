"""Why a deployment must not begin: every reason, found before anything is written.

Only the disks that the scheme names are ever written to. A disk is refused while anything uses it:
a mount or swap of its own, its partitions' or of what lies on them, in this mount namespace or in
another one, a loop device, an array or volume group that also lies on other disks, and the host.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from goldsmith.deploy.boot_loader import require_places
from goldsmith.deploy.copying.sources import SourceError, local_path, shown_address, source_of
from goldsmith.deploy.disks import (
    FoundPartition,
    HostDisk,
    disks_below,
    disks_of,
    is_claimed,
    is_firmware_raid,
    read_disk,
)
from goldsmith.deploy.scheme import (
    Deployment,
    ImageRequest,
    Scheme,
    TargetDisk,
    TargetPartition,
)
from goldsmith.deploy.scheme_check import check_scheme
from goldsmith.deploy.scheme_sizes import is_made, last_byte, node_size
from goldsmith.deploy.shared_disks import shared_parts
from goldsmith.deploy.table_script import type_id
from goldsmith.disk import mbr
from goldsmith.errors import GoldsmithError, HostError
from goldsmith.host.process import TOOL_PACKAGES, find_tool, run
from goldsmith.redact import Redactor
from goldsmith.units import format_size

MKFS_TOOLS: Final = {
    "ext2": "mkfs.ext4", "ext3": "mkfs.ext4", "ext4": "mkfs.ext4", "xfs": "mkfs.xfs",
    "btrfs": "mkfs.btrfs", "vfat": "mkfs.vfat", "swap": "mkswap",
}  # fmt: skip
_SHOWN_REASONS: Final = 40
TOOL_TIMEOUT_S: Final = 60.0


class DeployRefused(GoldsmithError):
    """Nothing was written: `reasons` says why, all of it."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        shown = [*reasons[:_SHOWN_REASONS]]
        if len(reasons) > _SHOWN_REASONS:
            shown.append(f"and {len(reasons) - _SHOWN_REASONS} more")
        super().__init__("\n".join(shown), hint="nothing was written to any disk")


def read_disks(scheme: Scheme) -> dict[str, HostDisk]:
    """The disks of a scheme, by their names there; raises DeployRefused for missing ones."""
    found, missing = dict[str, HostDisk](), list[str]()
    for disk in scheme.disks:
        try:
            found[disk.device] = read_disk(disk.device)
        except GoldsmithError as e:
            missing.append(f"{e}" + (f" ({e.hint})" if e.hint else ""))
    if missing:
        raise DeployRefused(tuple(missing))
    return found


def require_allowed(
    deployment: Deployment, disks: Mapping[str, HostDisk], *, partitions: bool = True
) -> None:
    """Raise DeployRefused with every reason against a deployment, HostError for what is missing.

    Without `partitions` no table is written: those on the disks must be the ones of the scheme.
    """
    reasons = [*check_scheme(deployment)]
    reasons += refusals(deployment, disks, partitions=partitions)
    if deployment.firmware and not reasons:
        try:
            require_places(deployment.scheme, deployment.firmware)
        except GoldsmithError as e:
            reasons.append(str(e))
    if reasons:
        raise DeployRefused(tuple(dict.fromkeys(reasons)))
    if partitions and (lacking := list(missing_abilities(deployment))):
        raise HostError("\n".join(lacking), hint="nothing was written to any disk")


def refusals(
    deployment: Deployment, disks: Mapping[str, HostDisk], *, partitions: bool = True
) -> list[str]:
    """Every reason against writing to these disks as they are now."""
    scheme = deployment.scheme
    named = {disk.name for disk in disks.values()}
    for disk in disks.values():
        named |= disks_of(disk.name)
    found = list(_same_disk(disks))
    written = _written_nodes(deployment)
    found += _of_distinct_names(deployment, disks)
    for target in scheme.disks:
        disk = disks[target.device]
        if reasons := _of_disk(disk, target, named, deployment.distinct_disks):
            found += reasons
        elif disk.parent is None:
            kept = not partitions or target.policy != "clean"
            numbers = [p.number for p in target.partitions if p.node in written]
            found += shared_parts(disk, named, numbers if kept else None)
        found += _of_table(disk, target, partitions=partitions)
    found += _of_kept_stacks(scheme, named, partitions=partitions)
    if partitions:
        found += _of_taken_names(scheme, named)
    found += _of_images(deployment, disks)
    found += _of_config_drive(deployment, disks)
    return found


def _of_kept_stacks(scheme: Scheme, named: set[str], *, partitions: bool) -> Iterator[str]:
    """Arrays and volumes that are not made must be there, and lie on no disk but those named."""
    nodes = [(a.node, a.members) for a in scheme.arrays]
    groups = {g.name: g.physical_volumes for g in scheme.groups}
    nodes += [(v.node, groups.get(v.group, ())) for v in scheme.volumes]
    for node, parts in nodes:
        if partitions and is_made(scheme, parts):
            continue
        below = disks_below(node)
        if not below:
            yield f"{node} is to be there already, and is not: assemble or activate it first"
        elif others := sorted(below - named):
            yield (f"{node} is to be there already, and lies on "
                   f"{', '.join(f'/dev/{name}' for name in others)}, which the scheme does not "
                   "name: it is another one of that name")  # fmt: skip


def _written_nodes(deployment: Deployment) -> set[str]:
    """Nodes of partitions that are overwritten whatever becomes of their tables."""
    written = {image.node for image in deployment.images}
    written |= {fs.node for fs in deployment.scheme.filesystems if not fs.keep_data}
    drive = deployment.scheme.config_drive_node()
    return written if drive is None else written | {drive}


def _same_disk(disks: Mapping[str, HostDisk]) -> Iterator[str]:
    by_name: dict[str, str] = {}
    for device, disk in disks.items():
        first = by_name.setdefault(disk.name, device)
        if first != device:
            yield f"{device} and {first} are the same disk"


def _of_distinct_names(deployment: Deployment, disks: Mapping[str, HostDisk]) -> Iterator[str]:
    known = {name for disk in disks.values() for name in (disk.device, disk.path)}
    for name in deployment.distinct_disks:
        if name not in known:
            yield f"{name} is said to be a disk of its own, and is none of the scheme's disks"


def _of_disk(
    disk: HostDisk, target: TargetDisk, named: set[str], distinct: Collection[str]
) -> list[str]:
    device = disk.device
    if disk.parent is not None:
        return [f"{device} is a partition of /dev/{disk.parent}: a scheme names whole disks"]
    found = []
    if disk.runs_host:
        found.append(f"{device} is the disk that this host runs from")
    if disk.read_only:
        found.append(f"{device} is read-only")
    if disk.size_bytes == 0:
        found.append(f"{device} has no medium")
    if disk.name.startswith("dm-") and target.label != "none":
        found.append(f"{device} is made by device-mapper, and the kernel makes no partitions of "
                     "that: name a disk, or write an image onto the whole of it")  # fmt: skip
    found += [f"{device} is in use: {use}" for use in disk.uses]
    if is_firmware_raid(disk.content):
        found.append(f"{device} is held: it belongs to an array of its controller's firmware "
                     f"({disk.content.kind}), which other disks may have a part in; name the array "
                     f"that mdadm makes of it, or take the disk out first (wipefs --all {device})"
                     )  # fmt: skip
    maps = [stacked.node for stacked in disk.stacked if stacked.kind == "multipath"]
    if maps:
        return [*found, f"{device} is one of several paths to a disk: name {maps[-1]}"]
    if disk.other_paths and not {device, disk.path} & set(distinct):
        names = ", ".join(f"/dev/{name}" for name in disk.other_paths)
        found.append(f"{device} is the same disk as {names}, by another path, and nothing tells "
                     "who uses it there: have multipathd assemble it, and name its /dev/mapper/...;"
                     " where they are several disks to which their maker gave one identifier, say "
                     f"so by --distinct-disk {device}, or distinct_disks in fuel-agent's file"
                     )  # fmt: skip
    for stacked in disk.stacked:
        others = sorted(stacked.disks - named)
        if others:
            found.append(f"{device} is in use: {stacked.node} lies on it, and also on "
                         f"{', '.join(f'/dev/{name}' for name in others)}, which the scheme does "
                         "not name")  # fmt: skip
        elif stacked.kind == "other":
            found.append(f"{device} is in use: {stacked.node} lies on it")
        elif target.policy == "clean" and stacked.kind == "lvm" and find_tool("dmsetup") is None:
            found.append(f"{device} is in use: {stacked.node} lies on it, and dmsetup, which could "
                         "take it down, is not installed")  # fmt: skip
    if not found:
        # A disk is held by what lies on it: then what nothing lies on tells whether it is used.
        nodes = disk.leaves if disk.stacked else (disk.path,)
        found += [
            f"{device} is in use: somebody holds {node}, perhaps in another mount namespace"
            for node in nodes if is_claimed(node)
        ]  # fmt: skip
    return found


def _of_table(disk: HostDisk, target: TargetDisk, *, partitions: bool) -> Iterator[str]:
    device = disk.device
    if target.label == "mbr" and disk.size_bytes > mbr.LARGEST_BYTES:
        yield f"{device}: an mbr does not reach the end of {format_size(disk.size_bytes)}"
    if target.label != "none" and target.policy == "clean":
        end = last_byte(target.label, disk.size_bytes, disk.sector_bytes)
        for p in target.partitions:
            if p.end_bytes > end:
                yield (f"{p.node} would end at {format_size(p.end_bytes)}, and {device} has room "
                       f"up to {format_size(end)}")  # fmt: skip
            if (p.begin_bytes | p.size_bytes) % disk.sector_bytes:
                yield (f"{p.node} does not begin and end at a sector of {disk.sector_bytes} bytes, "
                       f"as {device} has them")  # fmt: skip
    if target.policy == "clean" and partitions:
        return
    if disk.damaged:
        yield f"{device}: its partition table cannot be read: {disk.damaged}"
    elif target.label != "none":
        exact = target.policy != "keep"
        yield from (f"{device}: {text}" for text in differences(disk, target, exact=exact))


def differences(disk: HostDisk, target: TargetDisk, *, exact: bool) -> Iterator[str]:
    """How the table of a disk differs from the wanted one.

    Where it is not `exact`, other partitions may be there, and those of the scheme may lie
    elsewhere and be larger: it is enough that they are there.
    """
    if disk.label != target.label:
        yield f"it has {_table_name(disk.label)}, and the scheme wants {_table_name(target.label)}"
        return
    for wanted in target.partitions:
        found = disk.partition(wanted.number)
        if found is None:
            yield f"it has no partition {wanted.number}, which the scheme keeps"
            continue
        if exact:
            here = (found.begin_bytes, found.size_bytes)
            if here != (wanted.begin_bytes, wanted.size_bytes):
                yield (f"partition {wanted.number} lies at {here[0]} with {here[1]} bytes, the "
                       f"scheme wants {wanted.begin_bytes} with {wanted.size_bytes}")  # fmt: skip
            if not _is_of_type(found, wanted, target):
                yield (f"partition {wanted.number} is of type {found.type_id}, the scheme wants "
                       f"{type_id(wanted, target.label)}")  # fmt: skip
            continue
        if found.content.kind == "extended" and wanted.type != "extended":
            yield f"partition {wanted.number} is an extended one: it holds the others"
        elif _is_boot_place(wanted, target) and not _is_of_type(found, wanted, target):
            # GRUB is written there without a look at what it holds.
            yield (f"partition {wanted.number} is of type {found.type_id}, and is to hold the boot "
                   f"loader as {type_id(wanted, target.label)}")  # fmt: skip
        elif found.size_bytes < wanted.size_bytes:
            yield (f"partition {wanted.number} has {format_size(found.size_bytes)}, the scheme "
                   f"wants {format_size(wanted.size_bytes)}")  # fmt: skip
    if exact:
        numbers = {p.number for p in target.partitions}
        for p in disk.partitions:
            if p.number not in numbers:
                yield f"it has a partition {p.number}, which the scheme does not have"


def _is_of_type(found: FoundPartition, wanted: TargetPartition, target: TargetDisk) -> bool:
    return found.type_id.upper().removeprefix("0X") == type_id(wanted, target.label).upper()


def _is_boot_place(wanted: TargetPartition, target: TargetDisk) -> bool:
    is_place = wanted.type in ("bios-boot", "esp") or "bios_grub" in wanted.flags
    return target.boot_loader and is_place


def _table_name(label: str) -> str:
    return f"a {label} table" if label else "no partition table"


def _of_images(deployment: Deployment, disks: Mapping[str, HostDisk]) -> Iterator[str]:
    sizes = {device: disk.size_bytes for device, disk in disks.items()}
    for image in deployment.images:
        room = node_size(deployment.scheme, image.node, sizes)
        if wrong := list(_wrong_addresses(image)):
            yield from wrong
            continue
        size = image.raw_size_bytes
        places = [local_path(uri) for uri in image.uris]
        here = [place for place in places if place is not None and os.path.exists(place)]
        name = shown_address(image.uris[0]) if image.uris else ""
        if places and not here and None not in places:
            yield f"there is no image {places[0]}"
        elif here and size is None and image.container == "raw":
            size = os.stat(here[0]).st_size
        if None not in places:
            yield from _of_other_sizes(image, [place for place in here if place is not None])
        map_place = local_path(image.block_map_uri) if image.block_map_uri else None
        if len(places) == 1 and map_place is not None and not os.path.exists(map_place):
            yield f"there is no block map {map_place}"
        if image.uris and not deployment.allow_unverified and not _is_verifiable(image):
            yield f"{name}: nothing says what its bytes must be: no digest, no block map"
        if size is not None and room is not None and size > room:
            yield (f"{name} has {format_size(size)} ({size} bytes), and {image.node} has "
                   f"room for {format_size(room)} ({room} bytes)")  # fmt: skip


def _of_other_sizes(image: ImageRequest, here: Sequence[str]) -> Iterator[str]:
    """Why files of this host, and there are no other addresses, cannot be the image."""
    wanted = image.container_size_bytes
    sizes = {place: os.stat(place).st_size for place in here}
    if wanted is not None and wanted not in sizes.values():
        for place, size_bytes in sizes.items():
            yield f"{place} has {size_bytes} bytes, and its metadata say {wanted}: it was cut " \
                  "short, or is another one"  # fmt: skip


def _wrong_addresses(image: ImageRequest) -> Iterator[str]:
    """Why an image can never be read; nothing is asked of a server."""
    for uri in (*image.uris, *([image.block_map_uri] if image.block_map_uri else [])):
        try:
            source_of(uri, stall_s=1.0, redactor=Redactor())
        except SourceError as e:
            yield f"{e}"


def _of_config_drive(deployment: Deployment, disks: Mapping[str, HostDisk]) -> Iterator[str]:
    """A ready image of a config drive must be there, and fit."""
    file, node = deployment.config_drive_file, deployment.scheme.config_drive_node()
    if file is None or node is None or deployment.seed:
        return
    try:
        size = os.stat(file).st_size
    except OSError as e:
        yield f"the config drive {file} cannot be read: {e.strerror}"
        return
    sizes = {device: disk.size_bytes for device, disk in disks.items()}
    room = node_size(deployment.scheme, node, sizes)
    if room is not None and size > room:
        yield (f"the config drive {file} has {format_size(size)}, and {node} has room for "
               f"{format_size(room)}")  # fmt: skip


def _of_taken_names(scheme: Scheme, named: set[str]) -> Iterator[str]:
    """Names of arrays and groups that other disks have already."""
    for array in scheme.arrays:
        name = array.node.removeprefix("/dev/")
        if is_made(scheme, array.members) and (below := disks_of(name)) - named:
            yield f"{array.node} is an array of {', '.join(sorted(below))} already"
    made = {g.name for g in scheme.groups if is_made(scheme, g.physical_volumes)}
    if not made or find_tool("vgs") is None:
        return
    listed = run(["vgs", "--noheadings", "--options", "vg_name,pv_name"], capture=True,
                 check=False, timeout_s=TOOL_TIMEOUT_S)  # fmt: skip
    for line in listed.text.splitlines():
        group, _, node = line.strip().partition(" ")
        others = disks_of(os.path.realpath(node.strip()).removeprefix("/dev/")) - named
        if group in made and others:
            yield f'there is a volume group "{group}" already, on {", ".join(sorted(others))}'


def _is_verifiable(image: ImageRequest) -> bool:
    return bool(image.raw_md5 or image.raw_sha256 or image.container_md5 or image.container_sha256
                or image.block_map_uri)  # fmt: skip


def missing_abilities(deployment: Deployment) -> Iterator[str]:
    """What this host lacks for a scheme: programs, and drivers of the kernel."""
    scheme = deployment.scheme
    with_image = {image.node for image in deployment.images}
    made = [fs for fs in scheme.filesystems if fs.node not in with_image and not fs.keep_data]
    tools = [MKFS_TOOLS[fs.type] for fs in made if fs.type in MKFS_TOOLS]
    tools += ["sfdisk", "partx", "blkid"]
    if scheme.arrays:
        tools.append("mdadm")
        if not kernel_has("md-mod", Path("/proc/mdstat")):
            yield "the kernel of this host has no software RAID (md): no array can be made here"
    if scheme.groups:
        tools += ["pvcreate", "vgcreate", "lvcreate"]
        if not kernel_has("dm-mod", Path("/sys/class/misc/device-mapper")):
            yield "the kernel of this host has no device-mapper: no logical volume can be made here"
    if "uefi" in deployment.firmware:
        tools += ["mkfs.vfat", "mcopy"]
    for fs in made:
        if fs.type not in MKFS_TOOLS:
            yield f"{fs.node}: {fs.type} is made as an image only, and there is none for it"
    for tool in dict.fromkeys(tools):
        if find_tool(tool) is None:
            yield f"{tool} is not installed on this host (package {TOOL_PACKAGES[tool]})"


def kernel_has(module: str, sign: Path) -> bool:
    """Whether the running kernel has a driver, built in, loaded or as a module to load."""
    if sign.exists():
        return True
    directory = Path("/lib/modules", platform.release())
    for name in ("modules.dep", "modules.builtin"):
        try:
            if f"/{module}.ko" in (directory / name).read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False
