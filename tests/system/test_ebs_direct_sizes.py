"""EBS direct with a whole GiB: how many blocks go out, and how much memory that takes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from old_images import call
from peak_memory import peak_bytes

from aws_rig import Rig, Snapshot
from aws_rig.direct_calls import BLOCK, read_block

pytestmark = [pytest.mark.root, pytest.mark.nightly]

GIB = 1 << 30
MOST_BYTES = 200 << 20
PROGRAM = (sys.executable, "-m", "goldsmith")


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path / "rig", loops=False, put_delay_s=0.1) as running:
        yield running


def build(rig: Rig, place: Path, **given: object) -> int:
    """Make an AMI of disk.raw; returns the most memory that it took."""
    options = {"region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
               "force_deregister": True, **given}  # fmt: skip
    chain = [{"artifice": {"files": ["disk.raw"]}}, {"amazon-ebsdirect": options}]
    block = {"sources": ["source.null.n"], "post-processors": [{"post-processor": chain}]}
    whole = {"source": {"null": {"n": {"communicator": "none"}}}, "build": block}
    (place / "t.pkr.json").write_text(json.dumps(whole))
    environment = {**rig.environment, "GOLDSMITH_CACHE_DIR": str(place / "state")}
    return peak_bytes([*PROGRAM, "build", "t.pkr.json"], place, environment=environment)


def made(rig: Rig) -> Snapshot:
    """The snapshot of the one image."""
    (image,) = rig.cloud.images.values()
    (snapshot_id,) = image.snapshots()
    return rig.cloud.snapshots[snapshot_id]


def puts(rig: Rig) -> int:
    """How many blocks were sent since the log was cleared."""
    count = sum(1 for one in rig.calls if one.action == "PutSnapshotBlock" and not one.answer)
    rig.calls.clear()
    return count


def same(rig: Rig, image: Path) -> bool:
    """Whether the snapshot holds the image byte by byte."""
    snapshot = made(rig)
    with image.open("rb") as file:
        return all(file.read(BLOCK) == read_block(snapshot, number) for number in range(2048))


def test_a_delta_of_a_gib_sends_only_what_changed(rig: Rig, tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(16):
        (tree / f"file-{number}").write_bytes(os.urandom(4 << 20))
    with image.open("wb") as file:
        file.truncate(GIB)
    call("mkfs.ext4", "-q", "-F", "-d", tree, image)
    build(rig, tmp_path)
    sparse = puts(rig)
    assert 128 <= sparse < 400 and same(rig, image)
    call("debugfs", "-w", "-R", f"write {tree / 'file-0'} again", image)
    build(rig, tmp_path, verify_upload=True)
    delta = puts(rig)
    # 4 MiB, and the tables that say so; every block would be 2048.
    assert 8 <= delta < 32 and same(rig, image)
    build(rig, tmp_path, blocks="all", use_parent=False)
    every = puts(rig)
    assert every == 2048 >= 5 * sparse and every >= 5 * delta


def test_memory_does_not_grow_with_the_image(rig: Rig, tmp_path: Path) -> None:
    rig.direct.put_delay_s = 0.02
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        for _ in range(2048):
            file.write(os.urandom(512) * 1024)
    assert build(rig, tmp_path, verify_upload=True) < MOST_BYTES
    assert puts(rig) == 2048 and same(rig, image)
