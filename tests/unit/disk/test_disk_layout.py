"""The layout model and its findings."""

from dataclasses import replace
from fractions import Fraction

import pytest

from goldsmith.disk.filesystems.options import refused_words
from goldsmith.disk.layout import (
    AUTO,
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
        (Partition("p", "swap"), "size"),
        (Partition("p", "swap", ExactSize(MIB), FileSystem("ext4")), "filesystem"),
        (Partition("p", "swap", ExactSize(MIB), None, "/p"), "mount"),
        (Partition("p", "data", ExactSize(MIB), FileSystem("swap")), "filesystem"),
        (Partition("p", "data", AUTO, FileSystem("squashfs", "x"), "/p"), "label"),
        (Partition("p", "data", AUTO, FileSystem("xfs", "x" * 13), "/p"), "label"),
        (Partition("p", "data", AUTO, FileSystem("xfs"), "/p", ("errors=panic",)), "mount_options"),
        (Partition("p", "data", AUTO, FileSystem("erofs"), "/p", ("rw",)), "mount_options"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/p", ("a b",)), "mount_options"),
        (
            Partition("p", "data", AUTO, FileSystem("ext4", None, ("-b", "1024")), "/p"),
            "filesystem_options",
        ),
        (Partition("p", "data", AUTO, FileSystem("vfat"), "/boot"), "filesystem"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/p", type_id="83"), "type_id"),
        (Partition("p", "data", AUTO, FileSystem("ext4"), "/p", logical=True), "logical"),
        (Partition("p", "data", AUTO, FileSystem("zfs"), "/p"), "filesystem"),
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


def test_every_label_and_file_system_can_be_said():
    for type in ("ext2", "ext3", "ext4", "xfs", "btrfs", "squashfs", "erofs"):
        root = Partition("root", "root", REST, FileSystem(type), "/")
        swap = Partition("swap", "swap", ExactSize(GIB))
        assert findings(root, swap) == []
        assert findings(root, swap, label="mbr") == []
        assert findings(root, label="none") == []
    assert swap.filesystem == FileSystem("swap")


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ({"partitions": (ROOT, ESP)}, (None, "partition")),
        ({"partitions": (replace(ROOT, filesystem=None),)}, ("root", "filesystem")),
        ({"partitions": (replace(ROOT, size=ShareSize(Fraction(50))),)}, ("root", "size")),
        ({"partitions": (replace(ROOT, size=ExactSize(MIB)),), "size_bytes": GIB},
         ("root", "size")),
        ({"partitions": (ESP,)}, ("esp", "type")),
    ],
)  # fmt: skip
def test_a_bare_file_system_is_alone(layout, place):
    assert place in places(*layout.pop("partitions"), label="none", **layout)


def test_a_bare_file_system_needs_no_root_and_boots_nowhere():
    data = Partition("d", "data", AUTO, FileSystem("ext4"))
    assert findings(data, label="none") == []
    assert places(data, label="none", firmware=["bios"]) == {(None, "firmware")}


def test_an_mbr_boots_without_a_partition_for_grub():
    assert findings(ESP, ROOT, firmware=["bios", "uefi"], label="mbr") == []
    assert places(BIOS, ROOT, firmware=["bios"], label="mbr") == {("bios", "type")}


def test_what_an_mbr_cannot_hold():
    def data(name, **more):
        return Partition(name, "data", ExactSize(MIB), **more)

    many = [data(str(n)) for n in range(6)]
    assert findings(ROOT, *many, label="mbr") == []
    primary = [data(str(n), logical=False) for n in range(4)]
    assert places(ROOT, *primary, label="mbr") == {(None, "partition")}
    apart = [data("a", logical=True), data("b"), data("c", logical=True)]
    assert places(ROOT, *apart, label="mbr") == {(None, "partition")}
    assert places(ROOT, label="mbr", size_bytes=3 << 40) == {(None, "size")}
    two = [data("a", bootable=True), data("b", bootable=True)]
    assert places(ROOT, *two, label="mbr") == {("b", "bootable")}
    assert places(ROOT, data("a", type_id="xx"), label="mbr") == {("a", "type_id")}
    assert findings(ROOT, data("a", type_id="0x0C"), label="mbr") == []


@pytest.mark.parametrize("type", ["squashfs", "erofs"])
def test_grub_needs_a_boot_partition_that_it_can_read(type):
    root = Partition("root", "root", REST, FileSystem(type), "/")
    boot = Partition("boot", "boot", AUTO, FileSystem("ext4"), "/boot")
    assert ("root", "filesystem") in places(BIOS, root, firmware=["bios"])
    assert places(BIOS, boot, root, firmware=["bios"]) == (
        {("root", "filesystem")} if type == "squashfs" else set()
    )


MEMBERS = (Partition("a", "data", REST), Partition("b", "data", ExactSize(GIB)))
RAID = Raid("md0", "1", ("a", "b"), FileSystem("ext4"), "/")


def test_a_root_on_an_array_or_a_logical_volume():
    assert findings(BIOS, *MEMBERS, raids=(RAID,), firmware=["bios"]) == []
    volumes = (LogicalVolume("root", AUTO, FileSystem("ext4"), "/"),
               LogicalVolume("swap", ExactSize(GIB), FileSystem("swap")))  # fmt: skip
    group = VolumeGroup("vg", ("md0",), volumes)
    raid = replace(RAID, filesystem=None, mount=None)
    layout = {"raids": (raid,), "volume_groups": (group,)}
    assert findings(BIOS, *MEMBERS, **layout, firmware=["bios"]) == []
    assert set(Layout(partitions=MEMBERS, **layout).by_mount()) == {"/"}
    assert Layout(partitions=MEMBERS, **layout).by_mount()["/"].name == "vg/root"


@pytest.mark.parametrize(
    ("raid", "field"),
    [
        ({"level": "7"}, "level"),
        ({"level": "5"}, "members"),
        ({"members": ("a",)}, "members"),
        ({"members": ("a", "nowhere")}, "members"),
        ({"members": ("a", "md0")}, "members"),
        ({"name": "md 0"}, "name"),
        ({"name": "a"}, "name"),
        ({"filesystem": None, "mount": None}, "filesystem"),
        ({"filesystem": FileSystem("vfat")}, "filesystem"),
        ({"mount": "srv"}, "mount"),
    ],
)
def test_faults_of_an_array(raid, field):
    raid = replace(RAID, **raid)
    assert (raid.name, field) in places(*MEMBERS, raids=(raid,))
    found = [f for f in check(Layout(partitions=MEMBERS, raids=(raid,))) if f.kind == "raid"]
    assert str(found[0]).startswith(f'raid "{raid.name}": ')


@pytest.mark.parametrize(
    ("group", "place"),
    [
        ({"physical_volumes": ()}, ("vg", "physical_volumes")),
        ({"physical_volumes": ("nowhere",)}, ("vg", "physical_volumes")),
        ({"name": "-vg"}, ("vg", "name")),
        ({"name": "a"}, ("a", "name")),
        ({"logical_volumes": (LogicalVolume("x"), LogicalVolume("x"))}, ("vg/x", "name")),
        ({"logical_volumes": (LogicalVolume("snapshot1"),)}, ("vg/snapshot1", "name")),
        ({"logical_volumes": (LogicalVolume("x", AUTO, FileSystem("swap")),)}, ("vg/x", "size")),
        ({"logical_volumes": (LogicalVolume("x", REST), LogicalVolume("y", REST))},
         ("vg/y", "size")),
    ],
)  # fmt: skip
def test_faults_of_a_volume_group(group, place):
    whole = VolumeGroup("vg", ("a", "b"))
    found = places(
        ROOT, Partition("a", "data"), MEMBERS[1], volume_groups=(replace(whole, **group),)
    )
    if place[0] == "vg" and group.get("name"):
        place = (group["name"], place[1])
    assert place in found


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ({"type": "boot"}, "type"),
        ({"filesystem": FileSystem("ext4")}, "filesystem"),
        ({"mount": "/srv"}, "mount"),
    ],
)
def test_a_member_holds_nothing_of_its_own(member, field):
    members = (replace(MEMBERS[0], **member), MEMBERS[1])
    assert ("a", field) in places(*members, raids=(RAID,))


def test_a_member_belongs_to_one():
    group = VolumeGroup("vg", ("a",))
    assert places(*MEMBERS, raids=(RAID,), volume_groups=(group,)) == {("a", "name")}


@pytest.mark.parametrize(
    ("type", "options", "refused"),
    [
        ("ext4", ("-m", "5", "-O", "^metadata_csum,quota", "-E", "stride=4"), []),
        ("ext4", ("-b1024",), ["-b1024"]),
        ("ext4", ("-O", "bigalloc"), ["-O bigalloc"]),
        ("ext3", ("-Eoffset=7,stride=4",), ["-E offset=7"]),
        ("xfs", ("-m", "reflink=0", "-i", "size=1024"), []),
        ("xfs", ("-m", "uuid=x", "-dsize=1g"), ["-d size=1g", "-m uuid=x"]),
        ("squashfs", ("-comp", "xz", "-one-file-system", "-b", "1M"), []),
        ("squashfs", ("-offset", "7"), ["-offset"]),
        ("erofs", ("-zlz4", "-C65536"), []),
        ("erofs", ("-T7",), ["-T7"]),
        ("btrfs", ("--metadata", "single"), []),
        ("btrfs", ("--csum=xxhash",), ["--csum=xxhash"]),
        ("swap", ("-L", "x"), ["-L"]),
        ("vfat", ("-i", "1234", ""), ["-i", ""]),
    ],
)
def test_words_for_mkfs_that_goldsmith_gives_itself(type, options, refused):
    assert refused_words(type, options) == refused


def test_require_valid_carries_all_findings():
    with pytest.raises(LayoutError) as caught:
        require_valid(Layout(), ["uefi"])
    assert len(caught.value.findings) == 2
    require_valid(Layout(partitions=(ROOT,)))
