"""Images onto real block devices: full of old data, in use, vanishing, larger than the image."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest
from private_namespace import run_privately

from fault_server import Fault, fault_server
from goldsmith.deploy.copying import qcow2
from goldsmith.deploy.copying.copy import copy_image
from goldsmith.deploy.copying.grow import NotGrown, grow_filesystem
from goldsmith.deploy.copying.images import CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.target import HEAD_BYTES, ImageTooLarge, TargetError
from goldsmith.deploy.copying.whole_disk import NoTable, finish_disk
from goldsmith.disk.block_map import parse_bmap, render_bmap
from goldsmith.disk.containers import pack
from goldsmith.errors import ResourceBusy
from goldsmith.events import Emitter
from goldsmith.host.loop import attached
from goldsmith.host.mounts import mounted
from goldsmith.units import MIB

pytestmark = pytest.mark.root
LIMITS = CopyLimits(stall_s=60, rounds=2, pause_s=0.01)
EMIT = Emitter("copy", lambda event: None)


def call(*argv, **known):
    return subprocess.run(argv, check=True, capture_output=True, **known)


def make_filesystem(path, kind, size_bytes, tree=None):
    """A bare file system, its free blocks holes."""
    with open(path, "xb") as stream:
        stream.truncate(size_bytes)
    options = {"ext": ("-q", "-F"), "xfs": ("-q",), "btr": ("-q",)}[kind[:3]]
    filling = ("-d", str(tree)) if tree else ()
    call(f"mkfs.{kind}", *options, *filling, path)
    return path


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"file{number}").write_bytes(hashlib.shake_128(b"%d" % number).digest(99_000))
    return tree


@pytest.fixture
def image(tmp_path, tree):
    return make_filesystem(tmp_path / "image.raw", "ext4", 24 * MIB, tree)


@contextmanager
def old_device(tmp_path, size_bytes=40 * MIB):
    """A loop device that is full of something else."""
    file = tmp_path / "disk"
    file.write_bytes(b"\xa5" * size_bytes)
    with attached(file) as device:
        yield device


def sha256_of(path):
    return {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def copy(uri, target, **known):
    return copy_image(ImageToCopy(uris=(str(uri),), **known), target, emit=EMIT, limits=LIMITS)


def is_blank(device):
    """Nothing is recognised on it."""
    done = subprocess.run(["blkid", "--probe", device], capture_output=True, check=False)
    return done.returncode == 2 and not done.stdout


def test_a_file_system_is_copied_by_its_map_checked_and_grown(tmp_path, image):
    packed = pack(image, tmp_path / "image.zst", "zstd")
    with old_device(tmp_path) as device:
        copied = copy(
            tmp_path / "image.zst", device.path, container="zstd", size_bytes=24 * MIB,
            digests={"sha256": packed.raw.sha256}, block_map=packed.raw.block_map,
        )  # fmt: skip
        assert device.path.read_bytes()[: 24 * MIB] == image.read_bytes()
        assert not any(device.path.read_bytes()[24 * MIB :])
        assert copied.written_bytes < 8 * MIB
        call("e2fsck", "-f", "-n", device.path)
        assert grow_filesystem(device.path, "ext4")
        told = call("dumpe2fs", "-h", device.path, text=True).stdout
        size = [int(line.split()[-1]) for line in told.splitlines()
                if line.startswith(("Block count", "Block size"))]  # fmt: skip
        assert size[0] * size[1] == 40 * MIB
        call("e2fsck", "-f", "-n", device.path)
        assert not grow_filesystem(device.path, "vfat")


def test_a_map_that_bmaptool_made_is_read_and_ours_by_bmaptool(tmp_path, image):
    theirs = tmp_path / "image.bmap"
    call("bmaptool", "create", "-o", theirs, image)
    block_map = parse_bmap(theirs.read_bytes())
    with old_device(tmp_path) as device:
        copied = copy(image, device.path, block_map_uris=(str(theirs),))
        assert copied.written_bytes <= block_map.mapped_blocks * 4096 + MIB
        call("e2fsck", "-f", "-n", device.path)
        assert device.path.read_bytes()[: 24 * MIB] == image.read_bytes()
    ours = pack(image, tmp_path / "image.gz", "gzip").raw.block_map
    (tmp_path / "ours.bmap").write_text(render_bmap(ours))
    target = tmp_path / "target"
    call("bmaptool", "copy", "--bmap", tmp_path / "ours.bmap", tmp_path / "image.gz", target)
    assert target.read_bytes() == image.read_bytes()


def test_a_device_in_use_is_not_touched(tmp_path, image):
    target = make_filesystem(tmp_path / "disk", "ext4", 32 * MIB)
    before = sha256_of(target)

    def body():
        with attached(target) as device, mounted(str(device.path), place, "ext4", options="ro"):
            with pytest.raises(ResourceBusy, match="is in use"):
                copy(image, device.path, digests=sha256_of(image))

    place = tmp_path / "place"
    place.mkdir()
    run_privately(body)
    assert sha256_of(target) == before


def test_a_device_that_is_too_small_is_not_touched(tmp_path, image):
    with old_device(tmp_path, 20 * MIB) as device:
        with pytest.raises(ImageTooLarge):
            copy(image, device.path, digests=sha256_of(image))
        assert set(device.path.read_bytes()) == {0xA5}


@pytest.mark.parametrize("container", ["raw", "gzip"])
def test_a_device_that_vanishes_in_the_middle_is_an_error_that_names_it(
    tmp_path, image, container, monkeypatch
):
    """Cut to nothing while it is written: what is left of a disk that was pulled."""
    from goldsmith.deploy.copying.writing import Writing

    added = []

    def vanishing(self, stretch):
        added.append(stretch)
        if len(added) == 2:
            os.truncate(tmp_path / "disk", 4 * MIB)
            call("losetup", "--set-capacity", device.path)
        original(self, stretch)

    original = Writing.add
    monkeypatch.setattr(Writing, "add", vanishing)
    path = image
    if container == "gzip":
        path = tmp_path / "image.gz"
        pack(image, path, "gzip")
    with old_device(tmp_path) as device:
        with pytest.raises(TargetError, match=str(device.path)):
            copy(path, device.path, container=container, digests=sha256_of(image))
        assert is_blank(device.path)


def test_a_copy_that_was_killed_leaves_nothing_and_the_next_one_succeeds(tmp_path, image):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from goldsmith.deploy.copying.copy import copy_image
        from goldsmith.deploy.copying.images import ImageToCopy
        from goldsmith.events import Emitter
        uri, target, digest = sys.argv[1:]
        image = ImageToCopy(uris=(uri,), digests={"sha256": digest})
        copy_image(image, Path(target), emit=Emitter("copy", lambda event: print("at", flush=True)))
    """)
    digest = sha256_of(image)["sha256"]
    with fault_server() as server, old_device(tmp_path) as device:
        uri = server.add("/image", image.read_bytes(), Fault(stall_after=17 * MIB))
        running = subprocess.Popen(
            [sys.executable, "-P", "-c", program, uri, device.path, digest], stdout=subprocess.PIPE
        )
        with running:
            assert running.stdout is not None
            for _ in range(2):
                assert running.stdout.readline() == b"at\n"
            running.send_signal(signal.SIGKILL)
        assert is_blank(device.path)
        assert not any(device.path.read_bytes()[:HEAD_BYTES])
        copy(uri, device.path, digests=sha256_of(image))
        call("e2fsck", "-f", "-n", device.path)


@pytest.fixture
def disk_image(tmp_path, image):
    """A whole disk with a GPT and the file system in its second partition."""
    disk = tmp_path / "whole.raw"
    with open(disk, "xb") as stream:
        stream.truncate(32 * MIB)
        stream.seek(3 * MIB)
        stream.write(image.read_bytes())
    call("sfdisk", "-q", disk, input=b"label: gpt\nstart=2048,size=4096\nstart=6144,size=49152\n")
    call("e2fsck", "-f", "-n", f"{disk}?offset={3 * MIB}")
    return disk


def require_disk(device):
    """Two partitions, their file system whole, and the backup table at the very end."""
    table = json.loads(call("sfdisk", "--json", device.path).stdout)["partitiontable"]
    assert [part["start"] for part in table["partitions"]] == [2048, 6144]
    assert table["lastlba"] == 40 * MIB // 512 - 34
    assert b"No errors detected" in call("sfdisk", "--verify", device.path).stdout
    assert device.path.read_bytes()[-512:].startswith(b"EFI PART")
    call("e2fsck", "-f", "-n", device.partition(2))


def test_a_whole_disk_gets_its_backup_table_at_the_end_and_its_partitions(tmp_path, disk_image):
    with old_device(tmp_path) as device:
        copy(disk_image, device.path, digests=sha256_of(disk_image))
        assert finish_disk(device.path) == 2
        require_disk(device)


def test_a_bare_file_system_is_no_whole_disk(tmp_path, image):
    with old_device(tmp_path) as device:
        copy(image, device.path, digests=sha256_of(image))
        with pytest.raises(NoTable, match="no partition table"):
            finish_disk(device.path)


def test_a_qcow2_image_of_a_disk(tmp_path, disk_image):
    packed = tmp_path / "disk.qcow2"
    call("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk_image, packed)
    with fault_server() as server, old_device(tmp_path) as device:
        uri = server.add("/disk", packed.read_bytes(), Fault(cut_after=9000))
        copy(uri, device.path, container="qcow2", container_digests=sha256_of(packed),
             digests=sha256_of(disk_image))  # fmt: skip
        assert finish_disk(device.path) == 2
        require_disk(device)
        with pytest.raises(ImageMismatch, match="/disk has the sha256"):
            copy(uri, device.path, container="qcow2", container_digests={"sha256": "0" * 64})


def test_qcow2_images_that_are_not_believed(tmp_path, disk_image, monkeypatch):
    def refused(error, said, path):
        with pytest.raises(error, match=said):
            copy(path, device.path, container="qcow2", container_digests=sha256_of(path))

    base, large = tmp_path / "base.qcow2", tmp_path / "large.qcow2"
    call("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", disk_image, base)
    call("qemu-img", "create", "-f", "qcow2", large, "1T")
    damaged = tmp_path / "damaged.qcow2"
    damaged.write_bytes(large.read_bytes()[:100])
    with old_device(tmp_path) as device:
        refused(ImageMismatch, "only a part of an image", base)
        refused(ImageTooLarge, "1 TiB", large)
        refused(ImageMismatch, "is not a qcow2 image", disk_image)
        refused(ImageMismatch, "damaged.qcow2 cannot be read as qcow2", damaged)
        monkeypatch.setattr(qcow2, "_MEMORY_BYTES", 1 << 20)
        refused(ImageMismatch, "cannot be read as qcow2", large)
        assert set(device.path.read_bytes()) == {0xA5}


@pytest.mark.parametrize(("kind", "size"), [("ext2", 24), ("xfs", 300), ("btrfs", 110)])
def test_file_systems_grow_to_their_device(tmp_path, tree, kind, size):
    file = make_filesystem(tmp_path / "disk", kind, size * MIB)
    os.truncate(file, (size + 200) * MIB)
    place = tmp_path / "place"
    place.mkdir()

    def body():
        with attached(file) as device:
            assert grow_filesystem(device.path, kind)
            with mounted(str(device.path), place, kind, options=""):
                found = os.statvfs(place)
                return found.f_blocks * found.f_frsize

    assert run_privately(body) > (size + 100) * MIB


def test_a_damaged_file_system_does_not_grow(tmp_path, image):
    with open(image, "r+b") as stream:
        stream.seek(MIB)
        stream.write(b"\xff" * 4 * MIB)
    with attached(image) as device, pytest.raises(NotGrown, match="damaged file system"):
        grow_filesystem(device.path, "ext4")
