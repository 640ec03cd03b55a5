"""Every combination of label, file system, firmware and stack that the model allows is planned."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from goldsmith.disk import mbr, stacking
from goldsmith.disk.disk_plan import EXTENT_BYTES
from goldsmith.disk.formats import FORMATS
from goldsmith.disk.layout import (
    AUTO,
    FILE_SYSTEM_TYPES,
    FIRMWARES,
    LABELS,
    REST,
    ExactSize,
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    Raid,
    ShareSize,
    VolumeGroup,
    check,
)
from goldsmith.disk.needs import fits
from goldsmith.disk.planner import GPT_BACKUP_SECTORS, plan
from goldsmith.disk.usage import TreeUsage
from goldsmith.errors import LayoutError
from goldsmith.units import MIB

STACKS = ("plain", "raid", "lvm", "raid and lvm")
FIRMWARE_SETS = ((), ("bios",), ("uefi",), ("bios", "uefi"))
SECTOR_BYTES = 512
USAGE = TreeUsage(2000, 60_000, 300, 20, 100, 10)


def assert_sound(disk, usage):
    """No overlap, aligned, inside the disk, in the order that was asked for, everything fits."""
    layout = disk.layout
    assert [p.partition for p in disk.partitions] == list(layout.partitions)
    assert disk.size_bytes % SECTOR_BYTES == 0, "no format could hold it"
    step = 4096 if layout.label == "none" else MIB
    end = 0 if layout.label == "none" else MIB
    for planned in disk.partitions:
        is_logical = layout.label == "mbr" and planned.number >= mbr.FIRST_LOGICAL
        # A logical partition has its own table in the step before it.
        assert planned.offset_bytes >= end + (step if is_logical else 0)
        assert planned.offset_bytes % step == 0
        assert planned.size_bytes > 0
        assert planned.size_bytes % step == 0
        end = planned.offset_bytes + planned.size_bytes
    tail = GPT_BACKUP_SECTORS * SECTOR_BYTES if layout.label == "gpt" else 0
    assert end + tail <= disk.size_bytes
    _assert_numbers(disk)
    _assert_stacked(disk)
    for volume in disk.volumes():
        if volume.filesystem is not None:
            files = usage.get(volume.mount, TreeUsage())
            assert fits(volume.filesystem, files, volume.size_bytes) == 0, volume.name


def _assert_numbers(disk):
    numbers = [p.number for p in disk.partitions]
    if disk.extended is None:
        assert numbers == list(range(1, len(numbers) + 1))
        return
    begin = disk.extended.start_sector
    end = begin + disk.extended.size_sectors
    assert disk.extended.number <= mbr.ENTRIES
    assert disk.extended.number not in numbers
    assert len(set(numbers)) == len(numbers)
    for planned in disk.partitions:
        is_inside = begin < planned.start_sector < end
        assert is_inside is (planned.number >= mbr.FIRST_LOGICAL)
        assert not is_inside or planned.start_sector + planned.size_sectors <= end
    inside = [n for n in numbers if n >= mbr.FIRST_LOGICAL]
    assert inside == list(range(mbr.FIRST_LOGICAL, mbr.FIRST_LOGICAL + len(inside)))


def _assert_stacked(disk):
    sizes = {p.name: p.size_bytes for p in disk.partitions}
    for array in disk.arrays:
        members = array.raid.members
        smallest = min(sizes[name] for name in members)
        assert array.data_offset_bytes + array.component_bytes <= smallest
        wanted = stacking.capacity(array.raid.level, len(members), array.component_bytes)
        assert array.size_bytes == wanted
        sizes[array.name] = array.size_bytes
    for group in disk.groups:
        room = sum(sizes[name] for name in group.group.physical_volumes)
        assert sum(volume.extents for volume in group.volumes) <= group.extents
        assert group.extents * EXTENT_BYTES <= room


def stacked_root(stack, type):
    """The root of a file system type, and what is below it: partitions, arrays, groups."""
    if stack == "plain":
        return (Partition("root", "root", AUTO, FileSystem(type), "/"),), (), ()
    parts = (Partition("a", "data"), Partition("b", "data"))
    raids, groups, names = (), (), ("a", "b")
    if "raid" in stack:
        on_raid = {"filesystem": FileSystem(type), "mount": "/"} if stack == "raid" else {}
        raids, names = (Raid("md0", "1", names, **on_raid),), ("md0",)
    if "lvm" in stack:
        groups = (VolumeGroup("vg", names, (LogicalVolume("root", AUTO, FileSystem(type), "/"),)),)
    return parts, raids, groups


def layout_of(label, stack, type, firmware, *, boot, swap):
    """A disk of the usual partitions around that root."""
    first = []
    if "bios" in firmware and label == "gpt":
        first.append(Partition("bios", "bios-boot", ExactSize(MIB)))
    if "uefi" in firmware:
        first.append(Partition("esp", "esp", AUTO, FileSystem("vfat"), "/boot/efi"))
    if boot:
        first.append(Partition("boot", "boot", AUTO, FileSystem("ext4"), "/boot"))
    if swap:
        first.append(Partition("swap", "swap", ExactSize(8 * MIB)))
    parts, raids, groups = stacked_root(stack, type)
    return Layout(label, None, (*first, *parts), raids=raids, volume_groups=groups)


def all_layouts():
    for label, stack, type, firmware, boot, swap in product(
        LABELS, STACKS, FILE_SYSTEM_TYPES, FIRMWARE_SETS, (False, True), (False, True)
    ):
        layout = layout_of(label, stack, type, firmware, boot=boot, swap=swap)
        yield (label, stack, type, firmware, boot, swap), layout


def test_every_combination_that_the_model_allows_is_planned():
    allowed = {}
    for case, layout in all_layouts():
        if check(layout, case[3]):
            continue
        usage = dict.fromkeys(layout.by_mount(), USAGE)
        disk = plan(layout, usage)
        assert plan(layout, usage) == disk
        assert_sound(disk, usage)
        allowed[case] = disk
    # The model allows what it should: all labels, stacks and firmwares, every type as a root that
    # can be one, and read-only roots where GRUB reads /boot from another partition.
    assert {case[0] for case in allowed} == set(LABELS)
    assert {case[1] for case in allowed} == set(STACKS)
    assert {word for case in allowed for word in case[3]} == set(FIRMWARES)
    assert {case[2] for case in allowed} == set(FILE_SYSTEM_TYPES) - {"vfat", "swap"}
    assert ("gpt", "plain", "erofs", ("uefi",), True, False) in allowed
    assert ("gpt", "plain", "erofs", ("uefi",), False, False) not in allowed
    assert ("none", "plain", "ext4", ("bios",), False, False) not in allowed
    assert ("mbr", "raid and lvm", "xfs", ("bios", "uefi"), True, True) in allowed


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_can_hold_every_planned_size(format):
    # VHD counts in MiB as Azure wants it, all others in sectors: a plan gives them whole sectors.
    layout = Layout("none", None, (Partition("r", "root", AUTO, FileSystem("erofs"), "/"),))
    disk = plan(layout, {"/": USAGE}, packed_bytes={"/": 40960})
    assert disk.size_bytes == 40960
    assert disk.size_bytes % SECTOR_BYTES == 0, format


usages = st.builds(
    TreeUsage,
    st.integers(1, 20_000), st.integers(0, 40_000), st.integers(1, 1000), st.integers(0, 100),
    st.integers(0, 3000), st.integers(0, 1000),
)  # fmt: skip
volume_sizes = st.one_of(
    st.just(AUTO),
    st.integers(1, 700).map(lambda mib: ExactSize(mib * MIB + 512 * (mib % 3))),
    st.integers(1, 150).map(lambda tenths: ShareSize(Fraction(tenths, 10))),
)
data_types = st.sampled_from([type for type in FILE_SYSTEM_TYPES if type != "swap"])


@st.composite
def stacked_disks(draw):
    """A disk of any label, firmware, stack and number of partitions that `check` passes."""
    label = draw(st.sampled_from(["gpt", "mbr"]))
    stack = draw(st.sampled_from(STACKS))
    firmware = draw(st.sampled_from(FIRMWARE_SETS))
    base = layout_of(
        label, stack, draw(data_types), firmware, boot=draw(st.booleans()), swap=draw(st.booleans())
    )
    sizes = draw(st.lists(volume_sizes, max_size=5))
    logical = draw(st.booleans()) and label == "mbr"
    others = tuple(
        Partition(f"p{number}", "data", size, FileSystem(draw(data_types)), f"/p{number}",
                  logical=True if logical else None)
        for number, size in enumerate(sizes)
    )  # fmt: skip
    groups = base.volume_groups
    if groups and draw(st.booleans()):
        (group,) = groups
        more = (
            LogicalVolume("swap", ExactSize(draw(st.integers(1, 300)) * MIB), FileSystem("swap")),
            LogicalVolume("home", draw(st.sampled_from([AUTO, REST])), FileSystem("ext4"), "/home"),
        )
        groups = (VolumeGroup("vg", group.physical_volumes, (*group.logical_volumes, *more)),)
    at = draw(st.integers(0, len(base.partitions)))
    partitions = (*base.partitions[:at], *others, *base.partitions[at:])
    size_bytes = draw(st.one_of(st.none(), st.integers(1, 6 << 21).map(lambda n: n * 512)))
    layout = Layout(label, size_bytes, partitions, raids=base.raids, volume_groups=groups)
    assume(not check(layout, firmware))
    return layout, {mount: draw(usages) for mount in layout.by_mount()}


@settings(max_examples=150, deadline=None)
@given(stacked_disks())
def test_stacked_disks_of_any_label_are_planned_or_refused_with_numbers(case):
    layout, usage = case
    try:
        disk = plan(layout, usage)
    except LayoutError as e:
        has_fixed = any(isinstance(volume.size, ExactSize) for volume in layout.volumes())
        assert layout.size_bytes is not None or has_fixed
        assert all("iB" in finding or " B" in finding for finding in e.findings)
        return
    assert plan(layout, usage) == disk
    if layout.size_bytes is not None:
        assert disk.size_bytes == layout.size_bytes
    assert_sound(disk, usage)
