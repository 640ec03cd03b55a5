"""Whole builds of amazon-chroot on the rig: what other programs leave behind, and this one not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_builds import base_disk, left, template

from aws_rig import Fault, Rig
from aws_rig.scenarios import environment, fill_with_base

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    return base_disk(tmp_path_factory.mktemp("amazon-disk"), small_tree)


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path, disk: Path) -> Iterator[Rig]:
    """An account with one image."""
    with Rig(tmp_path / "rig") as running:
        fill_with_base(running, disk)
        yield running


def test_defect_6_7_2_after_a_failure_the_cleanup_provisioner_runs(
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


@pytest.mark.parametrize("hold", ["mount -t tmpfs none {{.MountPath}}/srv",
                                  "mkdir elsewhere; mount {{.Device}}1 elsewhere"])  # fmt: skip
def test_defect_6_7_3_what_is_mounted_is_never_detached(
    rig: Rig, tmp_path: Path, goldsmith: Any, hold: str
) -> None:
    """A mount of the user's own holds the volume until the build's namespaces end."""
    hold = hold.replace("elsewhere", str(tmp_path / "elsewhere"))
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


def test_an_artifact_that_nobody_keeps_is_removed(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    """A chain that hands on something else ends with the images and their snapshots gone."""
    other = tmp_path / "other"
    other.write_text("instead")
    whole = json.loads(template(rig, {"inline": ["echo hello"]}, ami_regions=["eu-west-1"]))
    whole["build"]["post-processor"] = [
        {"artifice": {"files": [str(other)], "keep_input_artifact": False}}
    ]
    (tmp_path / "t.pkr.json").write_text(json.dumps(whole))
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    asked = [call.action for call in rig.calls]
    assert asked.count("DeregisterImage") == 2 and asked.count("DeleteSnapshot") == 2
    assert left(rig) == {} and other.read_text() == "instead"


def test_programs_of_the_template_mount_and_unmount(
    rig: Rig, tmp_path: Path, goldsmith: Any
) -> None:
    """mount_command and unmount_command, as older templates have them."""
    seen, shown = tmp_path / "seen", tmp_path / "shown"
    shown.mkdir()
    (shown / "file").write_text("inner")
    for name in ("mount", "umount"):
        program = tmp_path / f"my-{name}"
        program.write_text(f'#!/bin/sh\necho "$0 $*" >> {seen}\nshift\nexec {name} "$@"\n')
        program.chmod(0o755)
    text = template(
        rig, {"inline": ["cat /srv/file > /told"]}, chroot_mounts=[["bind", str(shown), "/srv"]],
        mount_command=f"{tmp_path}/my-mount first", unmount_command=f"{tmp_path}/my-umount first",
        mount_options=["noatime"],
    )  # fmt: skip
    (tmp_path / "t.pkr.json").write_text(text)
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    lines = [line.split()[0].rpartition("-")[2] + " " + line.split()[1]
             for line in seen.read_text().splitlines()]  # fmt: skip
    assert lines == ["mount first", "mount first", "umount first"]
    assert "noatime" in seen.read_text() and "--rbind" in seen.read_text()


def test_debugging_pauses_after_each_step(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    """Under the names and in the order of Packer; nobody answers here, so that it goes on."""
    (tmp_path / "t.pkr.json").write_text(template(rig, {"inline": ["echo hello"]}))
    words = ("build", "-debug", "-log-format=jsonl", "t.pkr.json")
    result = goldsmith(*words, env=environment(rig), check=True)
    asked = re.findall(r"after run of step '(\w+)'", result.stdout)
    assert asked == [
        "StepPreValidate", "StepInstanceInfo", "StepSourceAMIInfo", "StepCheckRootDevice",
        "StepFlock", "StepPrepareDevice", "StepCreateVolume", "StepAttachVolume",
        "StepEarlyUnflock", "StepMountDevice", "StepChrootProvision", "StepEarlyCleanup",
        "StepSnapshot", "StepRegisterAMI", "StepEnableDeprecation", "StepModifyAMIAttributes",
        "StepCreateTags", "StepEnableDeregistrationProtection",
    ], result  # fmt: skip
