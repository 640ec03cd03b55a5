"""The one model of a disk's layout, whatever language it was written in, and what is wrong with it.

The `image` source, block-device YAML, fuel-agent's schemes and deploy all become a `Layout`. It
can say more than goldsmith can assemble today; `check` tells the difference, and reports every
reason at once, each with the partition and the field that it concerns.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from goldsmith.errors import LayoutError
from goldsmith.units import MIB, UnitError, format_size, parse_size_bytes

LABELS: Final = ("gpt", "mbr", "none")
PARTITION_TYPES: Final = ("esp", "bios-boot", "boot", "root", "swap", "data")
FILE_SYSTEM_TYPES: Final = ("ext4", "vfat", "ext2", "ext3", "xfs", "btrfs", "swap")
FIRMWARES: Final = ("bios", "uefi")

AVAILABLE_LABELS: Final = ("gpt",)
AVAILABLE_PARTITION_TYPES: Final = ("esp", "bios-boot", "boot", "root", "data")
AVAILABLE_FILE_SYSTEMS: Final = ("ext4", "vfat")

LABEL_LIMITS: Final = {"vfat": 11, "ext2": 16, "ext3": 16, "ext4": 16, "xfs": 12, "btrfs": 255,
                       "swap": 15}  # fmt: skip
"""The longest label of each file system, in bytes."""

SECTOR_BYTES: Final = 512
# UEFI specification 2.10, table 5-6: 72 bytes of UTF-16.
GPT_NAME_LIMIT: Final = 36
GPT_MAX_PARTITIONS: Final = 128

NOT_AVAILABLE: Final = "not available in goldsmith yet"


@dataclass(frozen=True, slots=True)
class ExactSize:
    """So many bytes."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class ShareSize:
    """So many percent of what the partitions of exact and automatic size leave."""

    percent: Fraction


@dataclass(frozen=True, slots=True)
class RestSize:
    """Whatever is left when all others have their size."""


@dataclass(frozen=True, slots=True)
class AutoSize:
    """As much as the files need, and the layout's headroom."""


PartitionSize = ExactSize | ShareSize | RestSize | AutoSize
REST: Final = RestSize()
AUTO: Final = AutoSize()

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def parse_partition_size(text: str) -> PartitionSize:
    """Read "auto", "rest", "40%", "100%" (the same as "rest") or a size such as "64MiB".

    Raises UnitError for anything else.
    """
    word = text.strip().lower()
    if word in ("auto", "rest"):
        return AUTO if word == "auto" else REST
    match = _PERCENT.fullmatch(word)
    if match:
        percent = Fraction(match.group(1))
        return REST if percent == 100 else ShareSize(percent)
    try:
        return ExactSize(parse_size_bytes(text))
    except UnitError as e:
        raise UnitError(
            f"{text!r} is not a partition size",
            hint='write for example "64MiB", "40%", "rest" or "auto"',
        ) from e


@dataclass(frozen=True, slots=True)
class Headroom:
    """Free space that an automatic size adds: a share of the need, at least `minimum_bytes`."""

    share: Fraction = Fraction(1, 10)
    minimum_bytes: int = 64 * MIB

    def of(self, needed_bytes: int) -> int:
        """The headroom in bytes for files that need so much."""
        return max(int(needed_bytes * self.share), self.minimum_bytes)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a partition is formatted with; `options` are further words for its mkfs program."""

    type: str
    label: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, in the order of the disk; `mount_options` go into fstab."""

    name: str
    type: str
    size: PartitionSize = AUTO
    filesystem: FileSystem | None = None
    mount: str | None = None
    mount_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Raid:
    """A software RAID array over partitions, named as in `Partition.name`."""

    name: str
    level: str
    members: tuple[str, ...]
    filesystem: FileSystem | None = None
    mount: str | None = None


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume of a volume group."""

    name: str
    size: PartitionSize = AUTO
    filesystem: FileSystem | None = None
    mount: str | None = None


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """An LVM volume group over partitions or arrays, by name."""

    name: str
    physical_volumes: tuple[str, ...]
    logical_volumes: tuple[LogicalVolume, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole disk; `size_bytes` None asks for the smallest disk that holds everything."""

    label: str = "gpt"
    size_bytes: int | None = None
    partitions: tuple[Partition, ...] = ()
    headroom: Headroom = field(default_factory=Headroom)
    raids: tuple[Raid, ...] = ()
    volume_groups: tuple[VolumeGroup, ...] = ()

    def by_mount(self) -> dict[str, Partition]:
        """The partitions that have a mount point, by it."""
        return {p.mount: p for p in self.partitions if p.mount is not None}

    def of_type(self, type: str) -> Partition | None:
        """The first partition of a type."""
        return next((p for p in self.partitions if p.type == type), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a layout cannot be: where it is in the layout, and what to do."""

    message: str
    partition: str | None = None
    field: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = f'partition "{self.partition}": ' if self.partition is not None else ""
        return where + self.message


def require_valid(layout: Layout, firmware: Collection[str] = ()) -> None:
    """Raise LayoutError with every finding of `check`."""
    findings = check(layout, firmware)
    if findings:
        raise LayoutError(
            [str(finding) for finding in findings],
            hint=next((finding.hint for finding in findings if finding.hint), None),
        )


def check(layout: Layout, firmware: Collection[str] = ()) -> list[Finding]:
    """Every reason why this layout cannot be assembled for these firmwares; [] is a good one."""
    findings = list(_check_disk(layout))
    for partition in layout.partitions:
        findings.extend(_check_partition(partition, layout.label))
        findings.extend(_check_file_system(partition))
        findings.extend(_check_mount(partition))
    findings.extend(_check_duplicates(layout))
    findings.extend(_check_sizes(layout))
    findings.extend(_check_boot(layout, firmware))
    return findings


def _unknown(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(known)}"


def _check_disk(layout: Layout) -> Iterator[Finding]:
    if layout.label not in LABELS:
        yield Finding(f'"{layout.label}" is not a partition table', field="label",
                      hint=_unknown(layout.label, LABELS))  # fmt: skip
    elif layout.label not in AVAILABLE_LABELS:
        yield Finding(f'label "{layout.label}" is {NOT_AVAILABLE}', field="label",
                      hint='write label = "gpt"')  # fmt: skip
    if layout.size_bytes is not None and (
        layout.size_bytes <= 0 or layout.size_bytes % SECTOR_BYTES
    ):
        yield Finding(
            f"the disk's size, {layout.size_bytes} bytes, is not a multiple of {SECTOR_BYTES}",
            field="size", hint='write a size such as "4GiB", or "auto"',
        )  # fmt: skip
    if layout.headroom.share < 0 or layout.headroom.minimum_bytes < 0:
        yield Finding("the headroom is negative", field="headroom", hint="write 0 for none")
    if not layout.partitions:
        yield Finding("the layout has no partitions", field="partition",
                      hint='add at least one of type "root"')  # fmt: skip
    if len(layout.partitions) > GPT_MAX_PARTITIONS:
        yield Finding(
            f"{len(layout.partitions)} partitions are more than the {GPT_MAX_PARTITIONS} of a GPT",
            field="partition",
        )
    for raid in layout.raids:
        yield Finding(f'raid "{raid.name}": software RAID is {NOT_AVAILABLE}', field="raid")
    for group in layout.volume_groups:
        yield Finding(f'volume group "{group.name}": LVM is {NOT_AVAILABLE}', field="volume_group")


def _check_partition(partition: Partition, label: str) -> Iterator[Finding]:
    def finding(message: str, field: str, hint: str | None = None) -> Finding:
        return Finding(message, partition.name, field, hint)

    # sfdisk's script language has no escape for a quote inside a name (util-linux 2.38).
    if not partition.name or re.search(r'["\\\x00-\x1f\x7f]', partition.name):
        yield finding("its name is empty or has a quote, backslash or control character", "name")
    if label == "gpt" and len(partition.name.encode("utf-16-le")) // 2 > GPT_NAME_LIMIT:
        yield finding(f"its name is longer than {GPT_NAME_LIMIT} characters", "name")
    if partition.type not in PARTITION_TYPES:
        yield finding(f'"{partition.type}" is not a partition type', "type",
                      _unknown(partition.type, PARTITION_TYPES))  # fmt: skip
    elif partition.type not in AVAILABLE_PARTITION_TYPES:
        yield finding(f'type "{partition.type}" is {NOT_AVAILABLE}', "type")
    match partition.size:
        case ExactSize(size_bytes) if size_bytes < MIB or size_bytes % SECTOR_BYTES:
            yield finding(
                f"its size, {size_bytes} bytes, is below 1 MiB or not a multiple of {SECTOR_BYTES}",
                "size",
            )
        case ShareSize(percent) if not 0 < percent <= 100:
            yield finding(f"its share of {float(percent):g} % is not between 0 and 100", "size")
        case _:
            pass


def _check_file_system(partition: Partition) -> Iterator[Finding]:
    filesystem, name = partition.filesystem, partition.name
    if filesystem is None:
        if partition.type in ("esp", "root", "boot"):
            default = "vfat" if partition.type == "esp" else "ext4"
            yield Finding("it has no file system", name, "filesystem",
                          f'write filesystem = "{default}"')  # fmt: skip
        elif partition.mount is not None and partition.type not in ("bios-boot", "swap"):
            yield Finding("it has a mount point and no file system", name, "filesystem")
        return
    if partition.type == "bios-boot":
        yield Finding("a bios-boot partition holds GRUB itself and has no file system",
                      name, "filesystem", "remove filesystem")  # fmt: skip
        return
    if filesystem.type not in FILE_SYSTEM_TYPES:
        yield Finding(f'"{filesystem.type}" is not a file system', name, "filesystem",
                      _unknown(filesystem.type, FILE_SYSTEM_TYPES))  # fmt: skip
    elif filesystem.type not in AVAILABLE_FILE_SYSTEMS:
        yield Finding(f'file system "{filesystem.type}" is {NOT_AVAILABLE}', name, "filesystem",
                      f"choose one of {', '.join(AVAILABLE_FILE_SYSTEMS)}")  # fmt: skip
    elif partition.type == "esp" and filesystem.type != "vfat":
        yield Finding(f"an esp must be vfat, not {filesystem.type}", name, "filesystem",
                      'write filesystem = "vfat"')  # fmt: skip
    elif partition.type in ("root", "boot") and filesystem.type == "vfat":
        yield Finding("vfat has no owners, modes or links: it cannot hold a system", name,
                      "filesystem", 'write filesystem = "ext4"')  # fmt: skip
    yield from _check_label(filesystem, name)


def _check_label(filesystem: FileSystem, name: str) -> Iterator[Finding]:
    label, limit = filesystem.label, LABEL_LIMITS.get(filesystem.type)
    if label is None or limit is None:
        return
    if len(label.encode()) > limit:
        yield Finding(
            f'label "{label}" is longer than the {limit} bytes that {filesystem.type} allows',
            name, "label",
        )  # fmt: skip
    if not label or not label.isprintable() or "/" in label:
        yield Finding(f"label {label!r} is empty or has characters that no label may have",
                      name, "label")  # fmt: skip
    elif filesystem.type == "vfat" and (
        not label.isascii() or label != label.upper() or re.search(r'[*?.,;:\\|+=<>\[\]"]', label)
    ):
        yield Finding(
            f'label "{label}" is not a vfat label: capital letters, digits, - and _ only',
            name,
            "label",
            f'write "{label.upper()}"' if label.isascii() else None,
        )


def _check_mount(partition: Partition) -> Iterator[Finding]:
    mount, name = partition.mount, partition.name
    if mount is None:
        if partition.type == "root":
            yield Finding("the root partition has no mount point", name, "mount",
                          'write mount = "/"')  # fmt: skip
        return
    if partition.type in ("bios-boot", "swap"):
        yield Finding(f"a {partition.type} partition cannot be mounted", name, "mount",
                      "remove mount")  # fmt: skip
        return
    if not mount.startswith("/"):
        yield Finding(f'mount point "{mount}" is not absolute', name, "mount",
                      f'write "/{mount}"')  # fmt: skip
    elif mount != "/" and ("//" in mount or mount.endswith("/")):
        yield Finding(f'mount point "{mount}" has a superfluous slash', name, "mount",
                      f'write "{re.sub("/+", "/", mount).rstrip("/") or "/"}"')  # fmt: skip
    elif {".", ".."} & set(mount.split("/")) or not mount.isprintable():
        yield Finding(f"mount point {mount!r} is not a plain path", name, "mount")
    if partition.type == "root" and mount != "/":
        yield Finding(f'the root partition is mounted at "{mount}"', name, "mount",
                      'write mount = "/"')  # fmt: skip
    if partition.type != "root" and mount == "/":
        yield Finding(f'a {partition.type} partition is mounted at "/"', name, "mount",
                      'write type = "root"')  # fmt: skip


def _check_duplicates(layout: Layout) -> Iterator[Finding]:
    names = Counter(p.name for p in layout.partitions)
    yield from (
        Finding(f"{count} partitions have this name", name, "name")
        for name, count in names.items() if count > 1
    )  # fmt: skip
    seen: dict[str, Partition] = {}
    for partition in layout.partitions:
        if partition.mount is None:
            continue
        first = seen.setdefault(partition.mount, partition)
        if first is not partition:
            yield Finding(f'"{first.name}" is mounted at "{partition.mount}" too',
                          partition.name, "mount")  # fmt: skip
    for type in ("root", "esp", "bios-boot", "boot"):
        same = [p for p in layout.partitions if p.type == type]
        yield from (
            Finding(f'there is more than one partition of type "{type}"', p.name, "type")
            for p in same[1:]
        )
    if not any(p.type == "root" for p in layout.partitions) and layout.partitions:
        yield Finding('there is no partition of type "root"', field="partition",
                      hint='give the partition of "/" type = "root"')  # fmt: skip


def _check_sizes(layout: Layout) -> Iterator[Finding]:
    shares = [(p, p.size.percent) for p in layout.partitions if isinstance(p.size, ShareSize)]
    total = sum((percent for _, percent in shares), Fraction(0))
    rests = [p for p in layout.partitions if isinstance(p.size, RestSize)]
    if total > 100:
        yield Finding(
            f"the percentages add up to {float(total):g} %, more than 100 %",
            shares[-1][0].name, "size",
        )  # fmt: skip
    for partition in rests[1:]:
        yield Finding(f'"{rests[0].name}" already takes the rest of the disk',
                      partition.name, "size", "give one of them a size")  # fmt: skip
    if rests and total == 100:
        yield Finding("the percentages of the others leave nothing for it", rests[0].name, "size")
    if layout.size_bytes is not None:
        exact = sum(p.size.size_bytes for p in layout.partitions if isinstance(p.size, ExactSize))
        if exact > layout.size_bytes:
            yield Finding(
                f"the partitions need {format_size(exact)}, the disk has "
                f"{format_size(layout.size_bytes)}",
                field="size", hint='write size = "auto" for the disk',
            )  # fmt: skip


def _check_boot(layout: Layout, firmware: Collection[str]) -> Iterator[Finding]:
    for word in firmware:
        if word not in FIRMWARES:
            yield Finding(f'"{word}" is not a firmware', field="firmware",
                          hint=_unknown(word, FIRMWARES))  # fmt: skip
    if "bios" in firmware and layout.label == "gpt" and layout.of_type("bios-boot") is None:
        yield Finding(
            'firmware "bios" needs a partition of type "bios-boot" on a gpt disk',
            field="partition", hint='add one with size = "1MiB"',
        )  # fmt: skip
    esp = layout.of_type("esp")
    if "uefi" in firmware and esp is None:
        yield Finding(
            'firmware "uefi" needs a partition of type "esp"',
            field="partition", hint='add one with size = "64MiB" and filesystem = "vfat"',
        )  # fmt: skip
