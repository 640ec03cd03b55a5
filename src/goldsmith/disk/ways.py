"""How each part of a disk is made: offline in a file, attached to this kernel, or in the guest."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.disk import attached
from goldsmith.disk.model import Layout
from goldsmith.errors import HostError


class Way(enum.Enum):
    """One of the three implementations of assembly."""

    OFFLINE = "offline"
    ATTACHED = "attached"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Choice:
    """The way of one part, and why it is not the one before it."""

    way: Way
    reason: str = ""


WhyNot = Callable[[str], str | None]

_NEEDS_DRIVER: Final = ("xfs",)
"""Debian 12 has no tool that fills them in a file (mkfs.xfs -p knows no attributes)."""


def ways(layout: Layout, why_not: WhyNot = attached.why_not) -> Mapping[str, Choice]:
    """The way of every partition with a file system, of every array, group and logical volume.

    Keys are names as in `Volume.name`. `why_not` says of a type why this host cannot mount it.
    """
    chosen: dict[str, Choice] = {}
    for volume in layout.volumes():
        if volume.kind == "raid":
            chosen[volume.name] = Choice(Way.GUEST, "software RAID needs the md driver")
        elif volume.kind == "logical_volume":
            chosen[volume.name] = Choice(Way.GUEST, "LVM needs the device mapper")
        elif volume.filesystem is not None:
            chosen[volume.name] = _of_type(volume.filesystem.type, why_not)
    for group in layout.volume_groups:
        chosen[group.name] = Choice(Way.GUEST, "LVM needs the device mapper")
    return chosen


def _of_type(type: str, why_not: WhyNot) -> Choice:
    if type not in _NEEDS_DRIVER:
        return Choice(Way.OFFLINE)
    reason = why_not(type)
    if reason is None:
        return Choice(Way.ATTACHED, f"{type} can only be filled by its driver")
    return Choice(Way.GUEST, f"{type} can only be filled by its driver, and {reason}")


def needs_guest(layout: Layout, why_not: WhyNot = attached.why_not) -> bool:
    """Whether something of this layout can be made in the guest only."""
    return any(choice.way is Way.GUEST for choice in ways(layout, why_not).values())


def filled_in_guest(layout: Layout, why_not: WhyNot = attached.why_not) -> frozenset[str]:
    """The volumes, by name, whose file system this host cannot fill, wherever it lies."""
    return frozenset(
        volume.name
        for volume in layout.volumes()
        if volume.filesystem is not None
        and _of_type(volume.filesystem.type, why_not).way is Way.GUEST
    )


def require_no_guest(layout: Layout, chosen: Mapping[str, Choice]) -> None:
    """Raise HostError that names everything which needs the guest."""
    needed = [f'"{name}" ({choice.reason})' for name, choice in chosen.items()
              if choice.way is Way.GUEST]  # fmt: skip
    if needed:
        raise HostError(
            f"the disk needs the guest for {', '.join(needed)}",
            hint="put plain partitions of ext4, btrfs, squashfs or erofs in the layout",
        )
