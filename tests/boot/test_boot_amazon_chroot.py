"""An AMI made on one machine boots: source snapshot, volume, chroot, snapshot, AMI, its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from slow_guest import PATIENT

from aws_rig import Image, Rig, Snapshot
from aws_rig.disks import GIB
from aws_rig.scenarios import environment

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot, pytest.mark.nightly,
              pytest.mark.timeout(3000)]  # fmt: skip

BLOCK = 512 << 10
SOURCE = """\
source "image" "base" {
  bootstrap {
    method   = "apt"
    suite    = "SUITE"
    packages = ["linux-image-cloud-amd64", "systemd-sysv", "initramfs-tools", "e2fsprogs"]
  }
  disk {
    label = "mbr"
    size  = "auto"
    partition "root" {
      type       = "root"
      size       = "auto"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware       = ["bios"]
  kernel_cmdline = "console=ttyS0"
  hostname       = "before"
  formats        = ["raw"]
}
build {
  sources = ["source.image.base"]
}
"""


@pytest.fixture(scope="module")
def suite() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path, goldsmith: Any, suite: str) -> Iterator[Rig]:
    """An account whose image is a Debian that was just built."""
    (tmp_path / "base.pkr.hcl").write_text(SOURCE.replace("SUITE", suite))
    goldsmith("build", "base.pkr.hcl", check=True)
    raw = tmp_path / "output/base.raw"
    size = -(-raw.stat().st_size // GIB)
    with Rig(tmp_path / "rig") as running:
        cloud = running.cloud
        cloud.snapshots["snap-base"] = Snapshot(
            "snap-base", "us-east-1", size=size, file=cloud.file(size, raw)
        )
        ebs = {"SnapshotId": "snap-base", "VolumeSize": size, "VolumeType": "gp3"}
        cloud.images["ami-base"] = Image(
            "ami-base", "us-east-1", name="base",
            mappings=[{"DeviceName": "/dev/xvda", "Ebs": ebs}],
            fields={"Architecture": "x86_64", "VirtualizationType": "hvm",
                    "RootDeviceName": "/dev/xvda"},
        )  # fmt: skip
        yield running


def bytes_of(rig: Rig, snapshot_id: str, size: int, target: Path) -> None:
    """Read a snapshot back as anyone can: by EBS direct."""
    client = boto3.client(
        "ebs", region_name="us-east-1", endpoint_url=rig.url, aws_access_key_id="AKIARIG",
        aws_secret_access_key="secret",
    )  # fmt: skip
    with target.open("wb") as file:
        file.truncate(size * GIB)
        given: dict[str, Any] = {"SnapshotId": snapshot_id, "MaxResults": 1000}
        while True:
            page = client.list_snapshot_blocks(**given)
            for block in page["Blocks"]:
                index, token = block["BlockIndex"], block["BlockToken"]
                answer = client.get_snapshot_block(
                    SnapshotId=snapshot_id, BlockIndex=index, BlockToken=token
                )
                file.seek(index * BLOCK)
                file.write(answer["BlockData"].read())
            if not page.get("NextToken"):
                return
            given["NextToken"] = page["NextToken"]


def test_the_bytes_of_an_ami_boot_to_its_login(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    source = {
        "region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
        "source_ami": "ami-base", "device_path": str(rig.disks.nodes / "sdf"),
    }  # fmt: skip
    lines = ["echo chrooted > /etc/hostname", *PATIENT]
    build = {"sources": ["source.amazon-chroot.web"], "provisioner": [{"shell": {"inline": lines}}]}
    whole = {"source": {"amazon-chroot": {"web": source}}, "build": build}
    (tmp_path / "ami.pkr.json").write_text(json.dumps(whole))
    goldsmith("build", "ami.pkr.json", env=environment(rig), check=True)
    (image,) = [one for one in rig.cloud.images.values() if one.id != "ami-base"]
    (snapshot_id,) = image.snapshots()
    snapshot = rig.cloud.snapshots[snapshot_id]
    raw = tmp_path / "ami.raw"
    bytes_of(rig, snapshot_id, snapshot.size, raw)
    log = tmp_path / "serial.log"
    goldsmith(
        "boot", raw, "--firmware", "bios", "--expect", "chrooted login:", "--timeout", "20m",
        "--quiet", "--serial-log", log, check=True, timeout_s=1500,
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert "chrooted login:" in console and "before login:" not in console
