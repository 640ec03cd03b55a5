"""Which partitions of an MBR are primary and which logical, and the numbers that they get.

Four entries is all that an MBR has. With more partitions one entry becomes an extended partition,
made here without being asked for; the logical ones in it are numbered from 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from goldsmith.disk.model import Layout, Partition

ENTRIES: Final = 4
FIRST_LOGICAL: Final = 5
# fdisk's own limit (libfdisk 2.38, MAXIMUM_PARTS).
MAX_PARTITIONS: Final = 60
# 32 bits of 512-byte sectors.
LARGEST_BYTES: Final = (2**32 - 1) * 512


@dataclass(frozen=True, slots=True)
class Numbering:
    """The number of each partition in order; `extended` is that of the extended one, or None."""

    numbers: tuple[int, ...]
    extended: int | None

    def is_logical(self, index: int) -> bool:
        """Whether the partition at this index is a logical one."""
        return self.numbers[index] >= FIRST_LOGICAL


def logical_flags(partitions: Sequence[Partition]) -> list[bool]:
    """For each partition whether it becomes a logical one.

    What is said counts. When nothing is said to be logical and there are more than four, the
    fourth and all after it become logical.
    """
    automatic = len(partitions) > ENTRIES and not any(p.logical for p in partitions)
    return [
        bool(p.logical) if p.logical is not None or not automatic else index >= ENTRIES - 1
        for index, p in enumerate(partitions)
    ]


def problems(partitions: Sequence[Partition]) -> list[str]:
    """Why these partitions cannot all stand in one MBR."""
    logical = logical_flags(partitions)
    found = []
    entries = logical.count(False) + any(logical)
    if entries > ENTRIES:
        found.append(
            f"an mbr has {ENTRIES} entries, {entries} are wanted (the extended partition takes one)"
        )
    if True in logical:
        first, last = logical.index(True), len(logical) - 1 - logical[::-1].index(True)
        if not all(logical[first : last + 1]):
            found.append("the logical partitions are not next to each other")
    if len(partitions) > MAX_PARTITIONS:
        found.append(f"{len(partitions)} partitions are more than {MAX_PARTITIONS}")
    return found


def number(partitions: Sequence[Partition]) -> Numbering:
    """The numbers of the partitions of a valid layout."""
    numbers: list[int] = []
    extended = None
    primary, next_logical = 1, FIRST_LOGICAL
    for is_logical in logical_flags(partitions):
        if is_logical and extended is None:
            extended = primary
            primary += 1
        if is_logical:
            numbers.append(next_logical)
            next_logical += 1
        else:
            numbers.append(primary)
            primary += 1
    return Numbering(tuple(numbers), extended)


def bootable_index(layout: Layout) -> int | None:
    """The partition with the boot flag: the one that is said to be, else that of /boot or /.

    Some firmware boots no disk without one. None where no partition holds a system.
    """
    for index, partition in enumerate(layout.partitions):
        if partition.bootable:
            return index
    logical = logical_flags(layout.partitions)
    mounts = {p.mount: index for index, p in enumerate(layout.partitions)
              if p.bootable is None and not logical[index]}  # fmt: skip
    return mounts.get("/boot", mounts.get("/"))
