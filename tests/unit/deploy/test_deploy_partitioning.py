"""The words for sfdisk, mkfs, mdadm and LVM; what is wiped; the plan that is shown; the wire."""

from dataclasses import replace

import pytest

from goldsmith.deploy import stacks
from goldsmith.deploy.change_plan import plan_changes, plan_text
from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.disk_lookup import find_device
from goldsmith.deploy.disks import Content, FoundPartition, HostDisk, Stacked
from goldsmith.deploy.image_requests import GivenImage, parse_given
from goldsmith.deploy.partitioning import mkfs_words, stretches, with_found_places
from goldsmith.deploy.scheme import (
    Array,
    ConfigDriveData,
    Deployment,
    Group,
    ImageRequest,
    PhysicalVolume,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
    Volume,
)
from goldsmith.deploy.scheme_sizes import node_size
from goldsmith.deploy.table_script import table_script
from goldsmith.deploy.wire import (
    deployment_from_wire,
    deployment_to_wire,
    limits_from_wire,
    limits_to_wire,
)
from goldsmith.errors import GoldsmithError
from goldsmith.units import GIB, MIB


def part(number, begin_mib, size_mib, **fields):
    return TargetPartition("/dev/sda", number, begin_mib * MIB, size_mib * MIB, **fields)


def test_the_script_of_a_gpt():
    disk = TargetDisk("/dev/sda", "gpt", partitions=(
        part(1, 1, 24, type="bios-boot", flags=("bios_grub",), label="bios"),
        part(2, 26, 8, flags=("lvm", "legacy_boot")),
        part(3, 40, 8, guid="45b0969e-9b03-4f30-b4c6-b4b80ceff106"),
    ))  # fmt: skip
    assert table_script(disk, 512) == (
        "label: gpt\nfirst-lba: 34\nunit: sectors\n\n"
        '1 : start=2048, size=49152, type=21686148-6449-6E6F-744E-656564454649, name="bios"\n'
        "2 : start=53248, size=16384, type=E6D6D379-F507-44C2-A23C-238F2A3DF928, "
        'attrs="LegacyBIOSBootable"\n'
        "3 : start=81920, size=16384, type=45b0969e-9b03-4f30-b4c6-b4b80ceff106\n"
    )


def test_the_script_of_an_mbr_has_the_extended_partition_first():
    disk = TargetDisk("/dev/sda", "mbr", partitions=(
        part(1, 1, 1, flags=("boot",)), part(5, 4, 4, type="swap"), part(4, 3, 9, type="extended"),
    ))  # fmt: skip
    assert table_script(disk, 4096).splitlines()[3:] == [
        "1 : start=256, size=256, type=83, bootable", "4 : start=768, size=2304, type=5",
        "5 : start=1024, size=1024, type=82",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fs", "words"),
    [
        (TargetFilesystem("/n", "/", "ext2", "root"), "mkfs.ext4 -q -F -t ext2 -L root /n"),
        (TargetFilesystem("/n", "/", "xfs", options="-m crc=0"), "mkfs.xfs -q -f -m crc=0 /n"),
        (TargetFilesystem("/n", "swap", "swap"), "mkswap -f /n"),
        (TargetFilesystem("/n", "/e", "vfat", "ESP"), "mkfs.vfat -n ESP /n"),
    ],
)
def test_the_words_of_mkfs(fs, words):
    assert " ".join(mkfs_words(fs)) == words


def test_the_words_of_arrays_and_volumes():
    array = Array("/dev/md0", "1", ("/dev/sda1", "/dev/sdb1"), ("/dev/sdc1",))
    assert " ".join(stacks.array_words(array)) == (
        "mdadm --create /dev/md0 --run --force --level=1 --metadata=1.2 --raid-devices=2 "
        "--spare-devices=1 /dev/sda1 /dev/sdb1 /dev/sdc1"
    )
    assert "--metadata=0.90" in stacks.array_words(replace(array, metadata="0.90"))
    physical = stacks.physical_words(PhysicalVolume("/dev/md0", 28 * MIB, 2))
    assert physical[-3:] == ["--metadatasize=29360128b", "--pvmetadatacopies=2", "/dev/md0"]
    assert stacks.group_words(Group("os", ("/dev/md0",))) == ["vgcreate", "--yes", "os", "/dev/md0"]
    volume = stacks.volume_words(Volume("root", "os", GIB))
    assert volume[-4:] == ["--name", "root", "--size=1073741824b", "os"]
    stop = stacks.stop_words(Stacked("dm-0", "/dev/mapper/os-root", "lvm", frozenset()))
    assert stop == ["dmsetup", "remove", "--retry", "/dev/mapper/os-root"]
    with pytest.raises(GoldsmithError):
        stacks.stop_words(Stacked("dm-1", "/dev/mapper/x", "other", frozenset()))


FOUND = (
    FoundPartition(1, MIB, 8 * MIB, "83", "old", Content("ext4", "x")),
    FoundPartition(2, 20 * MIB, 50 * MIB, "83", "", Content()),
)
HOST = HostDisk("/dev/sda", "/dev/sda", "sda", 100 * MIB, label="gpt", partitions=FOUND)


def test_both_ends_of_all_partitions_old_and_new_are_wiped():
    target = TargetDisk("/dev/sda", partitions=(part(1, 1, 8), part(2, 9, 20)))
    assert list(stretches(target, HOST)) == [
        (MIB, 8 * MIB), (20 * MIB, 50 * MIB), (9 * MIB, 20 * MIB), (0, 100 * MIB),
    ]  # fmt: skip


def test_kept_partitions_have_the_places_of_the_table():
    target = TargetDisk("/dev/sda", policy="keep", partitions=(part(2, 1, 9), part(3, 30, 9)))
    kept = with_found_places(Scheme((target,)), {"/dev/sda": HOST}).disks[0].partitions
    assert (kept[0].begin_bytes, kept[0].size_bytes) == (20 * MIB, 50 * MIB)
    assert kept[1] == part(3, 30, 9)


def test_sizes_follow_from_parts():
    scheme = Scheme(
        (TargetDisk("/dev/sda", partitions=(part(1, 1, 100), part(2, 101, 100))),),
        (Array("/dev/md0", "1", ("/dev/sda1", "/dev/sda2")),),
        volumes=(Volume("v", "g", MIB),),
    )
    assert node_size(scheme, "/dev/sda2") == 100 * MIB
    assert 90 * MIB < node_size(scheme, "/dev/md0") < 100 * MIB
    assert node_size(scheme, "/dev/mapper/g-v") == 4 * MIB
    assert node_size(scheme, "/dev/sdz") is None


def test_the_plan_says_what_is_lost_and_what_stays():
    target = TargetDisk("/dev/sda", policy="keep", partitions=(part(2, 20, 50),), boot_loader=True)
    deployment = Deployment(
        Scheme((target,), filesystems=(TargetFilesystem("/dev/sda2", "/", "ext4"),)),
        (ImageRequest(("http://h/root.img",), "/dev/sda2", "/"),),
    )
    plan = plan_changes(deployment, {"/dev/sda": HOST})
    lines = [" ".join(line.split()) for line in plan_text(plan).splitlines()]
    assert lines == [
        "/dev/sda: 100 MiB; policy keep: its table stays as it is", "before: gpt",
        '/dev/sda 1 1 MiB 8 MiB ext4 "x", named "old"', "/dev/sda 2 20 MiB 50 MiB nothing known",
        "after: gpt, with a boot loader", '/dev/sda 1 1 MiB 8 MiB ext4 "x" [not touched]',
        "/dev/sda2 20 MiB 50 MiB ext4 /, image root.img [new]", "No other disk is written to.",
    ]  # fmt: skip
    assert plan.to_json()["disks"][0]["before"][0]["what"] == 'ext4 "x", named "old"'


def test_a_deployment_crosses_the_pipe_unchanged():
    deployment = Deployment(
        Scheme((TargetDisk("/dev/sda", partitions=(part(1, 1, 9, flags=("raid",)),)),)),
        (ImageRequest(("a", "b"), "/dev/sda1", raw_md5="0" * 32),), ("bios",), hostname="h",
        config_drive=ConfigDriveData("h", "h.d", values=(("puppet", {"enable": 1}),)),
        secrets=("s",),
    )  # fmt: skip
    assert deployment_from_wire(deployment_to_wire(deployment)) == deployment
    limits = CopyLimits(stall_s=3.0, total_s=None)
    assert limits_from_wire(limits_to_wire(limits)) == limits


@pytest.mark.parametrize(
    ("word", "image"),
    [
        ("set.yaml", GivenImage("", "set.yaml")),
        ("/=root.img.gz", GivenImage("/", "root.img.gz")),
        ("/boot=https://h/a?b=c", GivenImage("/boot", "https://h/a?b=c")),
        ("https://h/set.json?a=b", GivenImage("", "https://h/set.json?a=b")),
    ],
)
def test_images_of_a_command_line(word, image):
    assert parse_given(word) == image


def test_a_disk_is_found_by_its_links_first(tmp_path, monkeypatch):
    monkeypatch.setattr("goldsmith.deploy.disk_lookup.stat.S_ISBLK", lambda mode: True)
    for name in ("sda", "sdb"):
        (tmp_path / name).touch()
    (tmp_path / "disk").mkdir()
    for name, node in (("one", "sda"), ("too", "sda"), ("other", "sdb")):
        (tmp_path / "disk" / name).symlink_to(tmp_path / node)

    def find(name, place, *links):
        return find_device(name, place, links, tmp_path).rpartition("/")[2]

    assert find("sdb", "none", "disk/one", "disk/too", "disk/gone") == "sda"
    assert find("sdb", "disk/one") == "sda"
    assert find("sdb", "gone") == "sdb"
    assert find("sdb", "disk/one", "disk/one", "disk/other") == "sdb"
    with pytest.raises(GoldsmithError, match="lead to several disks"):
        find("sdc", "disk/one", "disk/one", "disk/other")
    (tmp_path / "sdc").touch()
    with pytest.raises(GoldsmithError, match="lead to several disks"):
        find("sdc", "none", "disk/one", "disk/other")
    for name in ("sdz", "../../etc/passwd", "-x", ""):
        with pytest.raises(GoldsmithError, match="there is no disk"):
            find(name, "gone")
