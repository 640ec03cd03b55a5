"""From nothing to an AMI that boots, without any instance: image, snapshot, AMI, changed AMI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slow_guest import PATIENT

from aws_rig import Rig
from aws_rig.scenarios import environment

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot, pytest.mark.nightly,
              pytest.mark.timeout(3000)]  # fmt: skip

IMAGE = """\
source "image" "base" {
  bootstrap {
    method   = "apt"
    suite    = "SUITE"
    packages = ["linux-image-cloud-amd64", "systemd-sysv", "initramfs-tools", "e2fsprogs"]
  }
  disk {
    label = "gpt"
    size  = "1GiB"
    partition "boot" {
      type = "bios-boot"
      size = "1MiB"
    }
    partition "root" {
      type       = "root"
      size       = "100%"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware       = ["bios"]
  kernel_cmdline = "console=ttyS0"
  hostname       = "before"
  formats        = ["raw.zst"]
}
build {
  sources = ["source.image.base"]
  post-processor "amazon-ebsdirect" {
    region              = "us-east-1"
    custom_endpoint_ec2 = "ENDPOINT"
    ami_name            = "base"
    verify_upload       = true
  }
}
"""


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path / "rig") as running:
        yield running


def named(rig: Rig, name: str) -> tuple[str, Path]:
    """The image of a name: its id, and the bytes of its snapshot."""
    (image,) = [one for one in rig.cloud.images.values() if one.name == name]
    (snapshot_id,) = image.snapshots()
    file = rig.cloud.snapshots[snapshot_id].file
    assert file is not None
    return image.id, file


def test_an_ami_that_no_instance_has_made_boots(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert found is not None
    text = IMAGE.replace("SUITE", found.group(1)).replace("ENDPOINT", rig.url)
    (tmp_path / "base.pkr.hcl").write_text(text)
    goldsmith("build", "base.pkr.hcl", env=environment(rig), check=True)
    base_id, _ = named(rig, "base")
    assert rig.cloud.images[base_id].fields["BootMode"] == "legacy-bios"
    source = {"region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
              "source_ami": base_id, "verify_upload": True}  # fmt: skip
    lines = ["echo chrooted > /etc/hostname", *PATIENT]
    build = {"sources": ["source.amazon-ebsdirect.web"],
             "provisioner": [{"shell": {"inline": lines}}]}  # fmt: skip
    whole = {"source": {"amazon-ebsdirect": {"web": source}}, "build": build}
    (tmp_path / "ami.pkr.json").write_text(json.dumps(whole))
    rig.calls.clear()
    goldsmith("build", "ami.pkr.json", env=environment(rig), check=True)
    # A file and its directories: far from the hundreds of blocks that a Debian has.
    assert 0 < sum(1 for one in rig.calls if one.action == "PutSnapshotBlock") < 60
    _, raw = named(rig, "web")
    log = tmp_path / "serial.log"
    goldsmith(
        "boot", raw, "--format", "raw", "--firmware", "bios", "--expect", "chrooted login:",
        "--timeout", "20m", "--quiet", "--serial-log", log, check=True, timeout_s=1500,
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert "chrooted login:" in console and "before login:" not in console
