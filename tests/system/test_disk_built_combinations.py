"""Disks of every label and file system in every format, each judged by its own reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest
from disk_trees import cut, tool
from private_namespace import run_privately

from goldsmith.disk import attached
from goldsmith.disk.assemble import assemble
from goldsmith.disk.formats import FORMATS, write_all
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import AUTO, ExactSize, FileSystem, Layout, Partition
from goldsmith.disk.planner import plan
from goldsmith.disk.usage import measure
from goldsmith.host.digests import file_digest
from goldsmith.host.process import find_tool
from goldsmith.units import MIB

EPOCH_S = 1_700_000_000
LABELS = ("gpt", "mbr", "none")
TYPES = ("ext4", "ext3", "ext2", "btrfs", "xfs", "squashfs", "erofs")
CHECKERS = {
    "ext4": ("e2fsck", "-fn"), "ext3": ("e2fsck", "-fn"), "ext2": ("e2fsck", "-fn"),
    "btrfs": ("btrfs", "check", "--readonly"), "xfs": ("xfs_repair", "-n", "-f"),
    "squashfs": ("unsquashfs", "-l"), "erofs": ("fsck.erofs",), "vfat": ("fsck.fat", "-n"),
    "swap": ("swaplabel",),
}  # fmt: skip
QEMU_NAMES = {name: name for name in ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc")}
UNPACKERS = {"raw.gz": ("gzip", "-dc"), "raw.zst": ("zstd", "-dcq")}

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, and xfs is attached"),
]


def sample():
    """Each label with each type, in three formats: all types and labels meet every format."""
    formats = list(FORMATS)
    for (row, label), (column, type) in product(enumerate(LABELS), enumerate(TYPES)):
        chosen = tuple(formats[(3 * row + column + n) % len(formats)] for n in range(3))
        yield pytest.param(label, type, chosen, id=f"{label}-{type}-{'+'.join(chosen)}")


def test_the_sample_has_every_pair():
    pairs = set()
    for case in sample():
        label, type, formats = case.values
        pairs |= {(label, type), *((label, f) for f in formats), *((type, f) for f in formats)}
    assert pairs >= {*product(LABELS, TYPES), *product(LABELS, FORMATS), *product(TYPES, FORMATS)}


@pytest.fixture
def tree(tmp_path):
    """A tree of a few megabytes: as many kinds of files as a minimal system has."""
    top = tmp_path / "tree"
    for name in ("bin", "etc", "var/empty", "boot/efi", "srv"):
        (top / name).mkdir(parents=True)
    for number in range(60):
        (top / f"bin/tool-{number}").write_bytes(os.urandom(40_000))
        (top / f"bin/tool-{number}").chmod(0o755)
        (top / f"etc/link-{number}").symlink_to(f"../bin/tool-{number}")
    os.link(top / "bin/tool-0", top / "bin/again")
    with open(top / "var/sparse", "wb") as stream:
        stream.truncate(4 * MIB)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, (EPOCH_S, EPOCH_S), follow_symlinks=False)
    return top


def layout_of(label, type):
    root = Partition("root", "root", AUTO, FileSystem(type), "/")
    if label == "none":
        return Layout("none", None, (root,))
    before = (
        Partition("esp", "esp", ExactSize(34 * MIB), FileSystem("vfat", "ESP"), "/boot/efi"),
        Partition("swap", "swap", ExactSize(4 * MIB)),
    )
    # On an mbr these are five: one becomes a logical partition.
    after = tuple(
        Partition(f"spare{n}", "data", ExactSize(8 * MIB), FileSystem("ext2"), f"/srv/{n}")
        for n in range(2)
    )
    return Layout(label, None, (*before, root, *after))


def make(label, type, tree, tmp_path):
    """The assembled disk: the tree as its root, one file on its ESP."""
    if find_tool(CHECKERS[type][0]) is None:
        pytest.skip(f"needs {CHECKERS[type][0]}")
    if type == "xfs" and (reason := attached.why_not("xfs")):
        pytest.skip(reason)
    (tmp_path / "efi").mkdir()
    (tmp_path / "efi/loader.txt").write_text("x")
    trees = {"/": tree} if label == "none" else {"/": tree, "/boot/efi": tmp_path / "efi"}
    layout = layout_of(label, type)
    usage = {mount: measure(place)["/"] for mount, place in trees.items()}
    disk = plan(layout, usage)

    def build():
        return assemble(disk, trees, tmp_path / "disk.raw", epoch_s=EPOCH_S,
                        identity=DiskIdentity("combinations"))  # fmt: skip

    return run_privately(build) if type == "xfs" else build()


def check_disk(made, tmp_path):
    """The table by sfdisk, each file system by its own checker."""
    if made.partitions[0].offset_bytes:
        tool("sfdisk", "--verify", made.path)
        table = json.loads(tool("sfdisk", "--json", made.path))["partitiontable"]
        found = [(p["start"] * 512, p["size"] * 512) for p in table["partitions"]
                 if p["type"] != "5"]  # fmt: skip
        assert sorted(found) == sorted((p.offset_bytes, p.size_bytes) for p in made.partitions)
    for partition in made.partitions:
        part = cut(made.path, partition.offset_bytes, partition.size_bytes, tmp_path / "part")
        tool(*CHECKERS[partition.filesystem], part)
        part.unlink()


def check_format(format, path, raw, tmp_path):
    """The format's own reader finds it sound, and the raw disk in it."""
    if format in UNPACKERS:
        with open(tmp_path / "unpacked", "wb") as stream:
            subprocess.run([*UNPACKERS[format], path], stdout=stream, check=True)
        assert file_digest(tmp_path / "unpacked") == file_digest(raw)
        return
    if format in ("qcow2", "vdi", "vmdk", "vhdx"):
        tool("qemu-img", "check", "-f", QEMU_NAMES[format], path)
    # A vpc is rounded up to whole MiB: what is more reads as zeros, and compare says so with 0.
    tool("qemu-img", "compare", "-f", "raw", "-F", QEMU_NAMES[format], raw, path)


def check_all(label, type, formats, tree, tmp_path):
    made = make(label, type, tree, tmp_path)
    check_disk(made, tmp_path)
    digest = file_digest(made.path)
    # Writing "raw" takes the disk itself away.
    raw = tmp_path / "kept.raw"
    shutil.copy(made.path, raw)
    targets = {name: tmp_path / f"image.{FORMATS[name].extension}" for name in formats}
    written = write_all(made.path, targets, epoch_s=EPOCH_S)
    assert written.raw.sha256 == digest
    for name, target in targets.items():
        assert written.files[name].sha256 == file_digest(target)
        assert written.files[name].size_bytes == target.stat().st_size
        check_format(name, target, raw, tmp_path)


@pytest.mark.parametrize(("label", "type", "formats"), list(sample()))
def test_a_disk_in_some_formats(label, type, formats, tree, tmp_path):
    check_all(label, type, formats, tree, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("type", TYPES)
def test_a_disk_in_all_formats(label, type, tree: Path, tmp_path: Path):
    check_all(label, type, tuple(FORMATS), tree, tmp_path)
