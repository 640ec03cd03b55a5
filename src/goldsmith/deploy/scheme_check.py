"""What is wrong with a scheme by itself, whatever the disks are: every reason at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from goldsmith.deploy.copying.images import CONTAINERS
from goldsmith.deploy.copying.sources import shown_address
from goldsmith.deploy.scheme import (
    SWAP_MOUNT,
    Deployment,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
)
from goldsmith.deploy.scheme_sizes import (
    LEAST_MEMBERS,
    group_bytes,
    is_logical,
    is_made,
    policies_below,
)
from goldsmith.disk import mbr
from goldsmith.disk.layout import FILE_SYSTEM_TYPES, GPT_MAX_PARTITIONS, LABEL_LIMITS
from goldsmith.disk.partition_table import TYPE_GUIDS
from goldsmith.errors import LayoutError
from goldsmith.units import format_size

TYPES: Final = (*TYPE_GUIDS, "extended")
_ARRAY_NODE: Final = re.compile(r"/dev/md([0-9]{1,7}|_d[0-9]{1,7}|[_/][A-Za-z0-9][\w.-]*)")
"""mdadm(8), "DEVICE NAMES": it makes no array of another name."""


def require_sound(deployment: Deployment) -> None:
    """Raise LayoutError with every finding of `check_scheme`."""
    if findings := check_scheme(deployment):
        raise LayoutError(findings)


def check_scheme(deployment: Deployment) -> list[str]:
    """Every reason why this cannot be carried out anywhere; [] is a sound one."""
    scheme = deployment.scheme
    found = list(_check_names(scheme))
    for disk in scheme.disks:
        found.extend(_check_disk(disk))
    found.extend(_check_stacks(scheme))
    found.extend(_check_filesystems(scheme))
    found.extend(_check_images(deployment))
    found.extend(_check_boot(deployment))
    return list(dict.fromkeys(found))


def _twice(words: Iterable[str]) -> list[str]:
    return [word for word, count in Counter(words).items() if count > 1]


def _check_names(scheme: Scheme) -> Iterator[str]:
    if not scheme.disks:
        yield "the scheme names no disk"
    for device in _twice(disk.device for disk in scheme.disks):
        yield f"{device} is described twice"
    made = [*(p.node for p in scheme.partitions()), *(a.node for a in scheme.arrays),
            *(v.node for v in scheme.volumes)]  # fmt: skip
    for node in _twice(made):
        yield f"{node} is made twice"
    for group in _twice(group.name for group in scheme.groups):
        yield f'volume group "{group}" is made twice'
    if sum(p.config_drive for p in scheme.partitions()) > 1:
        yield "there are two partitions for a config drive"


def _check_disk(disk: TargetDisk) -> Iterator[str]:
    where = disk.device
    if disk.label == "none":
        if disk.partitions:
            yield f"{where}: a disk without a partition table of ours has no partitions"
        if disk.policy != "clean":
            yield (f'{where}: an image of the whole disk takes all that is on it, and the policy '
                   f'is "{disk.policy}"')  # fmt: skip
        return
    if not disk.partitions:
        yield f"{where}: it gets no partitions"
    if disk.label == "gpt" and len(disk.partitions) > GPT_MAX_PARTITIONS:
        yield f"{where}: a GPT has at most {GPT_MAX_PARTITIONS} partitions"
    for partition in disk.partitions:
        for text in _check_partition(partition, disk):
            yield f"{partition.node}: {text}"
    for number in _twice(str(p.number) for p in disk.partitions):
        yield f"{where}: two partitions have number {number}"
    yield from _check_places(disk)


def _check_partition(partition: TargetPartition, disk: TargetDisk) -> Iterator[str]:
    if partition.device != disk.device:
        yield f"it is listed below {disk.device}"
    if partition.number < 1:
        yield "its number is below 1"
    if partition.type not in TYPES:
        yield f'"{partition.type}" is not a type of partition: {", ".join(TYPES)}'
    if partition.type == "extended" and disk.label != "mbr":
        yield "only an mbr has extended partitions"
    if partition.type == "bios-boot" and disk.label == "mbr":
        yield "on an mbr disk the boot loader lies before the first partition"
    if disk.label == "mbr" and mbr.ENTRIES < partition.number < mbr.FIRST_LOGICAL:
        yield f"an mbr has {mbr.ENTRIES} entries"
    if partition.size_bytes <= 0:
        yield "it has no size"
    if partition.begin_bytes % 512 or partition.size_bytes % 512:
        yield "it does not begin and end at a sector"
    if set(partition.label or "") & set('"\\\n\r\0'):
        yield "its name has a quote, backslash or line end"
    if partition.keep_data and disk.policy == "clean":
        yield 'its data is to be kept, and the policy of its disk is "clean"'


def _check_places(disk: TargetDisk) -> Iterator[str]:
    """Partitions do not overlap; logical ones lie in the extended one."""
    if disk.policy == "keep":
        return  # the places are those of the disk
    extended = next((p for p in disk.partitions if p.type == "extended"), None)
    plain = [p for p in disk.partitions if p is not extended]
    for logical in (p for p in plain if is_logical(disk.label, p.number)):
        if extended is None:
            yield f"{logical.node} is a logical partition, and there is no extended one"
        elif (
            not extended.begin_bytes
            < logical.begin_bytes
            <= logical.end_bytes
            <= (extended.end_bytes)
        ):
            yield f"{logical.node} does not lie within {extended.node}"
    for group in (plain, [p for p in disk.partitions if not is_logical(disk.label, p.number)]):
        ordered = sorted(group, key=lambda p: p.begin_bytes)
        for before, after in pairwise(ordered):
            if after.begin_bytes < before.end_bytes:
                yield f"{after.node} overlaps {before.node}"


def _check_stacks(scheme: Scheme) -> Iterator[str]:
    partitions = {p.node for p in scheme.partitions() if p.type != "extended"}
    arrays = {array.node for array in scheme.arrays}
    for array in scheme.arrays:
        if not _ARRAY_NODE.fullmatch(array.node):
            yield f"{array.node} is not a name of an array: md0, or md/NAME"
        least = LEAST_MEMBERS.get(array.level)
        if least is None:
            yield f'{array.node}: "{array.level}" is not a level: {", ".join(LEAST_MEMBERS)}'
        elif len(array.members) < least:
            yield f"{array.node}: level {array.level} needs at least {least} members"
        if array.level == "0" and array.spares:
            yield f"{array.node}: level 0 has no use for spares"
        for member in (*array.members, *array.spares):
            if member not in partitions:
                yield f"{array.node}: its member {member} is not a partition of the scheme"
    physical = [volume.node for volume in scheme.physical_volumes]
    for node in physical:
        if node not in partitions | arrays:
            yield f"{node} is to be used by LVM, and is no partition or array of the scheme"
    for group in scheme.groups:
        for node in group.physical_volumes:
            if node not in physical:
                yield f'volume group "{group.name}": {node} is not a physical volume of the scheme'
    names = {group.name: group for group in scheme.groups}
    for volume in scheme.volumes:
        if volume.group not in names:
            yield f'logical volume "{volume.name}": there is no volume group "{volume.group}"'
        if volume.size_bytes <= 0:
            yield f'logical volume "{volume.group}/{volume.name}" has no size'
    for group in scheme.groups:
        wanted = sum(v.size_bytes for v in scheme.volumes if v.group == group.name)
        has = group_bytes(scheme, group)
        if wanted > has and is_made(scheme, group.physical_volumes):
            yield (f'the logical volumes of "{group.name}" take {format_size(wanted)}, the group '
                   f"has {format_size(has)}")  # fmt: skip
    members = [node for array in scheme.arrays for node in (*array.members, *array.spares)]
    in_groups = [node for group in scheme.groups for node in group.physical_volumes]
    for node in _twice([*members, *in_groups]):
        yield f"{node} is a part of two things"
    yield from _check_mixed(scheme)


def _check_mixed(scheme: Scheme) -> Iterator[str]:
    """An array or group of disks that are cleaned and of others that are not cannot be."""
    parts = [(a.node, (*a.members, *a.spares)) for a in scheme.arrays]
    parts += [(f'volume group "{g.name}"', g.physical_volumes) for g in scheme.groups]
    for what, nodes in parts:
        found = policies_below(scheme, nodes)
        if "clean" in found and len(found) > 1:
            yield f"{what} lies on disks of different policies: {', '.join(sorted(found))}"


def _check_filesystems(scheme: Scheme) -> Iterator[str]:
    nodes, inside = scheme.nodes(), _parts(scheme)
    for fs in scheme.filesystems:
        for text in _check_filesystem(fs, nodes, inside):
            yield f"{fs.node}: {text}"
    for node in _twice(fs.node for fs in scheme.filesystems):
        yield f"{node} has two file systems"
    for mount in _twice(fs.mount for fs in scheme.filesystems if fs.is_mounted and fs.mount):
        yield f"two file systems are mounted at {mount}"


def _parts(scheme: Scheme) -> set[str]:
    """Nodes that are parts of something else."""
    parts = {node for array in scheme.arrays for node in (*array.members, *array.spares)}
    return parts | {volume.node for volume in scheme.physical_volumes}


def _check_filesystem(
    fs: TargetFilesystem, nodes: Sequence[str], parts: Collection[str]
) -> Iterator[str]:
    if fs.node not in nodes:
        yield "a file system is to lie on it, and the scheme does not make it"
    elif fs.node in parts:
        yield "it is a part of an array or volume group, and has no file system of its own"
    if fs.type not in FILE_SYSTEM_TYPES:
        yield f'"{fs.type}" is not a file system: {", ".join(FILE_SYSTEM_TYPES)}'
    mount = fs.mount
    if mount is not None and mount != SWAP_MOUNT:
        if not mount.startswith("/") or {".", ".."} & set(mount.split("/")):
            yield f'mount point "{mount}" is not an absolute path'
        elif not mount.isprintable():
            yield f"mount point {mount!r} is not a plain path"
    limit = LABEL_LIMITS.get(fs.type)
    if limit is not None and len(fs.label.encode()) > limit:
        yield f'the label "{fs.label}" is longer than the {limit} bytes of {fs.type}'


def _check_images(deployment: Deployment) -> Iterator[str]:
    scheme, nodes = deployment.scheme, deployment.scheme.nodes()
    parts = _parts(scheme)
    for image in deployment.images:
        name = shown_address(image.uris[0]) if image.uris else "an image without an address"
        if not image.uris:
            yield f"{image.node}: its image has no address"
        if image.node not in nodes:
            yield f"{name}: the scheme does not make {image.node}"
        elif image.node in parts:
            yield f"{name}: {image.node} is a part of an array or volume group"
        if image.container not in CONTAINERS:
            yield f'{name}: container "{image.container}" is none of {", ".join(CONTAINERS)}'
        fs = scheme.by_node(image.node)
        if fs is not None and fs.keep_data:
            yield f"{name}: what lies on {image.node} is to be kept"
        partition = scheme.partition(image.node)
        if partition is not None and partition.keep_data:
            yield f"{name}: the data of {image.node} is to be kept"
        if fs is not None and image.format and fs.type != image.format:
            yield f"{name} holds {image.format}, and {image.node} is to be {fs.type}"
    for node in _twice(image.node for image in deployment.images):
        yield f"two images are to be written to {node}"
    has_drive = deployment.config_drive is not None or deployment.config_drive_file is not None
    drive = scheme.partition(scheme.config_drive_node() or "")
    if has_drive and not deployment.seed and drive is not None and drive.keep_data:
        yield f"{drive.node}: its data is to be kept, and it gets the config drive"


def _check_boot(deployment: Deployment) -> Iterator[str]:
    scheme = deployment.scheme
    for firmware in deployment.firmware:
        if firmware not in ("bios", "uefi"):
            yield f'"{firmware}" is not a firmware: bios, uefi'
    if not deployment.firmware:
        return
    if scheme.root() is None:
        yield "no file system is mounted at /, so nothing can boot"
    disks = scheme.boot_disks()
    if not disks:
        yield "no disk gets the boot loader"
    if "bios" in deployment.firmware:
        for disk in disks:
            if disk.label == "gpt" and all(p.type != "bios-boot" for p in disk.partitions):
                yield f"{disk.device}: a GPT that BIOS boots needs a partition of type bios-boot"
    if "uefi" in deployment.firmware and all(p.type != "esp" for p in scheme.partitions()):
        yield "UEFI needs a partition of type esp"
