"""What the guest is asked to make, where the host finds it again, and what it rewrites there."""

from __future__ import annotations

import os
import re
import struct
import uuid
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.disk import guest_assembly, lvm_metadata, md_superblock
from goldsmith.disk.array_config import render
from goldsmith.disk.assemble import assemble
from goldsmith.disk.disk_plan import EXTENT_BYTES
from goldsmith.disk.guest_assembly import GuestFill, GuestJob, make_job, run_job
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import (
    ExactSize,
    FileSystem,
    Layout,
    LogicalVolume,
    Partition,
    Raid,
    VolumeGroup,
)
from goldsmith.disk.planner import plan
from goldsmith.disk.stacking import PV_METADATA_BYTES, runs_of
from goldsmith.disk.volume_places import part_sizes, places
from goldsmith.disk.ways import filled_in_guest
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError, NoSpaceError
from goldsmith.units import MIB

IDENTITY = DiskIdentity("s")
EPOCH_S = 1_700_000_000


def data(name, mib):
    return Partition(name, "data", ExactSize(mib * MIB))


def volume(name, mib, filesystem="ext4", mount=None):
    return LogicalVolume(name, ExactSize(mib * MIB), FileSystem(filesystem), mount)


STACKED = Layout(
    partitions=(data("a", 80), data("b", 90), data("c", 60), data("d", 64), data("e", 64)),
    raids=(Raid("mirror", "1", ("a", "b")), Raid("stripe", "0", ("d", "e"), FileSystem("ext4"))),
    volume_groups=(
        VolumeGroup("vg", ("mirror", "c"), (volume("root", 100, mount="/"), volume("x", 4))),
    ),
)


def test_the_job_of_a_whole_disk(tmp_path):
    disk = plan(STACKED, {})
    stripe = next(a for a in disk.arrays if a.name == "stripe")
    fill = GuestFill(stripe, content=tmp_path / "content")
    job = make_job(disk, [fill], tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    mirror_uuid, stripe_uuid = IDENTITY.array_uuid("mirror"), IDENTITY.array_uuid("stripe")
    assert [" ".join(command) for command in job.commands] == [
        "mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --homehost=any "
        f"--name=mirror --uuid={mirror_uuid} --data-offset=1024K --size=80896K --assume-clean "
        "--bitmap=none /dev/vda1 /dev/vda2",
        "mdadm --create /dev/md1 --run --level=0 --raid-devices=2 --metadata=1.2 --homehost=any "
        f"--name=stripe --uuid={stripe_uuid} --data-offset=1024K --chunk=512 "
        "/dev/vda4 /dev/vda5",
        f"pvcreate --yes --quiet --zero y --uuid {IDENTITY.lvm_uuid('physical', 'mirror')} "
        "--restorefile /run/goldsmith/vg.vg /dev/md0",
        f"pvcreate --yes --quiet --zero y --uuid {IDENTITY.lvm_uuid('physical', 'c')} "
        "--restorefile /run/goldsmith/vg.vg /dev/vda3",
        "vgcfgrestore --yes --quiet --file /run/goldsmith/vg.vg vg",
        "dd if=/dev/disk/1 of=/dev/md1 bs=256K conv=notrunc,sparse,fsync status=none",
        "mdadm --stop /dev/md0",
        "mdadm --stop /dev/md1",
    ]
    assert (job.clock_s, job.inputs) == (EPOCH_S, (tmp_path / "content",))
    assert list(job.files) == ["/run/goldsmith/vg.vg"]


def test_a_file_system_is_made_and_filled_by_the_guest(tmp_path):
    disk = plan(STACKED, {})
    root = disk.groups[0].volumes[0]
    fills = [
        GuestFill(root, mkfs=("mkfs.xfs", "/dev/vg/root"), archive=tmp_path / "tree"),
        GuestFill(disk.groups[0].volumes[1], mkfs=("mkfs.xfs", "/dev/vg/x")),
    ]
    job = make_job(disk, fills, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S)
    words = [" ".join(command[:4]) for command in job.commands]
    assert words[words.index("vgchange --activate y vg") :] == [
        "vgchange --activate y vg", "mkfs.xfs /dev/vg/root", "mkdir -p /mnt/0",
        "mount /dev/vg/root /mnt/0", "tar --extract --file=/dev/disk/1 --directory=/mnt/0",
        "sync --file-system /mnt/0", "umount /mnt/0", "mkfs.xfs /dev/vg/x",
        "vgchange --activate n vg",
        "mdadm --stop /dev/md0", "mdadm --stop /dev/md1",
    ]  # fmt: skip


def test_the_description_of_a_group():
    disk = plan(STACKED, {})
    text = lvm_metadata.describe(
        disk.groups[0], part_sizes(disk), guest_assembly.devices(disk), IDENTITY, epoch_s=EPOCH_S
    )
    assert text.count("{") == text.count("}")
    mirror, plain = (80 - 1) // 4, (60 - 1) // 4
    assert re.findall(r"\bpe_count = (\d+)", text) == [str(mirror), str(plain)]
    assert re.findall(r'stripes = \["(pv\d)", (\d+)\]', text) == [
        ("pv0", "0"), ("pv1", "0"), ("pv1", str(25 - mirror))
    ]  # fmt: skip
    assert re.findall(r"segment_count = (\d)", text) == ["2", "1"]
    assert f'id = "{IDENTITY.lvm_uuid("group", "vg")}"' in text
    assert set(re.findall(r"creation_time = (\d+)", text)) == {str(EPOCH_S)}


def test_identifiers_of_lvm_have_its_form():
    found = {IDENTITY.lvm_uuid(kind, "vg") for kind in ("group", "physical", "logical")}
    assert len(found) == 3
    assert all(re.fullmatch(r"\w{6}(-\w{4}){5}-\w{6}", text) for text in found)
    assert IDENTITY.lvm_uuid("group", "vg") == DiskIdentity("s").lvm_uuid("group", "vg")


@given(
    st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(1, 60), min_size=1, max_size=4)
)
def test_runs_are_disjoint_complete_and_inside(wanted, physical):
    if sum(wanted) > sum(physical):
        with pytest.raises(ValueError, match="extents too few"):
            runs_of(wanted, physical)
        return
    given_runs = runs_of(wanted, physical)
    assert [sum(run.count for run in runs) for runs in given_runs] == wanted
    used = [(r.physical, n) for runs in given_runs for r in runs
            for n in range(r.first, r.first + r.count)]  # fmt: skip
    assert len(used) == len(set(used))
    assert all(number < physical[which] for which, number in used)


@st.composite
def stacks(draw):
    count = draw(st.integers(2, 4))
    members = tuple(data(f"m{n}", draw(st.integers(40, 90))) for n in range(count))
    plain = tuple(data(f"p{n}", draw(st.integers(10, 60))) for n in range(draw(st.integers(0, 2))))
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    group = VolumeGroup(
        "vg", ("md", *(p.name for p in plain)),
        tuple(volume(f"v{n}", extents * 4, "swap") for n, extents in enumerate(sizes)),
    )  # fmt: skip
    level = draw(st.sampled_from(["0", "1"]))
    raid = Raid("md", level, tuple(p.name for p in members))
    return Layout(partitions=(*members, *plain), raids=(raid,), volume_groups=(group,))


@settings(max_examples=100, deadline=None)
@given(stacks())
def test_pieces_of_volumes_are_disjoint_aligned_and_inside_their_parts(layout):
    try:
        disk = plan(layout, {})
    except LayoutError:
        return
    found = places(disk)
    if layout.raids[0].level == "0":
        assert found["md"] is None
        assert found["vg/v0"] is None
    partitions = [(p.offset_bytes, p.offset_bytes + p.size_bytes) for p in disk.partitions]
    taken = []
    for planned in disk.groups[0].volumes:
        pieces = found[planned.name]
        if pieces is None:
            continue
        assert sum(piece.size_bytes for piece in pieces) == planned.size_bytes
        for piece in pieces:
            assert piece.size_bytes % EXTENT_BYTES == 0
            for offset in piece.offsets:
                assert offset % MIB == 0
                end = offset + piece.size_bytes
                (around,) = [p for p in partitions if p[0] <= offset < p[1]]
                assert around[0] + PV_METADATA_BYTES <= offset
                assert end <= around[1]
                taken.append((offset, end))
    taken.sort()
    assert all(one[1] <= other[0] for one, other in pairwise(taken))


def test_only_file_systems_without_a_tool_are_filled_in_the_guest():
    layout = Layout(volume_groups=(VolumeGroup("vg", ("p",), (volume("a", 4, "xfs"),
                                                              volume("b", 4))),))  # fmt: skip
    assert filled_in_guest(layout, lambda _: "there is no xfs") == {"vg/a"}
    assert filled_in_guest(layout, lambda _: None) == set()


class Failing:
    """A guest whose command fails with these last words."""

    def __init__(self, *argv, tail):
        self.error = CommandFailed(argv, 2, tail=[tail])

    def run(self, job):
        raise self.error


def job_of(path):
    return GuestJob(image=path / "image", commands=(), clock_s=0, timeout_s=1)


def test_an_error_says_that_it_was_in_the_guest(tmp_path):
    with pytest.raises(GoldsmithError, match=r"in the guest, mdadm --stop exited with status 2"):
        run_job(Failing("mdadm", "--stop", tail="no such array"), job_of(tmp_path))
    with pytest.raises(LayoutError, match="do not fit in their file system"):
        run_job(Failing("tar", tail="write: No space left on device"), job_of(tmp_path))


def test_a_host_without_room_is_named(tmp_path, monkeypatch):
    class Full:
        f_bavail, f_frsize = 3, 4096

    monkeypatch.setattr(guest_assembly.os, "statvfs", lambda _: Full)
    monkeypatch.setattr(guest_assembly, "no_space", lambda path: NoSpaceError(f"{path} is full"))
    with pytest.raises(NoSpaceError, match="image is full"):
        run_job(Failing("dd", tail="Input/output error"), job_of(tmp_path))


def test_a_host_without_room_is_named_though_the_guest_went_on(tmp_path, monkeypatch):
    class Content:
        def run(self, job):
            """Md has lost a member and was content with the other one."""

    monkeypatch.setattr(guest_assembly, "_SHORT_OF_ROOM_BYTES", 1 << 80)
    with pytest.raises(NoSpaceError, match="is full"):
        run_job(Content(), job_of(tmp_path))


def test_a_member_that_was_lost_is_found(tmp_path):
    layout = Layout(partitions=(data("a", 8), data("b", 8)),
                    raids=(Raid("m", "1", ("a", "b"), FileSystem("ext4"), "/"),))  # fmt: skip
    disk = plan(layout, {})
    array, image = disk.arrays[0], tmp_path / "image"

    def settle(*events):
        with open(image, "wb") as stream:
            for planned, count in zip(disk.partitions, events, strict=True):
                stream.seek(planned.offset_bytes + 4096)
                stream.write(superblock(
                    size=array.component_bytes // 512, events=count,
                    offset=array.data_offset_bytes // 512,
                ))  # fmt: skip
        guest_assembly.settle(disk, places(disk), image, identity=IDENTITY, epoch_s=EPOCH_S)

    settle(4, 4)
    with pytest.raises(GoldsmithError, match='made member "b" of array "m" in another way'):
        settle(4, 2)


def test_a_failing_guest_leaves_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr("goldsmith.disk.partition_table.write_table", lambda *_: None)
    monkeypatch.setattr("goldsmith.disk.assemble.get_tool", lambda _: Path("tool"))
    swap = Layout(
        partitions=(data("p", 40), Partition("root", "root", ExactSize(MIB * 8),
                                             FileSystem("ext4"), "/")),
        volume_groups=(VolumeGroup("vg", ("p",), (volume("swap", 4, "swap"),)),),
    )  # fmt: skip
    stages = []
    with pytest.raises(GoldsmithError, match="in the guest, pvcreate exited"):
        assemble(
            plan(swap, {}), {}, tmp_path / "image", identity=IDENTITY, epoch_s=EPOCH_S,
            guest=Failing("pvcreate", tail=""), on_stage=lambda name, *_: stages.append(name),
        )  # fmt: skip
    assert stages == ["partition table", "guest"]
    assert os.listdir(tmp_path) == []


def superblock(level=1, size=1000, events=7, offset=2048):
    block = bytearray(4096)
    struct.pack_into("<I", block, 0, 0xA92B4EFC)
    block[16:32] = uuid.UUID(IDENTITY.array_uuid("m")).bytes
    struct.pack_into("<i", block, 72, level)
    struct.pack_into("<Q", block, 80, size)
    struct.pack_into("<Q", block, 128, offset)
    block[168:184] = os.urandom(16)
    struct.pack_into("<QQ", block, 192, 12345, events)
    struct.pack_into("<I", block, 220, 2)
    struct.pack_into("<I", block, 216, md_superblock.checksum(block))
    return block


def member(tmp_path, block, name="member"):
    path = tmp_path / name
    path.write_bytes(bytes(512 + 4096) + block)
    return path


def test_superblocks_of_two_builds_become_equal(tmp_path):
    paths = [member(tmp_path, superblock(), name) for name in ("one", "other")]
    assert paths[0].read_bytes() != paths[1].read_bytes()
    for path in paths:
        with open(path, "r+b", buffering=0) as stream:
            md_superblock.settle(stream.fileno(), 512, device_uuid=IDENTITY.member_uuid("a"),
                                 epoch_s=EPOCH_S)  # fmt: skip
            found = md_superblock.read(stream.fileno(), 512)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert found == md_superblock.Superblock(IDENTITY.array_uuid("m"), 1, MIB, 512_000, 2)


def test_a_damaged_superblock_is_refused(tmp_path):
    block = superblock()
    block[40] ^= 1
    with (
        open(member(tmp_path, block), "rb") as stream,
        pytest.raises(GoldsmithError, match="no sound superblock of an array at 512 bytes"),
    ):
        md_superblock.read(stream.fileno(), 512)


def crc(data):
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def metadata(trailer):
    text = b'vg {\nid = "x"\n}\n' + trailer + b"\0"
    header = bytearray(512)
    header[4:20] = b" LVM2 x[5A%r0N*>"
    struct.pack_into("<IQQ", header, 20, 1, 4096, MIB - 4096)
    struct.pack_into("<QQII", header, 40, 512, len(text), crc(text), 0)
    struct.pack_into("<I", header, 0, crc(header[4:]))
    return bytes(4096) + bytes(header) + text + bytes(4096)


def test_lvm_metadata_of_two_builds_becomes_equal(tmp_path):
    path, seen = tmp_path / "volume", []
    for moment in ("Sat Nov 21 14:27:38 2026", "Sun Nov  2 01:02:03 2025 (later)"):
        path.write_bytes(metadata(
            f"# Generated by LVM2 version 2.03: {moment}\n\ndescription = \"Write\"\n"
            f"creation_host = \"h\"\t# {moment}\ncreation_time = 1795271258\t# {moment}\n".encode()
        ))  # fmt: skip
        with open(path, "r+b", buffering=0) as stream:
            lvm_metadata.settle(stream.fileno(), 0, epoch_s=EPOCH_S)
        seen.append(path.read_bytes().rstrip(b"\0"))
    assert seen[0] == seen[1]
    assert f"creation_time = {EPOCH_S}\n".encode() in seen[0]
    start, size, sum_of_text, _ = struct.unpack_from("<QQII", seen[0], 4096 + 40)
    text = (seen[0] + b"\0")[4096 + start :][:size]
    assert (crc(text), text[-1:]) == (sum_of_text, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(16384), "has no LVM metadata"),
        (metadata(b"# Generated by LVM2\n").replace(b'"x"', b'"y"'), "that is damaged"),
        (metadata(b"# nobody\n"), "does not know"),
    ],
)
def test_other_metadata_is_refused(tmp_path, content, message):
    path = tmp_path / "volume"
    path.write_bytes(content)
    with (
        open(path, "r+b", buffering=0) as stream,
        pytest.raises(GoldsmithError, match=message),
    ):
        lvm_metadata.settle(stream.fileno(), 0, epoch_s=EPOCH_S)
    assert path.read_bytes() == content


def test_mdadm_conf_lists_the_disks_own_arrays():
    line = re.escape(IDENTITY.array_uuid("mirror").replace("-", ""))
    text = render(STACKED, IDENTITY)
    assert text.startswith("HOMEHOST <system>\n")
    assert re.search(line, text.replace(":", ""))
    existing = (
        "# a note\nHOMEHOST host\nARRAY /dev/md/foreign UUID=1\n\n"
        "# This configuration was auto-generated on Sat, 21 Nov 2026 by mkconf\n"
    )
    text = render(STACKED, IDENTITY, existing)
    assert text.splitlines()[:3] == ["# a note", "HOMEHOST host", ""]
    assert [line.split()[1] for line in text.splitlines()[3:]] == [
        "/dev/md/mirror", "/dev/md/stripe"
    ]  # fmt: skip
    assert render(STACKED, IDENTITY, text) == text
