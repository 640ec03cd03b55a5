"""Whole disks with many file systems, on GPT and MBR, read back by the tools of the host."""

import os

import pytest
from disk_trees import MIB, cut, describe, make_tree, tool
from private_namespace import run_privately

from goldsmith.disk import attached, partition_table
from goldsmith.disk.assemble import assemble
from goldsmith.disk.bootloader.grub import BootLoader
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
from goldsmith.disk.usage import TreeUsage, measure
from goldsmith.errors import HostError, LayoutError
from goldsmith.host import loop, mounts
from goldsmith.host.process import find_tool
from goldsmith.units import GIB

EPOCH_S = 1_700_000_000
IDENTITY = DiskIdentity("labels")
TOOLS = ("mkfs.ext4", "mkfs.btrfs", "mksquashfs", "mkfs.erofs", "mkswap", "mcopy", "sfdisk")
pytestmark = pytest.mark.skipif(
    any(find_tool(name) is None for name in TOOLS), reason="needs the tools of many file systems"
)
is_root = os.geteuid() == 0
TYPES = ("ext4", "ext2", "squashfs", "erofs", "btrfs", "ext3", "xfs")


def layout_of(label, types):
    parts = [
        Partition("esp", "esp", ExactSize(34 * MIB), FileSystem("vfat", "ESP"), "/boot/efi"),
        Partition("swap", "swap", ExactSize(8 * MIB)),
        Partition("root", "root", AUTO, FileSystem(types[0]), "/"),
    ]
    parts += [
        Partition(f"p-{type}", "data", AUTO, FileSystem(type), f"/srv/{type}") for type in types[1:]
    ]
    return Layout(label, None, tuple(parts))


@pytest.mark.skipif(not is_root, reason="mounts what was made")
@pytest.mark.root
@pytest.mark.parametrize("label", ["gpt", "mbr"])
def test_many_file_systems_on_one_disk(tmp_path, label):
    types = TYPES if attached.why_not("xfs") is None else TYPES[:-1]
    layout = layout_of(label, types)
    trees = {"/": make_tree(tmp_path / "trees/root", owners=True)}
    for type in types[1:]:
        trees[f"/srv/{type}"] = make_tree(tmp_path / f"trees/{type}", owners=True)
    (tmp_path / "trees/efi").mkdir()
    (tmp_path / "trees/efi/loader.txt").write_text("x")
    trees["/boot/efi"] = tmp_path / "trees/efi"
    usage = {mount: measure(tree)["/"] for mount, tree in trees.items()}
    disk = plan(layout, usage)
    image = run_privately(
        lambda: assemble(disk, trees, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    )
    tool("sfdisk", "--verify", image.path)
    found = tool("blkid", "-p", "-o", "export", image.path)
    assert f"PTUUID={IDENTITY.table_id(label)}" in found
    table = partition_table.read_table(image.path)
    entries = {entry.number: entry for entry in table.entries}
    for made in image.partitions:
        entry = entries.pop(made.number)
        assert (entry.start_sector * 512, entry.size_sectors * 512) == (
            made.offset_bytes, made.size_bytes,
        )  # fmt: skip
        if made.filesystem in (None, "vfat", "swap"):
            continue
        part = cut(image.path, made.offset_bytes, made.size_bytes, tmp_path / made.name)
        assert look(part, made.filesystem) == describe(trees[made.mount], latest_s=EPOCH_S)
    assert [entry.type_guid for entry in entries.values()] == (["5"] if label == "mbr" else [])


def look(part, type):
    options = {"xfs": "norecovery,nouuid", "ext3": "noload", "ext4": "noload"}.get(type, "")

    def body():
        with loop.attached(part, read_only=True) as device:
            target = part.with_name(f"{part.name}-mounted")
            target.mkdir()
            flags = mounts.MS_RDONLY
            with mounts.mounted(str(device.path), target, type, flags=flags, options=options):
                return describe(target, latest_s=EPOCH_S)

    return run_privately(body)


@pytest.mark.skipif(not is_root, reason="attaches the image")
@pytest.mark.root
def test_the_kernel_finds_the_partitions_of_an_mbr_where_they_are(tmp_path):
    parts = [Partition("root", "root", ExactSize(32 * MIB), FileSystem("ext4"), "/")]
    parts += [Partition(f"p{n}", "data", ExactSize((n + 1) * MIB)) for n in range(6)]
    disk = plan(Layout("mbr", 128 * MIB, tuple(parts)), {})
    image = assemble(disk, {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    lines = tool("partx", "--raw", "--noheadings", "-o", "NR,START,SECTORS,UUID",
                 image.path).splitlines()  # fmt: skip
    seen = {int(line.split()[0]): line.split()[1:] for line in lines}
    for made in image.partitions:
        assert seen[made.number] == [
            str(made.offset_bytes // 512), str(made.size_bytes // 512), made.partition_uuid,
        ]  # fmt: skip


def boot_loader(core_bytes):
    boot_img = bytearray(512)
    boot_img[0x66:0x68] = b"\xeb\x05"
    return BootLoader(boot_img=bytes(boot_img), core_img=b"G" * core_bytes)


def test_grub_lies_before_the_first_partition_of_an_mbr(tmp_path):
    root = Partition("root", "root", REST, FileSystem("ext4"), "/")
    disk = plan(Layout("mbr", 64 * MIB, (root,)), {})
    made = assemble(disk, {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S,
                    boot_loader=boot_loader(100_000))  # fmt: skip
    data = made.path.read_bytes()
    assert data[0x5C:0x64] == (1).to_bytes(8, "little")
    assert data[512:612] == b"G" * 100
    assert data[0x1BE] == 0x80, "the root has the boot flag"
    assert data[510:512] == b"\x55\xaa"
    tool("e2fsck", "-fn", f"{made.path}?offset={MIB}")
    with pytest.raises(LayoutError, match="before the first partition there are 2047"):
        assemble(disk, {}, tmp_path / "large", identity=IDENTITY, epoch_s=EPOCH_S,
                 boot_loader=boot_loader(2048 * 512))  # fmt: skip
    assert not (tmp_path / "large").exists()


def test_arrays_and_volumes_are_refused_until_there_is_the_guest(tmp_path):
    group = VolumeGroup("vg", ("md0",), (LogicalVolume("root", AUTO, FileSystem("ext4"), "/"),))
    parts = tuple(Partition(name, "data", ExactSize(GIB)) for name in "ab")
    layout = Layout(partitions=parts, raids=(Raid("md0", "1", ("a", "b")),), volume_groups=(group,))
    disk = plan(layout, {"/": TreeUsage(10, 10, 1)})
    with pytest.raises(HostError, match=r'needs the guest for "md0"'):
        assemble(disk, {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    assert not (tmp_path / "image").exists()
