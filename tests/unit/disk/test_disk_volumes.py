"""Everything that a layout may say is planned: labels, file systems, arrays, volume groups."""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from goldsmith.disk import mbr, stacking
from goldsmith.disk.disk_plan import EXTENT_BYTES
from goldsmith.disk.layout import (
    AUTO,
    FILE_SYSTEM_TYPES,
    REST,
    ExactSize,
    FileSystem,
    Headroom,
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
from goldsmith.units import GIB, MIB, TIB

TYPES = [type for type in FILE_SYSTEM_TYPES if type != "swap"]
usages = st.builds(
    TreeUsage,
    st.integers(1, 40_000), st.integers(0, 80_000), st.integers(1, 2000), st.integers(0, 100),
    st.integers(0, 5000), st.integers(0, 1000),
)  # fmt: skip
sizes = st.one_of(
    st.just(AUTO),
    st.integers(2048, 2048 * 1500).map(lambda sectors: ExactSize(sectors * 512)),
    st.integers(1, 200).map(lambda tenths: ShareSize(Fraction(tenths, 10))),
)


@st.composite
def layouts(draw):
    """A layout of any label and firmware that `check` passes, and usages."""
    label = draw(st.sampled_from(["gpt", "mbr", "none"]))
    root_type = draw(st.sampled_from([t for t in TYPES if t != "vfat"]))
    root = Partition(
        "root", "root", draw(st.sampled_from([AUTO, REST])), FileSystem(root_type), "/"
    )
    size_bytes = draw(st.one_of(st.none(), st.integers(1, 8 * 2**21).map(lambda n: n * 512)))
    if label == "none":
        return Layout("none", size_bytes, (root,)), {"/": draw(usages)}
    firmware = draw(st.sets(st.sampled_from(["bios", "uefi"])))
    if root_type in ("squashfs", "erofs"):
        firmware = set()
    first = []
    if "bios" in firmware and label == "gpt":
        first.append(Partition("bios", "bios-boot", ExactSize(MIB)))
    if "uefi" in firmware:
        first.append(Partition("esp", "esp", draw(st.sampled_from([AUTO, ExactSize(64 * MIB)])),
                               FileSystem("vfat"), "/boot/efi"))  # fmt: skip
    others = [
        Partition(f"p{n}", "data", draw(sizes), FileSystem(draw(st.sampled_from(TYPES))), f"/p{n}")
        for n in range(draw(st.integers(0, 5)))
    ]
    if draw(st.booleans()):
        others.append(Partition("swap", "swap", ExactSize(draw(st.integers(1, 600)) * MIB)))
    at = draw(st.integers(0, len(others)))
    partitions = (*first, *others[:at], root, *others[at:])
    layout = Layout(label, size_bytes, partitions)
    assume(not check(layout, firmware))
    return layout, {mount: draw(usages) for mount in layout.by_mount()}


@settings(max_examples=200, deadline=None)
@given(layouts())
def test_what_check_passes_is_planned_or_refused_with_numbers(case):
    layout, usage = case
    try:
        disk = plan(layout, usage)
    except LayoutError as e:
        assert layout.size_bytes is not None or any(
            isinstance(p.size, ExactSize) for p in layout.partitions
        )
        assert all("iB" in finding or " B" in finding for finding in e.findings)
        return
    assert plan(layout, usage) == disk
    if layout.size_bytes is not None:
        assert disk.size_bytes == layout.size_bytes
    step = 4096 if layout.label == "none" else MIB
    end = 0 if layout.label == "none" else MIB
    for planned in sorted(disk.partitions, key=lambda p: p.start_sector):
        assert planned.offset_bytes % step == 0
        assert planned.size_bytes % step == 0
        logical = planned.number >= mbr.FIRST_LOGICAL and layout.label == "mbr"
        assert planned.offset_bytes == end + (MIB if logical else 0)
        end = planned.offset_bytes + planned.size_bytes
        files = usage.get(planned.mount, TreeUsage())
        assert fits(planned.filesystem, files, planned.size_bytes) == 0
    tail = GPT_BACKUP_SECTORS * 512 if layout.label == "gpt" else 0
    assert end + tail <= disk.size_bytes
    numbers = [p.number for p in disk.partitions]
    if disk.extended is not None:
        numbers.append(disk.extended.number)
        inside = [p for p in disk.partitions if p.number >= mbr.FIRST_LOGICAL]
        begin = disk.extended.start_sector
        assert all(
            begin < p.start_sector
            and p.start_sector + p.size_sectors <= begin + disk.extended.size_sectors
            for p in inside
        )
    assert len(set(numbers)) == len(numbers)
    if layout.label == "mbr":
        assert sum(number <= mbr.ENTRIES for number in numbers) <= mbr.ENTRIES


def root(size=REST, type="ext4"):
    return Partition("root", "root", size, FileSystem(type), "/")


def data(name, size=None, **more):
    return Partition(name, "data", size or ExactSize(16 * MIB), **more)


def test_more_than_four_partitions_get_an_extended_one():
    disk = plan(
        Layout("mbr", GIB, (root(ExactSize(64 * MIB)), *(data(str(n)) for n in range(5)))), {}
    )
    assert [p.number for p in disk.partitions] == [1, 2, 3, 5, 6, 7]
    assert disk.extended.number == 4
    first = disk.partitions[3]
    assert disk.extended.start_sector == first.start_sector - 2048


def test_logical_partitions_can_be_asked_for_before_primary_ones():
    parts = (data("a", logical=True), data("b", logical=True), root(ExactSize(64 * MIB)))
    disk = plan(Layout("mbr", GIB, parts), {})
    assert [p.number for p in disk.partitions] == [5, 6, 2]
    assert disk.extended.number == 1
    assert disk.extended.start_sector == 2048


def test_four_partitions_are_primary():
    disk = plan(Layout("mbr", GIB, (*(data(str(n)) for n in range(3)), root())), {})
    assert [p.number for p in disk.partitions] == [1, 2, 3, 4]
    assert disk.extended is None
    last = disk.partitions[-1]
    assert last.offset_bytes + last.size_bytes == GIB


def test_the_boot_flag_follows_boot_or_what_is_said():
    boot = Partition("boot", "boot", AUTO, FileSystem("ext4"), "/boot")
    assert mbr.bootable_index(Layout("mbr", None, (root(AUTO), boot))) == 1
    assert mbr.bootable_index(Layout("mbr", None, (data("a"), root()))) == 1
    said = Partition("x", "data", AUTO, bootable=True)
    assert mbr.bootable_index(Layout("mbr", None, (root(AUTO), boot, said))) == 2


def test_an_automatic_mbr_that_would_reach_too_far_is_refused():
    huge = data("a", ExactSize(TIB + MIB)), data("b", ExactSize(TIB + MIB))
    with pytest.raises(LayoutError, match="does not reach"):
        plan(Layout("mbr", None, (root(AUTO), *huge)), {})


def test_a_bare_file_system_is_the_image():
    usage = {"/": TreeUsage(1000, 20_000, 100)}
    for size in (AUTO, REST):
        disk = plan(Layout("none", 300 * MIB, (root(size),)), usage)
        assert (disk.partitions[0].offset_bytes, disk.partitions[0].size_bytes) == (0, 300 * MIB)
    exact = plan(Layout("none", None, (root(ExactSize(200 * MIB)),)), usage)
    assert exact.size_bytes == 200 * MIB
    packed = plan(Layout("none", None, (root(AUTO, "erofs"),)), usage, packed_bytes={"/": 40960})
    assert packed.size_bytes == packed.partitions[0].size_bytes == 40960


levels = st.sampled_from(["0", "1", "5", "6", "10"])


@settings(deadline=None)
@given(levels, st.integers(4, 9), st.integers(1, 2**40))
def test_members_of_an_array_are_large_enough_and_hardly_more(level, members, needed):
    size = stacking.member_for(level, members, needed)
    component = stacking.component(size)
    assert stacking.capacity(level, members, component) >= needed
    assert component % MIB == 0
    assert component + stacking.data_offset(size) <= size
    smaller = stacking.capacity(level, members, stacking.component(size - 2 * MIB))
    assert smaller < needed or size == MIB


def test_capacities():
    assert [stacking.capacity(level, 4, 100 * MIB) // MIB for level in ("0", "1", "5", "6", "10")] \
        == [400, 100, 300, 200, 200]  # fmt: skip
    assert stacking.capacity("10", 3, 100 * MIB) == 150 * MIB


@st.composite
def stacked(draw):
    """A root on a logical volume over partitions or an array of them."""
    level = draw(st.sampled_from([None, "0", "1", "5", "10"]))
    count = draw(st.integers(4, 6))
    member_sizes = [draw(st.sampled_from([AUTO, ExactSize(700 * MIB)])) for _ in range(count)]
    parts = tuple(Partition(f"m{n}", "data", size) for n, size in enumerate(member_sizes))
    names = tuple(p.name for p in parts)
    raids = () if level is None else (Raid("md0", level, names),)
    volumes = [LogicalVolume("root", AUTO, FileSystem(draw(st.sampled_from(["ext4", "xfs"]))), "/")]
    volumes += [LogicalVolume("swap", ExactSize(draw(st.integers(1, 300)) * MIB),
                              FileSystem("swap"))]  # fmt: skip
    rest = draw(st.booleans())
    if rest:
        volumes.append(LogicalVolume("home", REST, FileSystem("ext4"), "/home"))
    if draw(st.booleans()):
        volumes.append(LogicalVolume("var", ShareSize(Fraction(30)), FileSystem("ext4"), "/var"))
    group = VolumeGroup("vg", names if level is None else ("md0",), tuple(volumes))
    layout = Layout("gpt", None, parts, Headroom(), raids, (group,))
    usage = {mount: draw(usages) for mount in layout.by_mount()}
    return layout, usage


@settings(max_examples=100, deadline=None)
@given(stacked())
def test_volumes_on_arrays_are_planned_with_their_metadata(case):
    layout, usage = case
    assert check(layout) == []
    try:
        disk = plan(layout, usage)
    except LayoutError:
        assert any(isinstance(p.size, ExactSize) for p in layout.partitions)
        return
    assert plan(layout, usage) == disk
    (group,) = disk.groups
    sizes = {p.name: p.size_bytes for p in disk.partitions}
    for array in disk.arrays:
        smallest = min(sizes[name] for name in array.raid.members)
        assert array.data_offset_bytes + array.component_bytes <= smallest
        sizes[array.name] = array.size_bytes
    below = [sizes[name] for name in group.group.physical_volumes]
    assert group.extents == sum((size - MIB) // EXTENT_BYTES for size in below)
    assert sum(volume.extents for volume in group.volumes) <= group.extents
    for volume in group.volumes:
        files = usage.get(volume.mount, TreeUsage())
        assert fits(volume.filesystem, files, volume.size_bytes) == 0
        assert (volume.inodes is not None) == (volume.filesystem.type == "ext4")


def test_a_root_on_raid1_is_as_large_as_its_files_need():
    members = (Partition("a", "data"), Partition("b", "data"))
    layout = Layout(
        partitions=members, raids=(Raid("md0", "1", ("a", "b"), FileSystem("ext4"), "/"),)
    )
    disk = plan(layout, {"/": TreeUsage(1000, 100_000, 100)})
    (array,) = disk.arrays
    assert array.size_bytes >= 100_000 * 4096
    assert disk.partitions[0].size_bytes == array.size_bytes + array.data_offset_bytes
    assert disk.by_mount()["/"] is array


def test_volumes_that_do_not_fit_are_refused_with_numbers():
    group = VolumeGroup(
        "vg", ("a",), (LogicalVolume("root", ExactSize(GIB), FileSystem("ext4"), "/"),)
    )
    small = Layout(
        partitions=(Partition("a", "data", ExactSize(512 * MIB)),), volume_groups=(group,)
    )
    with pytest.raises(LayoutError, match=r'of "vg" take 1 GiB together, the group has 508 MiB'):
        plan(small, {})
    raid = Raid("md0", "1", ("a", "b"), FileSystem("ext4"), "/")
    parts = tuple(Partition(n, "data", ExactSize(64 * MIB)) for n in "ab")
    with pytest.raises(LayoutError, match=r'"a" gets 64 MiB and needs'):
        plan(Layout(partitions=parts, raids=(raid,)), {"/": TreeUsage(10, 100_000, 1)})
