"""Which way each part is made, what the tree needs for it, and the texts that follow."""

import pytest

from goldsmith.disk import fstab, partition_table
from goldsmith.disk.filesystems.ext4 import Ext4, mkfs_words
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import (
    AUTO,
    REST,
    ExactSize,
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    Raid,
    VolumeGroup,
)
from goldsmith.disk.planner import plan
from goldsmith.disk.tree_packages import layout_packages
from goldsmith.disk.ways import Way, needs_guest, require_no_guest, ways
from goldsmith.errors import GoldsmithError, HostError
from goldsmith.units import GIB, MIB

IDENTITY = DiskIdentity("s")


def partition(name, type, filesystem=None, mount=None, size=AUTO, **more):
    return Partition(name, type, size, filesystem and FileSystem(filesystem), mount, **more)


STACKED = Layout(
    partitions=(
        partition("bios", "bios-boot", size=ExactSize(MIB)),
        partition("a", "data"), partition("b", "data"), partition("c", "data"),
    ),
    raids=(Raid("md0", "1", ("a", "b")),),
    volume_groups=(
        VolumeGroup("vg", ("md0", "c"), (
            LogicalVolume("root", AUTO, FileSystem("xfs"), "/"),
            LogicalVolume("swap", ExactSize(MIB), FileSystem("swap")),
        )),
    ),
)  # fmt: skip
PLAIN = Layout(
    size_bytes=4 * GIB,
    partitions=(
        partition("root", "root", "ext4", "/"),
        partition("srv", "data", "xfs", "/srv"),
        partition("share", "data", "vfat", "/share"),
        partition("pack", "data", "squashfs", "/pack"),
        partition("cold", "data", "erofs", "/cold", mount_options=("ro", "nodev")),
        partition("old", "data", "ext2", "/old"),
        partition("tree", "data", "btrfs", "/tree"),
        partition("swap", "swap", size=ExactSize(MIB)),
    ),
)


def test_only_what_has_no_tool_is_attached():
    chosen = ways(PLAIN, lambda type: None)
    assert [name for name, c in chosen.items() if c.way is Way.ATTACHED] == ["srv"]
    assert all(c.way is Way.OFFLINE for name, c in chosen.items() if name != "srv")
    assert not needs_guest(PLAIN, lambda type: None)


def test_a_host_that_cannot_attach_needs_the_guest():
    chosen = ways(PLAIN, lambda type: "there is no loop")
    assert chosen["srv"].way is Way.GUEST
    with pytest.raises(HostError, match=r'needs the guest for "srv" \(.*there is no loop\)'):
        require_no_guest(PLAIN, chosen)


def test_arrays_and_groups_need_the_guest():
    chosen = ways(STACKED, lambda type: None)
    guest = {name for name, choice in chosen.items() if choice.way is Way.GUEST}
    assert guest == {"md0", "vg", "vg/root", "vg/swap"}
    with pytest.raises(HostError, match=r'"md0".*"vg/root"'):
        require_no_guest(STACKED, chosen)


def test_packages_follow_from_kinds():
    assert layout_packages(STACKED) == ["lvm2", "mdadm", "xfsprogs"]
    assert layout_packages(PLAIN) == ["btrfs-progs", "dosfstools", "e2fsprogs", "xfsprogs"]


def test_fstab_of_every_type():
    lines = fstab.render(fstab.entries(PLAIN, IDENTITY)).splitlines()[1:]
    uuids, fields = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert list(fields) == [
        "/ ext4 errors=remount-ro 0 1",
        "/cold erofs ro,nodev 0 0",
        "/old ext2 defaults 0 2",
        "/pack squashfs ro 0 0",
        "/share vfat defaults 0 2",
        "/srv xfs defaults 0 0",
        "/tree btrfs defaults 0 0",
        "none swap sw 0 0",
    ]
    assert uuids[3] == f"PARTUUID={IDENTITY.partition_uuid('pack')}"
    assert "growfs" not in "".join(lines)


def test_fstab_names_volumes_by_their_file_systems():
    text = fstab.render(fstab.entries(STACKED, IDENTITY))
    assert f"UUID={IDENTITY.filesystem_uuid('vg/root', 'xfs')} / xfs defaults 0 0\n" in text
    assert f"UUID={IDENTITY.filesystem_uuid('vg/swap', 'swap')} none swap sw 0 0\n" in text


def test_a_squashfs_on_an_mbr_and_on_no_table():
    parts = (partition("root", "root", "ext4", "/"), partition("p", "data", "squashfs", "/p"))
    (entry,) = [e for e in fstab.entries(Layout("mbr", None, parts), IDENTITY) if e.mount == "/p"]
    assert entry.uuid == f"{IDENTITY.mbr_id:08x}-02"
    bare = Layout("none", None, (partition("root", "root", "squashfs", "/"),))
    assert fstab.entries(bare, IDENTITY) == []


def test_the_script_of_an_mbr():
    parts = (
        partition("esp", "esp", "vfat", "/boot/efi", ExactSize(64 * MIB)),
        partition("root", "root", "ext4", "/", ExactSize(GIB)),
        partition("swap", "swap", size=ExactSize(MIB)),
        partition("share", "data", "vfat", "/share", ExactSize(8 * MIB)),
        partition("other", "data", None, None, ExactSize(MIB), type_id="0xa5"),
    )
    script = partition_table.sfdisk_script(plan(Layout("mbr", 2 * GIB, parts), {}), IDENTITY)
    assert script.splitlines() == [
        "label: dos", f"label-id: 0x{IDENTITY.mbr_id:08x}", "unit: sectors", "",
        "1 : start=2048, size=131072, type=ef",
        "2 : start=133120, size=2097152, type=83, bootable",
        "3 : start=2230272, size=2048, type=82",
        "4 : start=2232320, size=22528, type=5",
        "5 : start=2234368, size=16384, type=c",
        "6 : start=2252800, size=2048, type=a5",
    ]  # fmt: skip


def test_members_have_the_types_of_raid_and_lvm():
    script = partition_table.sfdisk_script(plan(STACKED, {}), IDENTITY)
    for line, type in zip(script.splitlines()[-3:], ("raid", "raid", "lvm"), strict=True):
        assert f"type={partition_table.TYPE_GUIDS[type]}" in line


def test_a_bare_file_system_has_no_script():
    disk = plan(Layout("none", None, (partition("r", "root", "ext4", "/", REST),)), {})
    with pytest.raises(GoldsmithError, match="no partition table"):
        partition_table.sfdisk_script(disk, IDENTITY)


def test_identifiers_of_an_mbr():
    assert 0 < IDENTITY.mbr_id < 2**32
    assert IDENTITY.table_id("mbr") == f"{IDENTITY.mbr_id:08x}"
    assert IDENTITY.table_id("none") == ""
    assert IDENTITY.part_uuid("mbr", "root", 5).endswith("-05")
    assert IDENTITY.part_uuid("gpt", "root", 5) == IDENTITY.partition_uuid("root")


@pytest.mark.parametrize(
    ("type", "mib", "options", "journal", "features"),
    [
        ("ext4", 64, (), "4", None),
        ("ext4", 8, (), None, "^has_journal"),
        ("ext3", 8, (), None, "^has_journal"),
        ("ext2", 64, (), None, None),
        ("ext4", 64, ("-O", "^has_journal,quota"), None, "^has_journal,quota"),
        ("ext4", 64, ("-Oquota", "-O", "^dir_index"), "4", "quota,^dir_index"),
    ],
)
def test_the_words_of_mke2fs(tmp_path, type, mib, options, journal, features):
    spec = Ext4("u", "h", 100, "label", options, type)
    words = mkfs_words(Stretch(tmp_path / "i", 4096, mib * MIB), spec)
    assert ("-J" in words) == (journal is not None)
    assert journal is None or words[words.index("-J") + 1] == f"size={journal}"
    assert ("-O" in words) == (features is not None)
    assert features is None or words[words.index("-O") + 1] == features
    assert words.count("-E") == 1
    assert words[words.index("-E") + 1].startswith("offset=4096,hash_seed=h,")
