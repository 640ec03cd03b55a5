"""How large what a scheme makes becomes: arrays and groups follow from their parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from goldsmith.deploy.scheme import Array, Group, Scheme
from goldsmith.disk import stacking
from goldsmith.disk.disk_plan import EXTENT_BYTES
from goldsmith.disk.mbr import FIRST_LOGICAL

GPT_TAIL_SECTORS: Final = 33
LEAST_MEMBERS: Final = {"0": 2, "1": 2, "5": 3, "6": 4, "10": 2}


def node_size(scheme: Scheme, node: str, disk_bytes: dict[str, int] | None = None) -> int | None:
    """The size of what a node will be; None for one that the scheme does not make.

    A whole disk has the size in `disk_bytes`. That of an array is what mdadm leaves at least.
    """
    partition = scheme.partition(node)
    if partition is not None:
        return partition.size_bytes
    if (array := scheme.array(node)) is not None:
        return array_size(scheme, array)
    if (volume := scheme.volume(node)) is not None:
        return -(-volume.size_bytes // EXTENT_BYTES) * EXTENT_BYTES
    return (disk_bytes or {}).get(node)


def array_size(scheme: Scheme, array: Array) -> int:
    """What an array holds; 0 where a member is not of the scheme."""
    members = [node_size(scheme, member) or 0 for member in array.members]
    if not members or array.level not in LEAST_MEMBERS:
        return 0
    return stacking.capacity(array.level, len(members), stacking.component(min(members)))


def group_bytes(scheme: Scheme, group: Group) -> int:
    """What a group has for its logical volumes: whole extents behind all copies of metadata."""
    total = 0
    for volume in scheme.physical_volumes:
        if volume.node not in group.physical_volumes:
            continue
        metadata = volume.metadata_bytes * max(volume.metadata_copies, 1)
        size = (node_size(scheme, volume.node) or 0) - metadata
        total += stacking.extents_of(size) * EXTENT_BYTES
    return total


def last_byte(label: str, size_bytes: int, sector_bytes: int = 512) -> int:
    """The end of what partitions may use of a disk."""
    return size_bytes - (GPT_TAIL_SECTORS * sector_bytes if label == "gpt" else 0)


def is_logical(label: str, number: int) -> bool:
    """Whether a partition of this number lies in an extended one."""
    return label == "mbr" and number >= FIRST_LOGICAL


def policies_below(scheme: Scheme, nodes: Iterable[str]) -> set[str]:
    """The policies of the disks that these nodes lie on."""
    policy = {p.node: disk.policy for disk in scheme.disks for p in disk.partitions}
    found: set[str] = set()
    for node in nodes:
        array = scheme.array(node)
        if array is not None:
            found |= policies_below(scheme, (*array.members, *array.spares))
        elif node in policy:
            found.add(policy[node])
    return found


def is_made(scheme: Scheme, nodes: Iterable[str]) -> bool:
    """Whether an array or group of these nodes is made: on tables that stay it is there already."""
    return policies_below(scheme, nodes) <= {"clean"}
