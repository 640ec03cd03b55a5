"""Shrinking by the real tools: smaller, sound, with every file, and with holes for what is free."""

import hashlib
import os
import struct
import subprocess

import pytest
from private_namespace import run_privately

from goldsmith.disk.shrink import shrink
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import find_tool, search_path
from goldsmith.host.sparse import create_sparse, hash_sparse, mapped_bytes
from goldsmith.units import MIB

EPOCH_S = 1_700_000_000
SIZE = 768 * MIB
TOOLS = ("mkfs.ext4", "resize2fs", "e2fsck", "mkfs.xfs", "xfs_db", "xfs_repair", "mkfs.btrfs",
         "btrfs", "fstrim")  # fmt: skip
MAKERS = {"ext4": ["mkfs.ext4", "-q", "-F"], "ext3": ["mkfs.ext3", "-q", "-F"],
          "ext2": ["mkfs.ext2", "-q", "-F"], "xfs": ["mkfs.xfs", "-q"],
          "btrfs": ["mkfs.btrfs", "-q"]}  # fmt: skip
CHECKS = {"ext4": ["e2fsck", "-fn"], "ext3": ["e2fsck", "-fn"],
          "ext2": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"],
          "btrfs": ["btrfs", "check", "--check-data-csum"]}  # fmt: skip
missing = [tool for tool in TOOLS if find_tool(tool) is None]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}"),
]


def tool(*argv, ok=(0,)):
    env = {"PATH": search_path(), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, env=env, capture_output=True, check=False)
    assert done.returncode in ok, done.stderr.decode() + done.stdout.decode()


def with_mounted(image, mount, body):
    """Run `body` on the mounted image, in a mount namespace of its own."""

    def inside():
        tool("mount", "-o", "loop", image, mount)
        try:
            return body()
        finally:
            tool("umount", mount)

    mount.mkdir(exist_ok=True)
    result = run_privately(inside)
    mount.rmdir()
    return result


def knows(type):
    with open("/proc/filesystems") as stream:
        return type in stream.read().split()


def make_image(tmp_path, type):
    """A file system with some files, and 60 MiB of freed noise between them."""
    if not knows(type):
        pytest.skip(f"this kernel has no {type}")
    image = tmp_path / f"image.{type}"
    create_sparse(image, SIZE)
    tool(*MAKERS[type], image)
    mount = tmp_path / "mount"

    def fill():
        (mount / "first").write_bytes(hashlib.shake_128(b"1").digest(5 * MIB))
        (mount / "freed").write_bytes(os.urandom(60 * MIB))
        os.sync()
        (mount / "last").write_bytes(hashlib.shake_128(b"2").digest(5 * MIB))
        os.sync()
        (mount / "freed").unlink()

    with_mounted(image, mount, fill)
    assert mapped_bytes(image) > 70 * MIB
    return image


def check_contents(image, tmp_path, type):
    tool(*CHECKS[type], image)
    mount = tmp_path / "mount"
    found = with_mounted(
        image, mount, lambda: {p.name: p.read_bytes() for p in mount.iterdir() if p.is_file()}
    )
    assert found == {"first": hashlib.shake_128(b"1").digest(5 * MIB),
                     "last": hashlib.shake_128(b"2").digest(5 * MIB)}  # fmt: skip


@pytest.mark.parametrize(
    ("type", "largest"),
    [("ext4", 40 * MIB), ("ext3", 40 * MIB), ("ext2", 24 * MIB), ("btrfs", 400 * MIB)],
)
def test_a_file_system_becomes_small(tmp_path, type, largest):
    image = make_image(tmp_path, type)
    done = run_privately(lambda: shrink(image, type, epoch_s=EPOCH_S))
    assert (done.size_before_bytes, done.size_bytes) == (SIZE, image.stat().st_size)
    assert image.stat().st_size <= largest
    assert done.mapped_bytes == mapped_bytes(image) < done.mapped_before_bytes - 40 * MIB
    check_contents(image, tmp_path, type)


@pytest.mark.parametrize("type", ["ext4", "btrfs"])
def test_headroom_stays(tmp_path, type):
    image = make_image(tmp_path, type)
    smallest = run_privately(lambda: shrink(image, type, epoch_s=EPOCH_S)).size_bytes
    again = tmp_path / "again"
    again.mkdir()
    image = make_image(again, type)
    run_privately(lambda: shrink(image, type, headroom_bytes=100 * MIB, epoch_s=EPOCH_S))
    assert abs(image.stat().st_size - smallest - 100 * MIB) <= 32 * MIB
    assert mapped_bytes(image) < 60 * MIB
    check_contents(image, tmp_path, type)


@pytest.mark.parametrize("type", ["ext4", "btrfs"])
def test_headroom_is_room_for_files(tmp_path, type):
    image = make_image(tmp_path, type)
    run_privately(lambda: shrink(image, type, headroom_bytes=100 * MIB, epoch_s=EPOCH_S))
    more, mount = os.urandom(80 * MIB), tmp_path / "mount"

    def write():
        (mount / "more").write_bytes(more)
        os.sync()
        return (mount / "more").read_bytes() == more

    assert with_mounted(image, mount, write)
    tool(*CHECKS[type], image)
    with_mounted(image, mount, (mount / "more").unlink)
    check_contents(image, tmp_path, type)


def test_the_smallest_ext4_has_hardly_a_free_block_and_stays_as_it_is(tmp_path):
    image, mount = make_image(tmp_path, "ext4"), tmp_path / "mount"
    size = shrink(image, "ext4", epoch_s=EPOCH_S).size_bytes
    free = with_mounted(image, mount, lambda: os.statvfs(mount).f_bfree * os.statvfs(mount).f_bsize)
    assert free < 2 * MIB
    assert shrink(image, "ext4", epoch_s=EPOCH_S).size_bytes == size
    check_contents(image, tmp_path, "ext4")


def test_headroom_never_makes_it_grow(tmp_path):
    image = make_image(tmp_path, "ext4")
    done = shrink(image, "ext4", headroom_bytes=1 << 40, epoch_s=EPOCH_S)
    assert done.size_bytes == SIZE
    assert done.mapped_bytes < 40 * MIB
    check_contents(image, tmp_path, "ext4")


def test_an_xfs_keeps_its_size_and_loses_its_free_blocks(tmp_path):
    image = make_image(tmp_path, "xfs")
    done = shrink(image, "xfs", headroom_bytes=100 * MIB)
    assert done.size_bytes == SIZE
    assert done.mapped_bytes < done.mapped_before_bytes - 55 * MIB
    check_contents(image, tmp_path, "xfs")


def test_an_ext4_shrinks_to_the_same_bytes_at_any_time(tmp_path):
    image = make_image(tmp_path, "ext4")
    tool("cp", "--sparse=always", image, tmp_path / "two")
    for path in (image, tmp_path / "two"):
        shrink(path, "ext4", epoch_s=EPOCH_S)
    assert hash_sparse(image) == hash_sparse(tmp_path / "two")
    # Last write, last check: "The Second Extended File System", 3.1.
    written_s, checked_s = struct.unpack_from("<I12xI", image.read_bytes()[1024:2048], 0x30)
    assert (written_s, checked_s) == (EPOCH_S, EPOCH_S)


def test_an_ext4_that_needed_a_small_repair_is_accepted(tmp_path):
    image = make_image(tmp_path, "ext4")
    # A wrong count of free blocks: e2fsck repairs it without a question and ends with status 1.
    tool("debugfs", "-w", "-R", "set_super_value free_blocks_count 7", image)
    assert shrink(image, "ext4", epoch_s=EPOCH_S).size_bytes < SIZE
    check_contents(image, tmp_path, "ext4")


def test_a_damaged_ext4_is_refused(tmp_path):
    image = make_image(tmp_path, "ext4")
    tool("debugfs", "-w", "-R", "clri <2>", image)
    with pytest.raises(GoldsmithError, match="has a damaged file system") as caught:
        shrink(image, "ext4", epoch_s=EPOCH_S)
    assert "e2fsck -fn" in caught.value.hint


def test_an_xfs_that_was_not_unmounted_is_refused(tmp_path):
    image = make_image(tmp_path, "xfs")
    mount = tmp_path / "mount"

    def copy_while_mounted():
        (mount / "more").write_bytes(b"more" * 1000)
        os.sync()
        tool("cp", "--sparse=always", image, tmp_path / "dirty")

    with_mounted(image, mount, copy_while_mounted)
    before = hash_sparse(tmp_path / "dirty")
    with pytest.raises(GoldsmithError, match="valuable metadata changes in a log"):
        shrink(tmp_path / "dirty", "xfs")
    assert hash_sparse(tmp_path / "dirty") == before


@pytest.mark.parametrize(
    ("type", "words"),
    [("ext4", "is not an ext2, ext3 or ext4"), ("xfs", "is not a sound xfs"),
     ("btrfs", "is not a btrfs"), ("squashfs", "cannot be shrunk"),
     ("extfour", "cannot be shrunk")],
)  # fmt: skip
def test_what_is_not_a_file_system_of_that_type_is_refused(tmp_path, type, words):
    (tmp_path / "image").write_bytes(b"no file system" * 100_000)
    with pytest.raises(GoldsmithError, match=words):
        shrink(tmp_path / "image", type)
