"""Whole builds of amazon-chroot on the rig: what other programs leave behind, and this one not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from old_images import MIB, look

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.scenarios import account, environment, partitioned_disk, system_tree

pytestmark = pytest.mark.root

SOURCE = "amazon-chroot.web"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    place = tmp_path_factory.mktemp("amazon-disk")
    return partitioned_disk(place / "disk", system_tree(small_tree, place / "tree"))


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path, disk: Path) -> Iterator[Rig]:
    """An account with one image."""
    with Rig(tmp_path / "rig") as running:
        cloud = running.cloud
        cloud.snapshots["snap-base"] = Snapshot(
            "snap-base", "us-east-1", size=1, file=cloud.file(1, disk)
        )
        ebs = {"SnapshotId": "snap-base", "VolumeSize": 1, "VolumeType": "gp3"}
        cloud.images["ami-base"] = Image(
            "ami-base", "us-east-1", name="base", owner="amazon",
            mappings=[{"DeviceName": "/dev/xvda", "Ebs": ebs}],
            fields={"Architecture": "x86_64", "VirtualizationType": "hvm",
                    "RootDeviceName": "/dev/xvda"},
        )  # fmt: skip
        yield running


def template(rig: Rig, *provisioners: dict[str, Any], **given: Any) -> str:
    """A template in JSON syntax."""
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
    return account(rig, {"ami-base", "snap-base"})


def test_an_image_and_nothing_else(rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path) -> None:
    lines = [
        "echo 'a$(touch /tmp/expanded)b' `echo c` > /told", "cat /etc/resolv.conf > /seen",
        "(setsid sleep 600 > /dev/null 2>&1 &)", "echo $AWS_SECRET_ACCESS_KEY > /secret",
    ]  # fmt: skip
    place = tmp_path / "deep/er"
    text = template(rig, {"inline": lines}, mount_path=str(place))
    (tmp_path / "t.pkr.json").write_text(text)
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert not place.parent.exists()
    (image,) = [one for one in rig.cloud.images.values() if one.id != "ami-base"]
    (snapshot_id,) = image.snapshots()
    assert rig.cloud.volumes == {}

    def seen(top: Path) -> dict[str, str]:
        names = ("told", "seen", "secret", "etc/resolv.conf")
        return {name: (top / name).read_text() for name in names}

    file = rig.cloud.snapshots[snapshot_id].file
    assert file is not None
    found = look(file, seen, offset=MIB)
    assert found["told"] == "a$(touch /tmp/expanded)b c\n" and found["secret"] == "\n"
    assert found["etc/resolv.conf"] == "nameserver 192.0.2.1\n"
    assert found["seen"] == Path("/etc/resolv.conf").read_text()


def test_after_a_failure_the_cleanup_provisioner_runs(
    rig: Rig, tmp_path: Path, goldsmith: Any
) -> None:
    text = template(
        rig, {"inline": ["echo 7 > /state", "exit 3"]},
        {"only_after": "cleanup", "inline": ["echo it was $(cat /state)"]},
    )  # fmt: skip
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "it was 7" in result.stdout, result
    assert left(rig) == {}


def test_keys_of_a_template_are_shown_nowhere(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    rig.faults.append(
        Fault("CreateVolume", "*", "InvalidParameterValue", message="key sesam-oeffne")
    )
    text = template(rig, access_key="AKIATEMPLATE", secret_key="sesam-oeffne")
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "InvalidParameterValue" in result.stdout, result
    assert "sesam-oeffne" not in str(result)


def test_what_the_user_wants_kept_stays(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    (tmp_path / "t.pkr.json").write_text(template(rig, {"inline": ["exit 3"]}))
    result = goldsmith("build", "-on-error=abort", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "Volume vol-1 stays attached" in result.stdout, result
    assert left(rig)["us-east-1"]["volumes"] == {"vol-1": True}
    again = goldsmith("clean", env=environment(rig), check=True)
    assert "Nothing is left to clean" in again.stdout


def test_each_thing_that_stays_is_named(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    rig.faults.append(Fault("CreateTags", "*", "InvalidParameterValue"))
    text = template(rig, {"inline": ["echo hello"]}, tags={"Name": "web"})
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "-on-error=abort", "t.pkr.json", env=environment(rig))
    assert result.status == 1, result
    for what in ("Volume vol-1", "Snapshot snap-1", "AMI ami-new"):
        assert f"{what} stays, as -on-error says" in result.stdout, result
    assert left(rig)["us-east-1"]["volumes"] == {"vol-1": False}
    again = goldsmith("clean", env=environment(rig), check=True)
    assert "Nothing is left to clean" in again.stdout


def test_commands_are_told_the_node_of_the_volume(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    """EC2 calls the device otherwise than this host does."""
    node = rig.disks.nodes / "nvme-Amazon_Elastic_Block_Store_vol1"
    seen = tmp_path / "seen"
    text = template(
        rig, {"inline": ["echo hello"]}, nvme_device_path=str(node),
        pre_mount_commands=[f"echo {{{{.Device}}}} >> {seen}",
                            "ln -s {{.Device}}-part1 {{.Device}}1"],
        post_mount_commands=[f"echo {{{{.Device}}}} >> {seen}"],
    )  # fmt: skip
    (tmp_path / "t.pkr.json").write_text(text)
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert seen.read_text().split() == [str(node)] * 2


@pytest.mark.parametrize(
    "action", ["CreateVolume", "DetachVolume", "CreateSnapshot", "CopyImage", "CreateTags"]
)
def test_clean_removes_what_a_killed_build_left(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str
) -> None:
    """It is killed while it waits for an answer, which it never hears."""
    text = template(
        rig, {"inline": ["echo hello"]}, ami_regions=["eu-west-1"], tags={"Name": "web"}
    )
    (tmp_path / "t.pkr.json").write_text(text)
    with goldsmith.start("build", "t.pkr.json", env=environment(rig)) as running:

        def kill(asked: str, number: int) -> None:
            if asked == action and number == 1:
                os.killpg(running.pid, signal.SIGKILL)

        rig.on_call = kill
        running.communicate(timeout=600)
        deadline_s = time.monotonic() + PATIENCE_S
        while not any(call.action == action for call in rig.calls):
            assert time.monotonic() < deadline_s, "the call never came"
            time.sleep(0.05)
    rig.on_call = lambda asked, number: None
    assert left(rig) != {}
    shown = goldsmith("clean", "--dry-run", env=environment(rig), check=True)
    assert "aws" in shown.stdout and left(rig) != {}
    goldsmith("clean", env=environment(rig), check=True)
    assert left(rig) == {}


def test_what_is_mounted_is_never_detached(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    """A mount of the user's own holds that of the root until the build's namespaces end."""
    hold = "mount -t tmpfs none {{.MountPath}}/srv"
    text = template(rig, {"inline": ["echo hello"]}, post_mount_commands=[hold])
    (tmp_path / "t.pkr.json").write_text(text)
    busy: list[str] = []

    def watch(action: str, number: int) -> None:
        if action == "DetachVolume":
            busy.extend(one.node.name for one in rig.disks.attached if rig.disks.is_busy(one))

    rig.on_call = watch
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "still mounted" in result.stdout + result.stderr, result
    assert busy == [] and left(rig) == {}
