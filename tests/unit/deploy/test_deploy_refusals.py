"""What is refused before anything is written: by the scheme, and by the disks as they are."""

import shutil
from dataclasses import replace

import pytest

from goldsmith.deploy import refusals
from goldsmith.deploy.change_plan import plan_changes, plan_text
from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.disk_paths import other_paths
from goldsmith.deploy.disks import Content, FoundPartition, HostDisk, Stacked, Use
from goldsmith.deploy.image_requests import parse_given, requests_of
from goldsmith.deploy.refusals import DeployRefused, require_allowed
from goldsmith.deploy.scheme import (
    Array,
    Deployment,
    Group,
    ImageRequest,
    PhysicalVolume,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
    Volume,
    partition_node,
)
from goldsmith.deploy.scheme_check import check_scheme
from goldsmith.disk.block_map import BlockMap, render_bmap
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.units import GIB, MIB, TIB

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@pytest.fixture(autouse=True)
def nothing_held(monkeypatch):
    """Disks of these tests are not there: nobody can hold them."""
    monkeypatch.setattr(refusals, "is_claimed", lambda path: False)


def part(number, begin_mib, size_mib, device="/dev/sda", **fields):
    return TargetPartition(device, number, begin_mib * MIB, size_mib * MIB, **fields)


def target(*partitions, device="/dev/sda", **fields):
    return TargetDisk(device, partitions=partitions, **fields)


def host(device="/dev/sda", **fields):
    name = device.rpartition("/")[2]
    return HostDisk(device, device, name, fields.pop("size_bytes", GIB), **fields)


def reasons(deployment, *disks, partitions=True):
    found = {disk.device: disk for disk in disks}
    return refusals.refusals(deployment, found, partitions=partitions)


ONE = Deployment(Scheme((target(part(1, 1, 100)),)))


def test_a_free_disk_is_allowed():
    assert reasons(ONE, host()) == []
    assert check_scheme(ONE) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runs_host": True}, "is the disk that this host runs from"),
        ({"read_only": True}, "is read-only"),
        ({"size_bytes": 0}, "has no medium"),
        ({"parent": "sda"}, "is a partition of /dev/sda"),
        ({"uses": (Use("/dev/sda1", "mounted at /mnt"),)}, "/dev/sda1 is mounted at /mnt"),
        ({"uses": (Use("/dev/sda1", "used as swap"),)}, "/dev/sda1 is used as swap"),
        ({"stacked": (Stacked("md0", "/dev/md0", "md", frozenset({"sda", "sdb"})),)},
         "/dev/md0 lies on it, and also on /dev/sdb, which the scheme does not name"),
        ({"stacked": (Stacked("dm-3", "/dev/mapper/crypt", "other", frozenset({"sda"})),)},
         "/dev/mapper/crypt lies on it"),
        ({"size_bytes": 50 * MIB}, "/dev/sda1 would end at 101 MiB, and /dev/sda has room up to"),
        ({"sector_bytes": 4096}, "does not begin and end at a sector of 4096 bytes"),
    ],
)  # fmt: skip
def test_a_disk_that_must_not_be_written_is_refused(fields, words):
    deployment = ONE
    if "sector_bytes" in fields:
        odd = TargetPartition("/dev/sda", 1, MIB + 512, MIB)
        deployment = Deployment(Scheme((target(odd),)))
    assert words in "\n".join(reasons(deployment, host(**fields)))


def test_a_disk_that_somebody_holds_is_refused(monkeypatch):
    monkeypatch.setattr(refusals, "is_claimed", lambda path: path == "/dev/sda")
    assert reasons(ONE, host()) == [
        "/dev/sda is in use: somebody holds /dev/sda, perhaps in another mount namespace"
    ]


def test_a_device_that_gets_no_partitions_is_refused():
    mapped = replace(host(), name="dm-3")
    assert "is made by device-mapper" in reasons(ONE, mapped)[0]
    assert reasons(Deployment(Scheme((TargetDisk("/dev/sda", "none"),))), mapped) == []


def test_what_lies_on_a_disk_is_asked_who_holds_it(monkeypatch):
    """The disk itself is always held by it, and so tells nothing."""
    held = {"/dev/sda", "/dev/mapper/g-home"}
    monkeypatch.setattr(refusals, "is_claimed", lambda path: path in held)
    stacked = Stacked("dm-0", "/dev/mapper/g-home", "lvm", frozenset({"sda"}))
    disk = host(stacked=(stacked,), leaves=("/dev/sda1", "/dev/mapper/g-home"))
    keep = Deployment(Scheme((target(part(1, 1, 100), policy="keep"),)))
    there = replace(disk, label="gpt", partitions=(found(1, 1, 100),))
    assert "somebody holds /dev/mapper/g-home" in "\n".join(reasons(keep, there))
    held.remove("/dev/mapper/g-home")
    assert reasons(keep, there) == []


@pytest.mark.parametrize("partitions", [True, False])
def test_what_is_to_be_there_lies_on_named_disks(monkeypatch, partitions):
    """A host may have an array or group of the same name on other disks."""
    below = {"/dev/md0": frozenset({"sda", "sdb"}), "/dev/mapper/g-v": frozenset({"sdc"})}
    monkeypatch.setattr(refusals, "disks_below", lambda node: below.get(node, frozenset()))
    scheme = Scheme(
        (target(part(1, 1, 100), part(2, 101, 100), part(3, 201, 100), policy="keep"),),
        (Array("/dev/md0", "1", ("/dev/sda1", "/dev/sda2")),), (PhysicalVolume("/dev/sda3"),),
        (Group("g", ("/dev/sda3",)),), (Volume("v", "g", MIB),),
    )  # fmt: skip
    places = (found(1, 1, 100), found(2, 101, 100), found(3, 201, 100))
    disk = host(label="gpt", partitions=places)
    text = "\n".join(reasons(Deployment(scheme), disk, partitions=partitions))
    assert "/dev/md0 is to be there already, and lies on /dev/sdb, which the scheme" in text
    assert "/dev/mapper/g-v is to be there already, and lies on /dev/sdc" in text
    below |= {"/dev/md0": frozenset({"sda"}), "/dev/mapper/g-v": frozenset()}
    assert reasons(Deployment(scheme), disk, partitions=partitions) == [
        "/dev/mapper/g-v is to be there already, and is not: assemble or activate it first"
    ]


def test_a_boot_loader_goes_only_where_one_lies():
    """Nothing looks at what a partition for GRUB holds before it is written there."""
    wanted = target(part(1, 1, 1, type="bios-boot"), policy="keep", boot_loader=True)
    disk = host(label="gpt", partitions=(found(1, 1, 1),))
    assert "is to hold the boot loader" in reasons(Deployment(Scheme((wanted,))), disk)[0]
    bios = found(1, 1, 1, "21686148-6449-6E6F-744E-656564454649")
    assert reasons(Deployment(Scheme((wanted,))), replace(disk, partitions=(bios,))) == []


def test_an_extended_partition_is_no_place_for_a_file_system():
    wanted = target(part(4, 1, 100), policy="keep", label="mbr")
    extended = FoundPartition(4, MIB, 100 * MIB, "5", "", Content("extended"))
    disk = host(label="mbr", partitions=(extended,))
    assert "it holds the others" in reasons(Deployment(Scheme((wanted,))), disk)[0]


def test_what_lies_on_named_disks_only_is_taken_down():
    stacked = Stacked("md0", "/dev/md0", "md", frozenset({"sda", "sdb"}))
    both = Deployment(Scheme((target(part(1, 1, 9)),
                              target(part(1, 1, 9, "/dev/sdb"), device="/dev/sdb"))))  # fmt: skip
    assert reasons(both, host(stacked=(stacked,)), host("/dev/sdb", stacked=(stacked,))) == []


def test_a_path_of_several_to_one_disk_is_refused():
    """Another path may be mounted, and nothing on this one would tell."""
    mapped = Stacked("dm-0", "/dev/mapper/mpatha", "multipath", frozenset({"sda", "sdb"}))
    assert reasons(ONE, host(stacked=(mapped,))) == [
        "/dev/sda is one of several paths to a disk: name /dev/mapper/mpatha"
    ]
    (said,) = reasons(ONE, host(other_paths=("sdb", "sdc")))
    assert said.startswith("/dev/sda is the same disk as /dev/sdb, /dev/sdc, by another path")
    assert "multipathd" in said
    assert "--distinct-disk /dev/sda" in said


def test_a_disk_may_be_said_to_be_one_of_its_own():
    """Some makers give all their disks one identifier: then only people know."""
    disk = host(other_paths=("sdb",))
    assert reasons(replace(ONE, distinct_disks=("/dev/sda",)), disk) == []
    by_link = replace(disk, device="/dev/disk/by-id/x")
    linked = Deployment(Scheme((target(device="/dev/disk/by-id/x"),)))
    for name in ("/dev/sda", "/dev/disk/by-id/x"):
        assert reasons(replace(linked, distinct_disks=(name,)), by_link) == []
    other = reasons(replace(ONE, distinct_disks=("/dev/sdb",)), disk)
    assert other[0] == "/dev/sdb is said to be a disk of its own, and is none of the scheme's disks"
    assert "by another path" in other[1]
    used = replace(disk, uses=(Use("/dev/sda1", "mounted at /mnt"),))
    assert "is in use" in reasons(replace(ONE, distinct_disks=("/dev/sda",)), used)[0]


@pytest.mark.parametrize("policy", ["clean", "verify", "keep"])
@pytest.mark.parametrize("kind", ["isw_raid_member", "ddf_raid_member", "jmicron_raid_member"])
def test_a_disk_of_an_array_of_firmware_is_held(kind, policy):
    disk = host(label="gpt", content=Content(kind), partitions=(found(1, 1, 100),))
    said = reasons(Deployment(Scheme((target(part(1, 1, 100), policy=policy),))), disk)
    assert said[0].startswith(f"/dev/sda is held: it belongs to an array of its controller's "
                              f"firmware ({kind})")  # fmt: skip
    ours = replace(disk, content=Content("linux_raid_member"))
    assert not [reason for reason in reasons(ONE, ours) if "firmware" in reason]


def test_paths_are_known_by_the_name_that_a_disk_has_in_all_the_world(tmp_path):
    for name, file, wwid, size in (
        ("sda", "device/wwid", "naa.1", "8"), ("sdb", "device/wwid", "naa.1", "8"),
        ("sda1", "device/wwid", "naa.1", "8"), ("sdc", "device/wwid", "naa.2", "8"),
        ("sdd", "device/wwid", "naa.1", "9"), ("nvme0n1", "wwid", "eui.1", "8"),
        ("nvme1n1", "wwid", "eui.1", "8"), ("vda", "", "", "8"), ("vdb", "", "", "8"),
    ):  # fmt: skip
        place = tmp_path / name
        (place / "device").mkdir(parents=True)
        (place / "size").write_text(f"{size}\n")
        if file:
            (place / file).write_text(f"{wwid}\n")
    (tmp_path / "sda1/partition").write_text("1\n")
    hidden = tmp_path / "nvme0c0n1"
    shutil.copytree(tmp_path / "nvme0n1", hidden)
    (hidden / "hidden").write_text("1\n")
    found = {path.name: other_paths(path.name, directory=tmp_path) for path in tmp_path.iterdir()}
    assert {name: others for name, others in found.items() if others} == {
        "sda": ("sdb",), "sdb": ("sda",), "nvme0n1": ("nvme1n1",), "nvme1n1": ("nvme0n1",),
    }  # fmt: skip


def test_two_names_of_one_disk_are_refused():
    link = replace(host("/dev/disk/by-id/x"), name="sda")
    both = Deployment(Scheme((target(part(1, 1, 9)), target(device="/dev/disk/by-id/x"))))
    assert "/dev/disk/by-id/x and /dev/sda are the same disk" in reasons(both, host(), link)


def found(number, begin_mib, size_mib, type_id=LINUX):
    return FoundPartition(number, begin_mib * MIB, size_mib * MIB, type_id, "", Content("ext4"))


@pytest.mark.parametrize(
    ("policy", "disk", "words"),
    [
        ("verify", host(label="gpt", partitions=(found(1, 1, 100),)), []),
        ("verify", host(label="gpt", partitions=(found(1, 1, 99),)), ["partition 1 lies at"]),
        ("verify", host(label="gpt", partitions=(found(1, 1, 100, "AB"),)), ["is of type AB"]),
        ("verify", host(label="gpt", partitions=(found(1, 1, 100), found(2, 200, 1))),
         ["it has a partition 2"]),
        ("verify", host(label="mbr"), ["it has a mbr table, and the scheme wants a gpt table"]),
        ("verify", host(label="gpt", damaged="bad"), ["cannot be read: bad"]),
        ("keep", host(label="gpt", partitions=(found(1, 50, 200), found(2, 300, 1))), []),
        ("keep", host(label="gpt", partitions=(found(1, 50, 20),)), ["partition 1 has 20 MiB"]),
        ("keep", host(label="gpt", partitions=(found(2, 50, 20),)), ["it has no partition 1"]),
        ("keep", host(), ["it has no partition table"]),
        ("clean", host(label="gpt", damaged="bad"), []),
    ],
)  # fmt: skip
def test_a_table_that_stays_is_compared(policy, disk, words):
    deployment = Deployment(Scheme((target(part(1, 1, 100), policy=policy),)))
    text = "\n".join(reasons(deployment, disk))
    assert bool(text) == bool(words)
    for word in words:
        assert word in text


def test_without_partitioning_the_table_must_be_the_wanted_one():
    assert reasons(ONE, host(), partitions=False) != []


def test_an_image_that_is_too_large_is_refused():
    image = ImageRequest(("http://h/a.gz",), "/dev/sda1", container="gzip", raw_md5="0" * 32,
                         raw_size_bytes=101 * MIB)  # fmt: skip
    large = replace(ONE, images=(image,))
    assert "has 101 MiB (105906176 bytes), and /dev/sda1 has room for 100 MiB" in reasons(
        large, host()
    )[0]  # fmt: skip
    whole = Deployment(Scheme((TargetDisk("/dev/sda", "none"),)),
                       (replace(image, node="/dev/sda", raw_size_bytes=2 * GIB),))  # fmt: skip
    assert "has room for 1 GiB" in reasons(whole, host())[0]


def test_an_image_without_any_digest_is_refused():
    image = ImageRequest(("http://h/a",), "/dev/sda1")
    assert (
        "nothing says what its bytes must be" in reasons(replace(ONE, images=(image,)), host())[0]
    )
    allowed = replace(ONE, images=(image,), allow_unverified=True)
    assert reasons(allowed, host()) == []


def test_a_file_of_another_size_than_the_metadata_say_is_refused(tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    cut.write_bytes(b"x")
    whole.write_bytes(b"xy")
    image = ImageRequest((str(cut),), "/dev/sda1", raw_md5="0" * 32, container_size_bytes=2)
    assert reasons(replace(ONE, images=(image,)), host()) == [
        f"{cut} has 1 bytes, and its metadata say 2: it was cut short, or is another one"
    ]
    # A mirror may have it in its size; of a server nothing is known yet.
    for other in (str(whole), "http://h/a"):
        mirrored = replace(image, uris=(str(cut), other))
        assert reasons(replace(ONE, images=(mirrored,)), host()) == []


def test_an_image_that_is_not_here_may_be_on_a_mirror(tmp_path):
    image = ImageRequest(("/nowhere/a",), "/dev/sda1", raw_md5="0" * 32)
    assert reasons(replace(ONE, images=(image,)), host()) == ["there is no image /nowhere/a"]
    here = tmp_path / "a b"
    here.write_bytes(b"x")
    for other in ("http://h/a", here.as_uri(), str(here)):
        mirrored = replace(image, uris=("file:///nowhere/a", other))
        assert reasons(replace(ONE, images=(mirrored,)), host()) == []


@pytest.mark.parametrize("uri", ["ftp://h/a", "http://", "file://elsewhere/a", "s3://bucket"])
def test_an_address_that_is_none_is_refused_with_the_rest(uri):
    image = ImageRequest(("http://h/a", uri), "/dev/sda1", raw_md5="0" * 32)
    told = reasons(replace(ONE, images=(image,)), host(read_only=True))
    assert len(told) == 2 and uri in told[1]


def test_the_size_of_a_packed_image_is_that_of_its_map(tmp_path):
    packed, place = tmp_path / "a.img.gz", tmp_path / "a.img.gz.bmap"
    packed.write_bytes(b"")
    place.write_text(render_bmap(BlockMap(GIB, ())))
    given = [parse_given(f"/dev/sda1={packed}")]

    def requests():
        return requests_of(given, ONE.scheme, Emitter("test", lambda event: None), CopyLimits())

    large = replace(ONE, images=requests())
    assert "has 1 GiB" in reasons(large, host())[0]
    place.write_text("<bmap")
    with pytest.raises(GoldsmithError, match=str(place)):
        requests()
    place.unlink()
    assert reasons(large, host())[0] == f"there is no block map {place}"


def test_a_ready_config_drive_must_be_there_and_fit(tmp_path):
    drive = tmp_path / "drive.img"
    scheme = Scheme((target(part(1, 1, 1, config_drive=True)),))
    wanted = Deployment(scheme, config_drive_file=str(drive))
    assert "cannot be read: No such file" in reasons(wanted, host())[0]
    drive.write_bytes(bytes(MIB + 1))
    assert "/dev/sda1 has room for 1 MiB" in reasons(wanted, host())[0]
    drive.write_bytes(bytes(MIB))
    assert reasons(wanted, host()) == []


def test_no_reason_tells_a_password():
    secret = "http://me:hunter2hunter2@h/a?sign=hunter2hunter2"
    image = ImageRequest((secret,), "/dev/sda1", container="rar", raw_size_bytes=GIB)
    text = "\n".join([*reasons(replace(ONE, images=(image,)), host()),
                      *check_scheme(replace(ONE, images=(image,)))])  # fmt: skip
    plan = plan_text(plan_changes(replace(ONE, images=(image,)), {"/dev/sda": host()}))
    assert "http://h/a" in text and "rar" in text and "image a" in plan
    assert "hunter2" not in text + plan


def test_an_mbr_of_a_huge_disk_is_refused():
    huge = Deployment(Scheme((target(part(1, 1, 9), label="mbr"),)))
    assert "does not reach the end" in reasons(huge, host(size_bytes=3 * TIB))[0]


def fs(node, mount, kind="ext4", **fields):
    return TargetFilesystem(node, mount, kind, **fields)


A1, A2 = part(1, 1, 100), part(2, 101, 100)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        (Scheme(), "the scheme names no disk"),
        (Scheme((target(A1), target(A1))), "/dev/sda is described twice"),
        (Scheme((target(),)), "it gets no partitions"),
        (Scheme((target(A1, part(2, 50, 100)),)), "/dev/sda2 overlaps /dev/sda1"),
        (Scheme((target(A1, part(1, 200, 1)),)), "two partitions have number 1"),
        (Scheme((target(part(5, 1, 1), label="mbr"),)), "there is no extended one"),
        (Scheme((target(part(1, 1, 1, type="extended")),)), "only an mbr has extended"),
        (Scheme((target(part(1, 1, 1, type="tape")),)), '"tape" is not a type of partition'),
        (Scheme((target(part(1, 1, 0)),)), "it has no size"),
        (Scheme((target(part(1, 1, 1, label='a"b')),)), "its name has a quote"),
        (Scheme((target(part(1, 1, 1, keep_data=True)),)), 'the policy of its disk is "clean"'),
        (Scheme((TargetDisk("/dev/sda", "none", partitions=(A1,)),)), "has no partitions"),
        (Scheme((TargetDisk("/dev/sda", "none", "keep"),)), "takes all that is on it"),
        (Scheme((target(A1, A2),), (Array("/dev/sdb", "1", ("/dev/sda1", "/dev/sda2")),)),
         "/dev/sdb is not a name of an array"),
        (Scheme((target(A1, A2),), (Array("/dev/md/../sdb", "1", ("/dev/sda1", "/dev/sda2")),)),
         "is not a name of an array"),
        (Scheme((target(A1),), (Array("/dev/md0", "1", ("/dev/sda1",)),)), "at least 2 members"),
        (Scheme((target(A1, A2),), (Array("/dev/md0", "7", ("/dev/sda1",)),)), "is not a level"),
        (Scheme((target(A1),), (Array("/dev/md0", "1", ("/dev/sda1", "/dev/sdx1")),)),
         "its member /dev/sdx1 is not a partition of the scheme"),
        (Scheme((target(A1, A2),), (Array("/dev/md0", "0", ("/dev/sda1", "/dev/sda2"), ("x",)),)),
         "no use for spares"),
        (Scheme((target(A1),), (), (PhysicalVolume("/dev/sda9"),)), "to be used by LVM"),
        (Scheme((target(A1),), (), (), (Group("g", ("/dev/sda1",)),)), "is not a physical volume"),
        (Scheme((target(A1),), (), (), (), (Volume("v", "g", MIB),)), 'no volume group "g"'),
        (Scheme((target(A1),), (), (PhysicalVolume("/dev/sda1"),), (Group("g", ("/dev/sda1",)),),
                (Volume("v", "g", 200 * MIB),)), 'the logical volumes of "g" take 200 MiB'),
        (Scheme((target(A1),), filesystems=(fs("/dev/sdb1", "/"),)), "does not make it"),
        (Scheme((target(A1),), filesystems=(fs("/dev/sda1", "boot"),)), "not an absolute path"),
        (Scheme((target(A1),), filesystems=(fs("/dev/sda1", "/a/../b"),)), "not an absolute path"),
        (Scheme((target(A1),), filesystems=(fs("/dev/sda1", "/", "zfs"),)), "not a file system"),
        (Scheme((target(A1),), filesystems=(fs("/dev/sda1", "/", label="x" * 17),)), "longer than"),
        (Scheme((target(A1, A2),), filesystems=(fs("/dev/sda1", "/"), fs("/dev/sda2", "/"))),
         "two file systems are mounted at /"),
        (Scheme((target(A1),), filesystems=(fs("/dev/sda1", "/"), fs("/dev/sda1", "/x"))),
         "/dev/sda1 has two file systems"),
        (Scheme((target(A1, A2),), (Array("/dev/md0", "1", ("/dev/sda1", "/dev/sda2")),),
                filesystems=(fs("/dev/sda1", "/"),)), "has no file system of its own"),
        (Scheme((target(replace(A1, config_drive=True), replace(A2, config_drive=True)),)),
         "two partitions for a config drive"),
        (Scheme((target(A1), target(part(1, 1, 9, "/dev/sdb"), device="/dev/sdb", policy="keep")),
                (Array("/dev/md0", "1", ("/dev/sda1", "/dev/sdb1")),)), "of different policies"),
    ],
)  # fmt: skip
def test_a_scheme_that_cannot_be_is_refused(scheme, words):
    assert words in "\n".join(check_scheme(Deployment(scheme)))


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        (replace(ONE, firmware=("bios",)), "no file system is mounted at /"),
        (replace(ONE, firmware=("bios",)), "no disk gets the boot loader"),
        (Deployment(Scheme((target(A1, boot_loader=True),)), firmware=("bios", "uefi")),
         "needs a partition of type bios-boot"),
        (Deployment(Scheme((target(A1, boot_loader=True),)), firmware=("uefi",)), "of type esp"),
        (replace(ONE, firmware=("openfirmware",)), "is not a firmware"),
        (replace(ONE, images=(ImageRequest((), "/dev/sda1"),)), "its image has no address"),
        (replace(ONE, images=(ImageRequest(("/x",), "/dev/sdb"),)), "does not make /dev/sdb"),
        (replace(ONE, images=(ImageRequest(("/x",), "/dev/sda1"),) * 2), "two images"),
        (Deployment(Scheme((target(A1),), (), (PhysicalVolume("/dev/sda1"),)),
                    (ImageRequest(("/x",), "/dev/sda1"),)), "is a part of an array"),
        (Deployment(Scheme((target(part(1, 1, 9, config_drive=True, keep_data=True)),)),
                    config_drive_file="/x"), "it gets the config drive"),
        (replace(ONE, images=(ImageRequest(("/x",), "/dev/sda1", container="rar"),)), '"rar"'),
    ],
)  # fmt: skip
def test_a_deployment_that_cannot_be_is_refused(deployment, words):
    assert words in "\n".join(check_scheme(deployment))


def test_all_reasons_come_at_once():
    bad = Deployment(Scheme((target(part(1, 1, 0), part(1, 5, 2000, type="tape")),)))
    with pytest.raises(DeployRefused) as caught:
        require_allowed(bad, {"/dev/sda": host(read_only=True, runs_host=True)})
    text = str(caught.value)
    for words in ("no size", "tape", "number 1", "read-only", "runs from", "would end at"):
        assert words in text
    assert caught.value.hint == "nothing was written to any disk"


@pytest.mark.parametrize(
    ("device", "node"),
    [
        ("/dev/sda", "/dev/sda3"), ("/dev/nvme0n1", "/dev/nvme0n1p3"),
        ("/dev/loop7", "/dev/loop7p3"), ("/dev/mapper/mpatha", "/dev/mapper/mpatha-part3"),
        ("/dev/cciss/c0d0", "/dev/cciss/c0d0p3"),
        ("/dev/md127", "/dev/md127p3"), ("/dev/disk/by-id/x", "/dev/disk/by-id/x-part3"),
    ],
)  # fmt: skip
def test_nodes_are_named_as_the_kernel_does(device, node):
    assert partition_node(device, 3) == node
