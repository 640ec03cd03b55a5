"""The planner: arithmetic that must hold for every layout."""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from goldsmith.disk.layout import (
    AUTO,
    REST,
    ExactSize,
    FileSystem,
    Headroom,
    Layout,
    Partition,
    ShareSize,
)
from goldsmith.disk.needs import fits
from goldsmith.disk.planner import GPT_BACKUP_SECTORS, plan
from goldsmith.disk.usage import TreeUsage
from goldsmith.errors import LayoutError
from goldsmith.units import GIB, MIB

sizes = st.one_of(
    st.just(AUTO),
    st.integers(2048 * 10, 2048 * 500).map(lambda sectors: ExactSize(sectors * 512)),
    st.integers(1, 300).map(lambda tenths: ShareSize(Fraction(tenths, 10))),
)
usages = st.builds(
    TreeUsage,
    st.integers(1, 50_000),
    st.integers(0, 100_000),
    st.integers(1, 2000),
    st.integers(0, 100),
)


@st.composite
def layouts(draw):
    count = draw(st.integers(0, 4))
    others = tuple(
        Partition(f"p{n}", "data", draw(sizes),
                  FileSystem(draw(st.sampled_from(["ext4", "vfat"]))), f"/p{n}")
        for n in range(count)
    )  # fmt: skip
    root = Partition("root", "root", draw(st.sampled_from([AUTO, REST])), FileSystem("ext4"), "/")
    at = draw(st.integers(0, count))
    shares = sum((p.size.percent for p in others if isinstance(p.size, ShareSize)), Fraction(0))
    assume(shares < 100)
    size_bytes = draw(st.one_of(st.none(), st.integers(1, 40 * 2**21).map(lambda n: n * 512)))
    partitions = (*others[:at], root, *others[at:])
    usage = {p.mount: draw(usages) for p in partitions}
    return Layout("gpt", size_bytes, partitions), usage


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_a_plan_is_aligned_disjoint_inside_and_honours_sizes(case):
    layout, usage = case
    try:
        disk = plan(layout, usage)
    except LayoutError as e:
        assert layout.size_bytes is not None or any(
            isinstance(p.size, ExactSize) for p in layout.partitions
        )
        assert e.findings
        return
    assert plan(layout, usage) == disk
    end = MIB
    for planned in disk.partitions:
        assert planned.offset_bytes % MIB == 0
        assert planned.size_bytes % MIB == 0
        assert planned.offset_bytes == end
        end = planned.offset_bytes + planned.size_bytes
        assert fits(planned.filesystem, usage[planned.partition.mount], planned.size_bytes) == 0
        if isinstance(planned.partition.size, ExactSize):
            assert 0 <= planned.size_bytes - planned.partition.size.size_bytes < MIB
    assert end + GPT_BACKUP_SECTORS * 512 <= disk.size_bytes
    if layout.size_bytes is not None:
        assert disk.size_bytes == layout.size_bytes
    fixed = [p for p in disk.partitions if p.partition.size == AUTO
             or isinstance(p.partition.size, ExactSize)]  # fmt: skip
    room = (disk.size_bytes - GPT_BACKUP_SECTORS * 512) // MIB * MIB - MIB
    pool = room - sum(p.size_bytes for p in fixed)
    for planned in disk.partitions:
        if isinstance(planned.partition.size, ShareSize):
            assert 0 <= pool * planned.partition.size.percent / 100 - planned.size_bytes < MIB
    if any(p.partition.size == REST for p in disk.partitions):
        assert sum(p.size_bytes for p in disk.partitions) == room


@settings(max_examples=60, deadline=None)
@given(usages, st.sampled_from(["ext4", "vfat"]))
def test_an_automatic_disk_holds_the_files_and_the_headroom_and_little_more(usage, type):
    part = Partition("p", "data", AUTO, FileSystem(type), "/p")
    layout = Layout(partitions=(part, Partition("r", "root", AUTO, FileSystem("ext4"), "/")))
    planned = plan(layout, {"/p": usage}).partitions[0]
    headroom = Headroom().of(usage.blocks * 4096)
    assert fits(part.filesystem, usage, planned.size_bytes, headroom) == 0
    # A mebibyte less may fit once more where the journal grows; a third less never does.
    assert fits(part.filesystem, usage, planned.size_bytes * 2 // 3, headroom) > 0


def root(size=REST):
    return Partition("root", "root", size, FileSystem("ext4"), "/")


def test_headroom_can_be_set():
    usage = {"/": TreeUsage(1000, 100_000, 100)}
    plain = plan(Layout(partitions=(root(),)), usage)
    none = plan(Layout(partitions=(root(),), headroom=Headroom(Fraction(0), 0)), usage)
    large = plan(Layout(partitions=(root(),), headroom=Headroom(Fraction(1), 0)), usage)
    assert none.size_bytes <= plain.size_bytes - 60 * MIB
    assert large.size_bytes >= plain.size_bytes + 300 * MIB


def test_too_small_says_how_much_it_needs_and_what_to_do():
    usage = {"/": TreeUsage(1000, 300_000, 100)}
    with pytest.raises(LayoutError) as caught:
        plan(Layout(size_bytes=512 * MIB, partitions=(root(),)), usage)
    (reason,) = caught.value.findings
    assert 'partition "root" gets 510 MiB' in reason
    assert "files 1.14 GiB" in reason
    assert "auto" in caught.value.hint


def test_the_backup_table_takes_the_last_mebibyte():
    disk = plan(Layout(size_bytes=GIB, partitions=(root(),)), {})
    assert disk.partitions[0].size_bytes == GIB - 2 * MIB


def test_a_disk_that_is_no_multiple_of_a_mebibyte_keeps_its_size():
    disk = plan(Layout(size_bytes=GIB + 512, partitions=(root(),)), {})
    assert disk.size_bytes == GIB + 512
    assert disk.partitions[0].size_bytes == GIB - 2 * MIB


def test_a_wrong_layout_is_refused_before_it_is_planned():
    with pytest.raises(LayoutError, match='type "root"'):
        plan(Layout(partitions=(Partition("a", "data", AUTO, FileSystem("ext4"), "/a"),)), {})


def test_an_automatic_esp_has_room_for_updates():
    esp = Partition("esp", "esp", AUTO, FileSystem("vfat"), "/boot/efi")
    disk = plan(Layout(partitions=(esp, root())), {})
    assert 64 * MIB <= disk.partitions[0].size_bytes <= 68 * MIB
