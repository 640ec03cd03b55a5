"""Clusters that are compressed while mkfs fills the image, judged by qemu-img."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from goldsmith.disk.assemble import assemble
from goldsmith.disk.clusters_ahead import clusters_ahead
from goldsmith.disk.formats import write_all
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import AUTO, FileSystem, Layout, Partition
from goldsmith.disk.planner import plan
from goldsmith.disk.qcow2_clusters import Packing
from goldsmith.disk.usage import measure
from goldsmith.host.parallel import cores

EPOCH_S = 1_700_000_000
LAYOUT = Layout(partitions=(Partition("root", "root", AUTO, FileSystem("ext4", "r"), "/"),))

pytestmark = pytest.mark.skipif(cores() < 2, reason="nothing is ahead on one core")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Some 96 MiB that take a while to be filled in: texts and noise in files of all sizes."""
    top, chance = tmp_path_factory.mktemp("tree"), random.Random(1)
    for number in range(600):
        data = (b"file %d of a tree " % number) * chance.randrange(1, 15_000)
        (top / f"{number}").write_bytes(chance.choice((data, chance.randbytes(len(data)))))
    return top


def make(tree, directory, *, scratch=None):
    """The disk of the tree and its qcow2, and how many clusters were ahead (None: not used)."""
    directory.mkdir()
    image, target = directory / "raw", directory / "qcow2"
    count = None
    with clusters_ahead(image, scratch or directory, Packing()) as ahead:
        assemble(
            plan(LAYOUT, measure(tree, ["/"])), {"/": tree}, image,
            identity=DiskIdentity("s"), epoch_s=EPOCH_S, is_kept=False,
        )  # fmt: skip
        if ahead is not None:
            count = len(ahead)
        write_all(image, {"qcow2": target}, epoch_s=EPOCH_S, ahead=ahead)
    assert sorted(os.listdir(directory)) == ["qcow2", "raw"]
    return image, target, count


def judge(tree, tmp_path, image, target):
    subprocess.run(["qemu-img", "check", "-q", target], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", image, target], check=True)
    alone = tmp_path / "alone"
    write_all(image, {"qcow2": alone}, epoch_s=EPOCH_S)
    assert target.read_bytes() == alone.read_bytes()


def test_what_was_ahead_of_mkfs_is_in_the_disk(tree, tmp_path):
    image, target, count = make(tree, tmp_path / "made")
    assert count > 100
    judge(tree, tmp_path, image, target)


@pytest.mark.root
@pytest.mark.parametrize("has_room", [True, False])
def test_no_room_for_what_is_ahead_does_no_harm(tree, tmp_path, monkeypatch, has_room):
    """Neither where it is known before, nor where others have taken the room meanwhile."""
    if has_room:
        monkeypatch.setattr("goldsmith.disk.clusters_ahead.ClustersAhead._has_room",
                            lambda *_: True)  # fmt: skip
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", small], check=True)
    try:
        image, target, count = make(tree, tmp_path / "made", scratch=small)
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
    assert count == 0
    judge(tree, tmp_path, image, target)
