"""Templates of amazon-chroot for the rig, and what their builds leave in the account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aws_rig import Rig
from aws_rig.scenarios import account, partitioned_disk, system_tree

SOURCE = "amazon-chroot.web"
PATIENCE_S = 120.0
BASE = {"ami-base", "snap-base"}


def base_disk(place: Path, small_tree: Path) -> Path:
    """A disk with one partition that holds the small tree."""
    return partitioned_disk(place / "disk", system_tree(small_tree, place / "tree"))


def template(rig: Rig, *provisioners: dict[str, Any], **given: Any) -> str:
    """A template in JSON syntax; a provisioner with `only_after` is the one for cleaning up."""
    source = {
        "region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
        "source_ami": "ami-base", "device_path": str(rig.disks.nodes / "sdf"), **given,
    }  # fmt: skip
    build: dict[str, Any] = {"sources": ["source.amazon-chroot.web"]}
    kinds = [("error-cleanup-provisioner" if "cleanup" in one.get("only_after", "") else
              "provisioner", one) for one in provisioners]  # fmt: skip
    for kind, one in kinds:
        shell = {"shell": {name: value for name, value in one.items() if name != "only_after"}}
        build.setdefault(kind, []).append(shell)
    return json.dumps({"source": {"amazon-chroot": {"web": source}}, "build": build})


def left(rig: Rig) -> dict[str, Any]:
    """What is in the account besides the source."""
    return account(rig, BASE)
