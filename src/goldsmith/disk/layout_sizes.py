"""What is wrong with the sizes of a layout before anything is known of the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from goldsmith.disk import mbr
from goldsmith.disk.findings import Finding
from goldsmith.disk.model import AutoSize, ExactSize, Layout, RestSize, ShareSize, Volume
from goldsmith.units import MIB, format_size

SECTOR_BYTES: Final = 512


def check_sizes(layout: Layout) -> Iterator[Finding]:
    """Every size that cannot be, alone or together with the others."""
    size_bytes = layout.size_bytes
    if size_bytes is not None and (size_bytes <= 0 or size_bytes % SECTOR_BYTES):
        yield Finding(
            f"the disk's size, {size_bytes} bytes, is not a multiple of {SECTOR_BYTES}",
            field="size", hint='write a size such as "4GiB", or "auto"',
        )  # fmt: skip
    if size_bytes is not None and layout.label == "mbr" and size_bytes > mbr.LARGEST_BYTES:
        yield Finding(f"an mbr reaches {format_size(mbr.LARGEST_BYTES)} of a disk, not "
                      f"{format_size(size_bytes)}", field="size",
                      hint='write label = "gpt"')  # fmt: skip
    if layout.headroom.share < 0 or layout.headroom.minimum_bytes < 0:
        yield Finding("the headroom is negative", field="headroom", hint="write 0 for none")
    volumes = [v for v in layout.volumes() if v.kind != "raid"]
    for volume in volumes:
        yield from _check_size(volume)
    partitions = [v for v in volumes if v.kind == "partition"]
    yield from _check_shares(partitions, "disk")
    for group in layout.volume_groups:
        inside = [v for v in volumes if v.kind == "logical_volume"
                  and v.name.startswith(f"{group.name}/")]  # fmt: skip
        yield from _check_shares(inside, "group")
    if layout.label == "none":
        yield from _check_bare(layout)
    elif size_bytes is not None:
        exact = sum(p.size.size_bytes for p in layout.partitions if isinstance(p.size, ExactSize))
        if exact > size_bytes:
            yield Finding(
                f"the partitions need {format_size(exact)}, the disk has {format_size(size_bytes)}",
                field="size", hint='write size = "auto" for the disk',
            )  # fmt: skip


def _check_size(volume: Volume) -> Iterator[Finding]:
    def finding(message: str, hint: str | None = None) -> Finding:
        return Finding(message, volume.name, "size", hint, volume.kind)

    is_swap = volume.filesystem is not None and volume.filesystem.type == "swap"
    match volume.size:
        case ExactSize(size_bytes) if size_bytes < MIB or size_bytes % SECTOR_BYTES:
            yield finding(
                f"its size, {size_bytes} bytes, is below 1 MiB or not a multiple of {SECTOR_BYTES}"
            )
        case ShareSize(percent) if not 0 < percent <= 100:
            yield finding(f"its share of {float(percent):g} % is not between 0 and 100")
        case AutoSize() if is_swap:
            yield finding("swap holds no files that an automatic size could follow",
                          'write a size such as "1GiB"')  # fmt: skip
        case _:
            pass


def _check_shares(volumes: Sequence[Volume], whole: str) -> Iterator[Finding]:
    shares = [(v, v.size.percent) for v in volumes if isinstance(v.size, ShareSize)]
    total = sum((percent for _, percent in shares), Fraction(0))
    rests = [v for v in volumes if isinstance(v.size, RestSize)]
    if total > 100:
        last = shares[-1][0]
        yield Finding(f"the percentages add up to {float(total):g} %, more than 100 %",
                      last.name, "size", kind=last.kind)  # fmt: skip
    for volume in rests[1:]:
        yield Finding(f'"{rests[0].name}" already takes the rest of the {whole}', volume.name,
                      "size", "give one of them a size", volume.kind)  # fmt: skip
    if rests and total == 100:
        yield Finding("the percentages of the others leave nothing for it", rests[0].name, "size",
                      kind=rests[0].kind)  # fmt: skip


def _check_bare(layout: Layout) -> Iterator[Finding]:
    for partition in layout.partitions[:1]:
        size = partition.size
        if isinstance(size, ShareSize):
            yield Finding("a bare file system fills the image", partition.name, "size",
                          'write size = "rest"')  # fmt: skip
        elif (isinstance(size, ExactSize) and layout.size_bytes is not None
              and size.size_bytes != layout.size_bytes):  # fmt: skip
            yield Finding(
                f"a bare file system fills the image of {format_size(layout.size_bytes)}",
                partition.name, "size", 'write size = "rest"',
            )  # fmt: skip
