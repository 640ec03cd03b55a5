"""What fails at AWS, and builds that are killed: afterwards nothing is left there, nor on the host.

A few of the cases run always, all of them at night.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_builds import BASE, PATIENCE_S, base_disk, build_killed_at, left, template

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.disks import Attached
from aws_rig.scenarios import environment, fill_with_base

pytestmark = pytest.mark.root

ABROAD = "eu-west-1"
GIVEN: dict[str, Any] = {
    "ami_regions": [ABROAD], "tags": {"Name": "web"}, "ami_users": ["210987654321"],
    "snapshot_users": ["210987654321"], "deprecate_at": "2039-12-31T00:00:00Z",
    "deregistration_protection": {"enabled": True}, "max_retries": 3,
}  # fmt: skip
ONLY_FORCED = ("DeregisterImage", "DeleteSnapshot")
ACTIONS = (
    "DescribeRegions", "DescribeImages", "DescribeInstances", "CreateVolume", "DescribeVolumes",
    "AttachVolume", "DetachVolume", "CreateSnapshot", "DescribeSnapshots", *ONLY_FORCED,
    "RegisterImage", "CopyImage", "EnableImageDeprecation", "ModifyImageAttribute",
    "ModifySnapshotAttribute", "CreateTags", "EnableImageDeregistrationProtection",
    "DeleteVolume",
)  # fmt: skip
KINDS = {
    "once": ("1", "InternalError", 500, False),
    "once, its answer lost": ("1", "InternalError", 500, True),
    "throttled": ("/2", "RequestLimitExceeded", 503, False),
    "always": ("*", "UnauthorizedOperation", 403, False),
}
ALWAYS_TRIED = {
    ("CreateSnapshot", "once, its answer lost"), ("DeleteVolume", "always"),
    ("DetachVolume", "always"), ("ModifyImageAttribute", "always"),
}  # fmt: skip
KILLED_ALWAYS = ("CreateVolume", "CopyImage")
LOCAL = ("pre_mount_commands", "post_mount_commands", "provisioner")


def cases() -> list[Any]:
    """Every action with every kind of failure."""
    return [
        pytest.param(action, kind, id=f"{action} {kind}",
                     marks=() if (action, kind) in ALWAYS_TRIED else pytest.mark.nightly)
        for action in ACTIONS for kind in KINDS
    ]  # fmt: skip


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    return base_disk(tmp_path_factory.mktemp("amazon-disk"), small_tree)


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path, disk: Path) -> Iterator[Rig]:
    """An account with one image."""
    with Rig(tmp_path / "rig") as running:
        fill_with_base(running, disk)
        yield running


def names(rig: Rig) -> dict[str, str]:
    """The names of the new images by region."""
    return {one.region: one.name for one in rig.cloud.images.values() if one.id not in BASE}


@pytest.mark.parametrize(("action", "kind"), cases())
def test_an_action_that_fails(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str, kind: str
) -> None:
    calls, code, status, after = KINDS[kind]
    given = dict(GIVEN)
    if action in ONLY_FORCED:
        rig.cloud.snapshots["snap-old"] = Snapshot("snap-old", "us-east-1", size=1)
        ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-old"}}
        rig.cloud.images["ami-old"] = Image("ami-old", "us-east-1", name="web", mappings=[ebs])
        given |= {"force_deregister": True, "force_delete_snapshot": True}
    rig.faults.append(Fault(action, calls, code, status, after=after))
    (tmp_path / "t.pkr.json").write_text(template(rig, {"inline": ["echo hello"]}, **given))
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    rig.faults.clear()
    if kind != "always" or action == "DeleteVolume":
        assert result.status == 0 and "AMIs were created:" in result.stdout, result
        if kind == "always":
            assert left(rig)["us-east-1"].pop("volumes") == {"vol-1": False}
            goldsmith("clean", env=environment(rig), check=True)
        assert names(rig) == {"us-east-1": "web", ABROAD: "web"}
        assert rig.cloud.volumes == {} and len(rig.cloud.snapshots) == 3
        return
    assert result.status == 1 and "UnauthorizedOperation" in str(result), result
    goldsmith("clean", env=environment(rig), check=True)
    old = {"ami-old", "snap-old"} if action in ONLY_FORCED else set()
    assert {*rig.cloud.images, *rig.cloud.snapshots, *rig.cloud.volumes} <= BASE | old


def test_a_detachment_that_is_busy_for_a_while_is_awaited(
    rig: Rig, tmp_path: Path, goldsmith: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Attached] = []

    def is_busy(attached: Attached) -> bool:
        looks.append(attached)
        return len(looks) < 4

    monkeypatch.setattr(rig.disks, "is_busy", is_busy)
    (tmp_path / "t.pkr.json").write_text(template(rig, {"inline": ["echo hello"]}))
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert len(looks) >= 4 and rig.cloud.volumes == {}


@pytest.mark.parametrize(
    "action",
    [one if one in KILLED_ALWAYS else pytest.param(one, marks=pytest.mark.nightly)
     for one in ACTIONS if one not in ONLY_FORCED],
)  # fmt: skip
def test_clean_removes_what_a_killed_build_left(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str
) -> None:
    """It is killed while it waits for an answer, which it never hears."""
    (tmp_path / "t.pkr.json").write_text(template(rig, {"inline": ["echo hello"]}, **GIVEN))
    build_killed_at(rig, goldsmith, environment(rig), action)
    something = left(rig) != {}
    shown = goldsmith("clean", "--dry-run", env=environment(rig), check=True)
    assert ("aws" in shown.stdout) == something and (left(rig) != {}) == something
    goldsmith("clean", env=environment(rig), check=True)
    if action == "DeleteVolume":
        # By then the images are complete, and stay.
        assert rig.cloud.volumes == {} and names(rig) == {"us-east-1": "web", ABROAD: "web"}
    else:
        assert left(rig) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("where", LOCAL)
def test_clean_removes_what_a_build_left_that_was_killed_on_this_host(
    rig: Rig, tmp_path: Path, goldsmith: Any, where: str
) -> None:
    """Before the volume is mounted, while it is, and while a provisioner runs in it."""
    flag = tmp_path / "rig/flag"
    place = tmp_path / "mounted"
    wait = f"touch {flag}; exec sleep 600"
    given: dict[str, Any] = {where: [wait]} if where != "provisioner" else {
        "chroot_mounts": [["bind", str(tmp_path / "rig"), str(tmp_path / "rig")]]}  # fmt: skip
    text = template(rig, {"inline": [wait]}, mount_path=str(place), **given)
    (tmp_path / "t.pkr.json").write_text(text)
    with goldsmith.start("build", "t.pkr.json", env=environment(rig)) as running:
        deadline_s = time.monotonic() + PATIENCE_S
        while not flag.exists():
            assert time.monotonic() < deadline_s and running.poll() is None, running.communicate()
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=600)
    goldsmith("clean", env=environment(rig), check=True)
    assert left(rig) == {} and not place.exists()
