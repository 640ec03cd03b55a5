"""Arrays and volume groups made in a real guest, read back by their own tools in another one."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace

import pytest
from disk_trees import cut, describe, make_tree
from private_namespace import run_privately

from goldsmith.disk import attached
from goldsmith.disk.assemble import assemble
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
from goldsmith.disk.usage import measure
from goldsmith.disk.volume_places import places
from goldsmith.errors import GoldsmithError, NoSpaceError
from goldsmith.host import mounts, sparse
from goldsmith.machine.disk_guest import DiskGuest
from goldsmith.machine.guest import run_guest
from goldsmith.machine.guest_image import open_guest_image
from goldsmith.machine.guest_protocol import GuestDisk, GuestStep
from goldsmith.units import MIB

pytestmark = [pytest.mark.root, pytest.mark.boot, pytest.mark.network]

EPOCH_S = 1_700_000_000
IDENTITY = DiskIdentity("stacked")


def data(name, mib):
    return Partition(name, "data", ExactSize(mib * MIB))


def volume(name, size, filesystem, mount=None):
    return LogicalVolume(name, size, FileSystem(filesystem), mount)


# One of everything that can be computed: a mirror, a volume on it, one that spans two physical
# volumes, one on a partition.
LINEAR = Layout(
    partitions=(
        data("a", 80), data("b", 80), data("c", 120), data("d", 40), data("e", 40),
        Partition("boot", "boot", ExactSize(32 * MIB), FileSystem("ext4"), "/boot"),
    ),
    raids=(
        Raid("md0", "1", ("a", "b")),
        Raid("srv", "1", ("d", "e"), FileSystem("ext4"), "/srv"),
    ),
    volume_groups=(
        VolumeGroup("vg", ("md0", "c"), (
            volume("swap", ExactSize(8 * MIB), "swap"),
            volume("root", ExactSize(120 * MIB), "ext4", "/"),
            volume("var", ExactSize(32 * MIB), "ext4", "/var"),
        )),
    ),
)  # fmt: skip
# What only drivers can write: parity, a volume on it, and a file system without a tool.
DRIVEN = Layout(
    partitions=(
        data("a", 80), data("b", 80), data("c", 80), data("d", 100), data("e", 100),
        Partition("x", "data", ExactSize(340 * MIB), FileSystem("xfs", "x"), "/x"),
    ),
    raids=(
        Raid("parity", "5", ("a", "b", "c")),
        Raid("stripe", "0", ("d", "e"), FileSystem("ext4", "stripe"), "/srv"),
    ),
    volume_groups=(
        VolumeGroup("vg", ("parity",), (
            volume("swap", ExactSize(8 * MIB), "swap"),
            volume("root", ExactSize(100 * MIB), "ext4", "/"),
        )),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A tree of every kind of file for each mount point."""
    top = tmp_path_factory.mktemp("trees")
    return {
        mount: make_tree(top / str(number), owners=True, holes=False)
        for number, mount in enumerate(("/", "/srv", "/var", "/x"))
    }


def made_by(guest, layout, trees, image, scratch):
    """An image of a layout, assembled with this guest; nothing is left in `scratch`."""
    contents = {mount: trees[mount] for mount in layout.by_mount() if mount in trees}
    usage = {mount: measure(tree, [mount])[mount] for mount, tree in contents.items()}
    disk = plan(layout, usage)
    try:
        made = assemble(disk, contents, image, identity=IDENTITY, epoch_s=EPOCH_S,
                        scratch=scratch, guest=guest)  # fmt: skip
    finally:
        assert list(scratch.iterdir()) == []
    return disk, made


@pytest.fixture
def scratch(tmp_path):
    """An empty directory."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def linear(trees, tmp_path_factory):
    """The plan of LINEAR and an image of it, which no test changes."""
    top = tmp_path_factory.mktemp("linear")
    (top / "scratch").mkdir()
    guest = DiskGuest(top / "scratch")
    return made_by(guest, LINEAR, trees, top / "image", top / "scratch")


@pytest.fixture
def inspect(tmp_path):
    """Runs commands in a guest on an image; returns what they print and their results."""

    def look(image, *commands, results=()):
        lines = []
        step = GuestStep(
            commands=commands, timeout_s=600, results=results, disks=[GuestDisk(path=image)]
        )
        result = run_guest(step, directory=tmp_path, on_line=lambda _, line: lines.append(line))
        assert result.status == 0, lines
        return "\n".join(lines), result.results

    return look


def digest(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_mirrors_and_linear_volumes(linear, inspect, trees, tmp_path):
    disk, made = linear
    places_of = places(disk)
    first, second = places_of["srv"][0].offsets
    size = places_of["srv"][0].size_bytes
    copies = [cut(made.path, at, size, tmp_path / f"copy-{at}") for at in (first, second)]
    assert digest(copies[0]) == digest(copies[1])
    subprocess.run(["e2fsck", "-fn", copies[0]], check=True, capture_output=True)
    assert len(places_of["vg/root"]) == 2
    copy = tmp_path / "image"
    sparse.copy_sparse(made.path, copy)
    text, results = inspect(
        copy,
        ["mdadm", "--examine", "/dev/vda1", "/dev/vda2", "/dev/vda4"],
        ["mdadm", "--assemble", "--scan"],
        ["cat", "/proc/mdstat"],
        ["sh", "-c", "echo check >/sys/block/md127/md/sync_action; mdadm --wait /dev/md127; "
                     "cat /sys/block/md127/md/mismatch_cnt >/root/mismatch"],
        ["pvck", "/dev/vda3"],
        ["vgs", "-o", "vg_name,vg_uuid,vg_extent_count,vg_free_count"],
        ["lvs", "-o", "lv_name,lv_uuid,lv_size,lv_time,lv_host,seg_pe_ranges"],
        ["vgck", "vg"],
        ["vgchange", "--activate", "y", "vg"],
        ["e2fsck", "-f", "-n", "/dev/vg/root"],
        ["e2fsck", "-f", "-n", "/dev/vg/var"],
        ["blkid", "-p", "/dev/vg/swap"],
        ["mkdir", "/r"],
        ["mount", "-o", "ro,noload", "/dev/vg/root", "/r"],
        ["tar", "-c", "-f", "/root/root.tar", "-C", "/r", "etc/motd", "etc/large"],
        results=["/root/mismatch", "/root/root.tar"],
    )  # fmt: skip
    assert results["/root/mismatch"] == b"0\n"
    assert (trees["/"] / "etc/large").read_bytes() in results["/root/root.tar"]
    assert text.count("State : clean") == 3
    assert "correct" in text
    assert "[2/2] [UU]" in text
    assert IDENTITY.lvm_uuid("group", "vg") in text
    assert IDENTITY.lvm_uuid("logical", "vg/root") in text
    assert IDENTITY.filesystem_uuid("vg/swap", "swap") in text
    assert "2023-11-14" in text
    uuids = {volume.name: volume.uuid for volume in made.volumes}
    assert uuids["vg/var"] == IDENTITY.lvm_uuid("logical", "vg/var")
    colons = ":".join(uuids["md0"][at : at + 8] for at in range(0, 32, 8))
    assert colons in text


def test_two_builds_give_the_same_bytes(linear, trees, tmp_path, scratch):
    _, other = made_by(DiskGuest(scratch), LINEAR, trees, tmp_path / "other", scratch)
    assert digest(other.path) == digest(linear[1].path)


def test_what_only_drivers_can_write(inspect, trees, monkeypatch, tmp_path, scratch):
    monkeypatch.setattr(attached, "_kernel_knows", lambda type: False)
    _, made = made_by(DiskGuest(scratch), DRIVEN, trees, tmp_path / "image", scratch)
    out = tmp_path / "out"
    text, results = inspect(
        made.path,
        ["mdadm", "--assemble", "--scan"],
        ["sh", "-c", "for md in /sys/block/md*; do if [ -e $md/md/sync_action ]; then "
                     "echo check >$md/md/sync_action; mdadm --wait /dev/${md##*/}; "
                     "cat $md/md/mismatch_cnt; fi; done >/root/mismatch"],
        ["vgchange", "--activate", "y", "vg"],
        ["e2fsck", "-f", "-n", "/dev/vg/root"],
        ["sh", "-c", "e2fsck -f -n $(blkid -L stripe)"],
        ["xfs_repair", "-n", "/dev/vda6"],
        ["mkdir", "/x"],
        ["mount", "-o", "ro", "/dev/vda6", "/x"],
        ["tar", "-c", "-f", "/root/x.tar", "--xattrs", "--xattrs-include=*", "--numeric-owner",
         "-C", "/x", "."],
        ["blkid", "-p", "/dev/vda6"],
        results=["/root/mismatch", "/root/x.tar"],
    )  # fmt: skip
    assert results["/root/mismatch"] == b"0\n"
    assert IDENTITY.filesystem_uuid("x", "xfs") in text
    out.mkdir()
    subprocess.run(
        ["tar", "-x", "-f", "-", "-C", out, "--xattrs", "--xattrs-include=*", "--numeric-owner"],
        input=results["/root/x.tar"], check=True,
    )  # fmt: skip
    wanted, found = (describe(top, latest_s=EPOCH_S) for top in (trees["/x"], out))
    assert found == wanted


class Broken:
    """A guest in which a command fails."""

    def __init__(self, guest):
        self.guest = guest

    def run(self, job):
        self.guest.run(replace(job, commands=(*job.commands, ("mdadm", "--stop", "/dev/md9"))))


def test_a_command_that_fails_in_the_guest(trees, tmp_path, scratch):
    with pytest.raises(GoldsmithError, match=r"in the guest, mdadm --stop /dev/md9 exited"):
        made_by(Broken(DiskGuest(scratch)), LINEAR, trees, tmp_path / "image", scratch)
    assert not (tmp_path / "image").exists()


def test_a_host_that_becomes_full_in_the_guest(trees, tmp_path, scratch):
    """The image lies on a small file system: the guest's writes fail, and it cannot know why."""
    small = tmp_path / "small"
    small.mkdir()
    root = Partition("root", "root", ExactSize(8 * MIB), FileSystem("ext4"), "/")
    layout = Layout(
        partitions=(data("a", 80), data("b", 80), root),
        raids=(Raid("srv", "0", ("a", "b"), FileSystem("ext4"), "/srv"),),
    )
    disk = plan(layout, {"/srv": measure(trees["/srv"], ["/srv"])["/srv"]})
    open_guest_image()

    def build():
        with mounts.mounted("tmpfs", small, "tmpfs", options="size=3m"):
            with pytest.raises(NoSpaceError, match=r"image cannot be written: .* is full"):
                assemble(disk, {"/srv": trees["/srv"]}, small / "image", identity=IDENTITY,
                         epoch_s=EPOCH_S, scratch=scratch, guest=DiskGuest(scratch))  # fmt: skip
            return [*small.iterdir(), *scratch.iterdir()]

    assert run_privately(build) == []


@pytest.mark.nightly
@pytest.mark.parametrize(("level", "members"), [("6", 4), ("10", 3), ("0", 3)])
def test_every_level(inspect, trees, tmp_path, scratch, level, members):
    """Members of unequal size, too: the smallest one counts."""
    parts = tuple(data(f"m{n}", 48 + n) for n in range(members))
    root = Partition("root", "root", ExactSize(8 * MIB), FileSystem("ext4"), "/")
    raid = Raid("srv", level, tuple(p.name for p in parts), FileSystem("ext4", "srv"), "/srv")
    layout = Layout(partitions=(*parts, root), raids=(raid,))
    image = tmp_path / "image"
    made_by(DiskGuest(scratch), layout, {"/srv": trees["/srv"]}, image, scratch)
    text, results = inspect(
        image,
        ["mdadm", "--assemble", "--scan"],
        ["sh", "-c", "echo check >/sys/block/md127/md/sync_action && mdadm --wait /dev/md127; "
                     "cat /sys/block/md127/md/mismatch_cnt /proc/mdstat >/root/seen || :"],
        ["e2fsck", "-f", "-n", "/dev/md127"],
        results=["/root/seen"],
    )  # fmt: skip
    assert "srv:" in text
    seen = results["/root/seen"].decode()
    assert f"raid{level}" in seen
    if level != "0":
        assert seen.startswith("0\n")
        assert f"[{members}/{members}]" in seen
