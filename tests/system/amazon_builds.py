"""Templates of amazon-chroot for the rig, and what their builds leave in the account."""

from __future__ import annotations

import json
import os
import signal
import time
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


def wait_for_call(rig: Rig, action: str) -> None:
    """Until a call has had its effect, whose caller may be dead."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not any(call.action == action for call in rig.calls):
        assert time.monotonic() < deadline_s, "the call never came"
        time.sleep(0.05)


def build_killed_at(
    rig: Rig, goldsmith: Any, environment: dict[str, str], action: str, number: int = 1
) -> None:
    """Build t.pkr.json, and kill it as it waits for the answer to a call, which has its effect."""
    with goldsmith.start("build", "t.pkr.json", env=environment) as running:

        def kill(asked: str, count: int) -> None:
            if (asked, count) == (action, number):
                os.killpg(running.pid, signal.SIGKILL)

        rig.on_call = kill
        running.communicate(timeout=600)
        wait_for_call(rig, action)
    rig.on_call = lambda asked, number: None
