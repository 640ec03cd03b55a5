"""The layout model and its findings."""

from fractions import Fraction

import pytest

from goldsmith.disk.layout import (
    AUTO,
    NOT_AVAILABLE,
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
    parse_partition_size,
    require_valid,
)
from goldsmith.errors import LayoutError
from goldsmith.units import GIB, MIB, UnitError

ROOT = Partition("root", "root", REST, FileSystem("ext4"), "/")
ESP = Partition("esp", "esp", ExactSize(64 * MIB), FileSystem("vfat"), "/boot/efi")
BIOS = Partition("bios", "bios-boot", ExactSize(MIB))


def findings(*partitions, firmware=(), **layout):
    return [
        (f.partition, f.field, f.message)
        for f in check(Layout(partitions=tuple(partitions), **layout), firmware)
    ]


def places(*partitions, firmware=(), **layout):
    return {(p, f) for p, f, _ in findings(*partitions, firmware=firmware, **layout)}


def test_a_good_layout_has_no_findings():
    assert findings(BIOS, ESP, ROOT, firmware=["bios", "uefi"]) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("auto", AUTO),
        ("rest", REST),
        ("100%", REST),
        ("40 %", ShareSize(Fraction(40))),
        ("12.5%", ShareSize(Fraction(25, 2))),
        ("64MiB", ExactSize(64 * MIB)),
        ("4G", ExactSize(4 * GIB)),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_partition_size(text) == size


@pytest.mark.parametrize("text", ["", "%", "-1%", "many", "4 GiB of it"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(UnitError) as caught:
        parse_partition_size(text)
    assert "64MiB" in caught.value.hint


def test_every_reason_is_reported_at_once():
    found = places(
        Partition("a", "root", ExactSize(5), FileSystem("ext5"), "srv"),
        Partition("b", "root", ShareSize(Fraction(80)), FileSystem("ext4", "x" * 17), "/"),
        Partition("b", "data", ShareSize(Fraction(30)), FileSystem("vfat", "lower"), "/"),
        Partition("c", "bios-boot", ExactSize(MIB), None, "/c"),
        Partition("d", "rooot", AUTO, FileSystem("ext4")),
        firmware=["uefi", "openfirmware"],
        label="gtp",
        size_bytes=1001,
    )
    assert found == {
        (None, "label"), (None, "size"), (None, "firmware"), (None, "partition"),
        ("a", "size"), ("a", "filesystem"), ("a", "mount"),
        ("b", "type"), ("b", "label"), ("b", "mount"), ("b", "size"), ("b", "name"),
        ("c", "mount"), ("d", "type"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("partition", "field"),
    [
        (Partition("p", "data", AUTO, FileSystem("vfat", "TWELVELETTER"), "/p"), "label"),
        (Partition("p", "data", AUTO, FileSystem("ext4", "a" * 17), "/p"), "label"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "relative"), "mount"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/a/../b"), "mount"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/a/"), "mount"),
        (Partition("p", "data", AUTO, None, "/a"), "filesystem"),
        (Partition("p", "bios-boot", AUTO, FileSystem("ext4")), "filesystem"),
        (Partition("p", "esp", AUTO, FileSystem("ext4"), "/boot/efi"), "filesystem"),
        (Partition('p"', "data", AUTO, FileSystem("ext4"), "/p"), "name"),
        (Partition("p" * 37, "data", AUTO, FileSystem("ext4"), "/p"), "name"),
        (Partition("p", "data", ShareSize(Fraction(0)), FileSystem("ext4"), "/p"), "size"),
        (Partition("p", "data", REST, FileSystem("ext4"), "/p"), "size"),
        (Partition("p", "swap", ExactSize(MIB), FileSystem("swap")), "type"),
        (Partition("p", "data", AUTO, FileSystem("xfs"), "/p"), "filesystem"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/"), "mount"),
    ],
)
def test_one_fault_is_found_where_it_is(partition, field):
    assert (partition.name, field) in places(ROOT, partition)


def test_limits_themselves_are_allowed():
    vfat = Partition("p", "data", AUTO, FileSystem("vfat", "ELEVENCHARS"), "/p")
    ext4 = Partition("q" * 36, "data", AUTO, FileSystem("ext4", "a" * 16), "/q")
    assert findings(ROOT, vfat, ext4) == []


def test_boot_partitions_must_match_the_firmware():
    missing = check(Layout(partitions=(ROOT,)), ["bios", "uefi"])
    assert ["bios-boot" in missing[0].message, '"esp"' in missing[1].message] == [True, True]
    assert all(finding.hint for finding in missing)


def test_percentages_above_a_hundred_and_nothing_left():
    half, more = ShareSize(Fraction(50)), ShareSize(Fraction(51))
    a = Partition("a", "data", half, FileSystem("ext4"), "/a")
    b = Partition("b", "data", more, FileSystem("ext4"), "/b")
    c = Partition("c", "data", half, FileSystem("ext4"), "/c")
    assert ("b", "size") in places(Partition("r", "root", AUTO, FileSystem("ext4"), "/"), a, b)
    assert ("root", "size") in places(ROOT, a, c)
    assert "101" in next(m for p, f, m in findings(ROOT, a, b) if p == "b")


def test_the_exact_sizes_must_fit_on_the_disk():
    assert (None, "size") in places(ESP, ROOT, size_bytes=32 * MIB)


def test_a_misspelt_word_gets_a_suggestion():
    finding = next(f for f in check(Layout("gtp", partitions=(ROOT,))) if f.field == "label")
    assert finding.hint == 'did you mean "gpt"?'


def test_what_later_issues_bring_can_be_said_and_is_refused():
    layout = Layout(
        label="mbr",
        partitions=(ROOT, Partition("swap", "swap", ExactSize(GIB), FileSystem("swap"))),
        raids=(Raid("md0", "1", ("a", "b")),),
        volume_groups=(VolumeGroup("vg", ("md0",), (LogicalVolume("home"),)),),
    )
    messages = [f.message for f in check(layout)]
    assert sum(NOT_AVAILABLE in message for message in messages) == 5
    assert len(messages) == 5


def test_require_valid_carries_all_findings():
    with pytest.raises(LayoutError) as caught:
        require_valid(Layout(), ["uefi"])
    assert len(caught.value.findings) == 2
    require_valid(Layout(partitions=(ROOT,)))
