"""How large the disk of an element image is: upstream's arithmetic, and never less than it needs.

Source: `specs/diskimage-builder.md`, A10.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.disk_wishes import SIZE_HINT, STEP_BYTES, DiskWishes
from goldsmith.disk.disk_plan import DiskPlan
from goldsmith.disk.filesystems import ext4_geometry
from goldsmith.disk.model import ExactSize, FileSystem, Layout
from goldsmith.disk.planner import plan
from goldsmith.disk.usage import BLOCK_BYTES, TreeUsage
from goldsmith.errors import LayoutError
from goldsmith.units import KIB, MIB, format_size

_FILLED: Final = Fraction(6, 10)
"""How much of the disk the tree takes."""
_EFI_BYTES: Final = 525 * MIB
_REPORTED_BYTES: Final = 10 * MIB
_REPORTED_LINES: Final = 10_000


def wanted_size(wishes: DiskWishes, usage: Mapping[str, TreeUsage]) -> int:
    """The size of the disk in bytes; one that the user names is kept."""
    if wishes.size_bytes is not None:
        return wishes.size_bytes
    taken_kib = sum(one.blocks for one in usage.values()) * BLOCK_BYTES // KIB
    if wishes.extra_bytes is not None:
        size_bytes = int(taken_kib + Fraction(wishes.extra_bytes, KIB)) * KIB
    else:
        size_bytes = int(taken_kib / _FILLED) * KIB
    if wishes.root.type == "ext4":
        size_bytes += wishes.journal_mib * MIB
    if wishes.has_efi:
        size_bytes += _EFI_BYTES
    return _up(size_bytes)


def _up(size_bytes: int) -> int:
    return -(-size_bytes // STEP_BYTES) * STEP_BYTES


def plan_disk(wishes: DiskWishes, usage: Mapping[str, TreeUsage]) -> DiskPlan:
    """Give everything its place on a disk of the wanted size; raises LayoutError.

    A disk of computed size grows where partitions of fixed sizes, or many small files, need more.
    """
    size_bytes = wanted_size(wishes, usage)
    layout = wishes.layout(size_bytes)
    if wishes.size_bytes is None and wishes.disk.size_bytes is None:
        layout = _with_fitting_journal(layout, wishes)
        least = _planned(wishes, replace(layout, size_bytes=None), usage).size_bytes
        if least > size_bytes:
            layout = replace(layout, size_bytes=_up(least))
    return _planned(wishes, layout, usage)


def _planned(wishes: DiskWishes, layout: Layout, usage: Mapping[str, TreeUsage]) -> DiskPlan:
    align = next((t.align_bytes for t in wishes.devices.tables if t.base == "image0"), MIB)
    sector_bytes = wishes.disk.block_size_bytes
    try:
        return plan(layout, usage, sector_bytes=sector_bytes, alignment_bytes=align)
    except LayoutError as e:
        raise LayoutError(e.findings, hint=SIZE_HINT) from e


def empty_plan(wishes: DiskWishes, size_bytes: int) -> DiskPlan:
    """The plan of a disk whose file systems are empty, of this size unless it has one itself."""
    return _planned(wishes, wishes.layout(size_bytes), {})


def _with_fitting_journal(layout: Layout, wishes: DiskWishes) -> Layout:
    """A journal that nobody has asked for gives way where the root is too small for it."""
    if wishes.journal_is_given or layout.size_bytes is None:
        return layout

    def fitting(filesystem: FileSystem | None, size_bytes: int) -> FileSystem | None:
        if filesystem is None or filesystem.journal_mib is None:
            return filesystem
        inodes = ext4_geometry.inode_count(size_bytes, 0, filesystem.bytes_per_inode)
        shape = ext4_geometry.geometry(size_bytes, inodes, filesystem.type, filesystem.journal_mib)
        return filesystem if shape is not None else replace(filesystem, journal_mib=None)

    fixed = sum(p.size.size_bytes for p in layout.partitions if isinstance(p.size, ExactSize))
    left = layout.size_bytes - fixed - 2 * MIB
    partitions = tuple(
        replace(p, filesystem=fitting(
            p.filesystem, p.size.size_bytes if isinstance(p.size, ExactSize) else left
        ))
        for p in layout.partitions
    )  # fmt: skip
    return replace(layout, partitions=partitions)


def usage_report(tree: Path, *, everything: bool) -> Iterator[str]:
    """The lines of DIB_SHOW_IMAGE_USAGE: what takes most in a tree, the largest first."""
    title = "Image size report" + ("" if everything else " (files > 10MiB)")
    yield "=" * len(title)
    yield title
    yield "=" * len(title)
    least = 0 if everything else _REPORTED_BYTES
    found = ((size, path) for path, size in _sizes(tree).items() if size >= least)
    for size, path in heapq.nlargest(_REPORTED_LINES, found):
        yield f"{format_size(size):>10} {path}"
    yield ""
    yield "===== end image size report ====="


def _sizes(tree: Path) -> dict[str, int]:
    """What every file and directory below a tree takes on the host's disk, in bytes."""
    sizes: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    for parent, directories, files in os.walk(tree, topdown=False):
        total = os.lstat(parent).st_blocks * 512
        for name in files:
            status = os.lstat(os.path.join(parent, name))
            identity = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and identity in seen:
                continue
            seen.add(identity)
            size = status.st_blocks * 512
            sizes["/" + os.path.relpath(os.path.join(parent, name), tree)] = size
            total += size
        total += sum(sizes.get("/" + os.path.relpath(os.path.join(parent, one), tree), 0)
                     for one in directories)  # fmt: skip
        below = os.path.relpath(parent, tree)
        sizes["/" if below == "." else f"/{below}"] = total
    return sizes
