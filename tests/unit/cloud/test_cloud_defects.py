"""Defects of the original by their numbers, where no build is needed to see that they are gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.cloud import Volume as RigVolume
from aws_rig.scenarios import account as left_in
from goldsmith.builders.amazon.source import SourceImageStep
from goldsmith.builders.amazon_chroot import available_device, devices
from goldsmith.builders.amazon_chroot.builder import BUILDER_ID, AmazonChrootBuilder
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.requests import volume_request
from goldsmith.builders.volume_steps.locking import LockStep
from goldsmith.cloud import calls
from goldsmith.cloud.ami_artifact import ami_artifact
from goldsmith.cloud.images import (
    DeregisterStep,
    Publishing,
    RegionCopyStep,
    RegisterStep,
    SnapshotStep,
)
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.publish import PreValidateStep
from goldsmith.cloud.registering import register_request
from goldsmith.cloud.session import Account
from goldsmith.cloud.volumes import Volume
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError, Severity
from goldsmith.events import Emitter, Said
from goldsmith.host.journal import RunDirectory, open_run
from goldsmith.host.locks import try_lock
from goldsmith.host.teardown import Teardown
from goldsmith.redact import Redactor

GOOD = {"ami_name": "web", "source_ami": "ami-base", "region": "us-east-1"}
SCRATCH = {
    "ami_name": "web", "region": "us-east-1", "from_scratch": True, "root_volume_size": 4,
    "pre_mount_commands": ("mkfs",), "ami_virtualization_type": "hvm",
    "root_device_name": "/dev/sda1",
}  # fmt: skip
SOURCE: dict[str, Any] = {
    "ImageId": "ami-base", "Architecture": "x86_64", "VirtualizationType": "hvm",
    "RootDeviceName": "/dev/xvda", "BootMode": "uefi", "TpmSupport": "v2.0", "EnaSupport": True,
    "SriovNetSupport": "simple", "ImdsSupport": "v2.0",
    "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {
        "SnapshotId": "snap-base", "VolumeSize": 8, "VolumeType": "io1", "Iops": 400}}],
}  # fmt: skip


def options(given: dict[str, Any]) -> AmazonChrootOptions:
    return AmazonChrootOptions.model_validate(given)


def errors(given: dict[str, Any]) -> list[str]:
    found = AmazonChrootBuilder(options(given), "web").check()
    return [one.message for one in found if one.severity is Severity.ERROR]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """An account with one image and one volume, no disks."""
    with Rig(tmp_path / "rig", loops=False) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(calls, "pause", lambda _: None)
        cloud = running.cloud
        cloud.snapshots["snap-base"] = Snapshot(
            "snap-base", "us-east-1", size=1, file=cloud.file(1, None)
        )
        cloud.images["ami-base"] = Image(
            "ami-base", "us-east-1", name="base", mappings=[
                {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-base", "VolumeSize": 1}}],
            fields={"RootDeviceName": "/dev/xvda", "Architecture": "x86_64",
                    "VirtualizationType": "hvm"},
        )  # fmt: skip
        cloud.volumes["vol-1"] = RigVolume(
            "vol-1", "us-east-1", zone="a", size=1, file=cloud.file(1, None)
        )
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "state", "test", {"aws": lambda fields: None}) as opened:
        yield opened


def publishing(rig: Rig, run: RunDirectory, teardown: Teardown, **given: Any) -> Publishing:
    chosen = options({**GOOD, "custom_endpoint_ec2": rig.url, "max_retries": 2, **given})
    account = Account(chosen, Redactor())
    return Publishing(account, chosen, Waiting(1.0, 5), Ledger(run, account, "b"), teardown)


def context(place: Path, said: list[str] | None = None) -> StepContext:
    def sink(event: object) -> None:
        if said is not None and isinstance(event, Said):
            said.append(event.text)

    return StepContext(emitter=Emitter("b", sink), scratch=place, epoch_s=0)


def test_defect_6_7_5_without_the_build_region_its_names_do_not_matter(
    rig: Rig, run: RunDirectory, tmp_path: Path
) -> None:
    rig.cloud.images["ami-old"] = Image("ami-old", "us-east-1", name="web")
    with Teardown() as teardown:
        given = {"skip_save_build_region": True, "ami_regions": ["eu-west-1"]}
        making = publishing(rig, run, teardown, skip_region_validation=True, **given)
        PreValidateStep(making).run(context(tmp_path))
        assert making.copy_regions == ["eu-west-1"]
        with pytest.raises(GoldsmithError, match="used by an existing AMI: ami-old"):
            PreValidateStep(publishing(rig, run, teardown)).run(context(tmp_path))


def test_defect_6_7_6_a_volume_from_scratch_is_encrypted_by_its_key() -> None:
    mappings = [{"device_name": "/dev/sda1"}]
    key = {"root_volume_encrypt_boot": True, "root_volume_kms_key_id": "alias/mine"}
    request = volume_request(
        options({**SCRATCH, "ami_block_device_mappings": mappings, **key}), None, "z"
    )
    assert request["Encrypted"] is True and request["KmsKeyId"] == "alias/mine"


def test_defect_6_7_7_devices_of_nvme_are_found_by_the_id_of_the_volume(tmp_path: Path) -> None:
    block, dev = tmp_path / "block", tmp_path / "dev"
    dev.mkdir()
    (block / "nvme1n1/device").mkdir(parents=True)
    (block / "nvme1n1/device/serial").write_text("vol0abc\n")
    node = devices.find_node("vol-0abc", "/dev/sdf", "", by_id=tmp_path, sys_block=block)
    assert node is not None and str(node.partition("2")) == "/dev/nvme1n1p2"
    # A host without sd or xvd disks still has a name to tell EC2.
    assert available_device(dev=dev, sys_block=block) == str(dev / "sdf")


def test_defect_6_7_8_the_node_of_the_volume_is_awaited(tmp_path: Path) -> None:
    place = tmp_path / "sdf"
    came = threading.Timer(0.2, place.touch)
    came.start()
    node = devices.awaited_node("vol-1", str(place), "")
    assert node.disk == str(place)
    came.join()


def test_defect_6_7_10_the_wait_for_the_lock_is_told_and_ends(tmp_path: Path) -> None:
    said: list[str] = []
    held = try_lock(tmp_path / "lock")
    assert held is not None
    with Teardown() as teardown:
        step = LockStep(tmp_path / "lock", teardown, longest_s=1.5)
        with pytest.raises(GoldsmithError, match=r"another build has held .*lock for \d+ s"):
            step.run(context(tmp_path, said))
        assert said == [f"Waiting for another build that holds {tmp_path / 'lock'}"]
        os.close(held)
        step.run(context(tmp_path))
        assert try_lock(tmp_path / "lock") is None
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_defect_6_7_13_an_image_from_scratch_tells_of_no_source() -> None:
    made = ami_artifact(BUILDER_ID, {"r": "ami-1"}, options(GOOD), {"BuildRegion": "r"})
    (described,) = made.state["par.artifact.metadata"]
    assert described["SourceImageID"] == "" and described["ImageID"] == "ami-1"


def test_defects_1_9_15_and_21_bad_templates_are_found_by_validate() -> None:
    for name in ("ami_description", "mount_path"):
        assert any(one.startswith(f"{name}:") for one in errors({**GOOD, name: "{{.Nope}}"}))
    for name in ("tags", "snapshot_tags", "root_volume_tags"):
        found = errors({**GOOD, name: {"A": "{{.Nope}}"}})
        assert any(one.startswith(f"{name} A:") for one in found), found


def test_defect_1_9_16_a_throttled_look_up_is_repeated(
    rig: Rig, run: RunDirectory, tmp_path: Path
) -> None:
    rig.faults += [Fault("DescribeImages", one, "RequestLimitExceeded", 503) for one in ("1", "3")]
    with Teardown() as teardown:
        making = publishing(rig, run, teardown, skip_region_validation=True)
        PreValidateStep(making).run(context(tmp_path))
        found = SourceImageStep(making, options(GOOD)).run(context(tmp_path))
    assert found["ImageId"] == "ami-base"


def test_defect_1_9_17_errors_of_polls_are_shown(rig: Rig, run: RunDirectory) -> None:
    rig.faults.append(Fault("DescribeVolumes", "*", "UnauthorizedOperation", 403, "not for you"))
    with Teardown() as teardown:
        making = publishing(rig, run, teardown)
        claim = making.ledger.claim("volume", "us-east-1")
        volume = Volume("vol-1", making.account.ec2(), making.waiting, claim)
        with pytest.raises(GoldsmithError, match="DescribeVolumes: not for you"):
            volume.wait_until_available()
        claim.settle()


def test_defect_1_9_18_the_image_is_as_its_source_and_as_the_template_says() -> None:
    request = register_request(options({**GOOD, "root_volume_type": "gp3"}), SOURCE, "snap-9", 8)
    kept = ("BootMode", "EnaSupport", "SriovNetSupport", "TpmSupport", "ImdsSupport")
    assert {name: request[name] for name in kept} == {name: SOURCE[name] for name in kept}
    ebs = request["BlockDeviceMappings"][0]["Ebs"]
    assert ebs["VolumeType"] == "gp3" and "Iops" not in ebs
    given = {"ami_block_device_mappings": [
        {"device_name": "/dev/xvda"}, {"device_name": "/dev/xvdb", "encrypted": True,
                                       "kms_key_id": "alias/data", "volume_size": 5}],
        "root_device_name": "/dev/xvda", "root_volume_size": 8}  # fmt: skip
    data = register_request(options({**GOOD, **given}), SOURCE, "s", 8)["BlockDeviceMappings"][1]
    assert data["Ebs"]["Encrypted"] is True and data["Ebs"]["KmsKeyId"] == "alias/data"


def test_defect_1_9_19_each_call_goes_to_the_endpoint_of_the_template(
    rig: Rig, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
    with Teardown() as teardown:
        making = publishing(
            rig, run, teardown, ami_regions=["eu-west-1"], snapshot_copy_duration_minutes=15
        )
        RegionCopyStep(making, "ami-base").run(context(tmp_path))
        (copied,) = [call for call in rig.calls if call.action == "CopyImage"]
        assert copied.params["SnapshotCopyCompletionDurationMinutes"] == "15"


def test_defect_1_9_20_the_old_image_goes_only_when_the_new_one_can_be_registered(
    rig: Rig, run: RunDirectory, tmp_path: Path
) -> None:
    rig.cloud.images["ami-old"] = Image("ami-old", "us-east-1", name="web")
    before = {"ami-base", "snap-base", "ami-old"}
    request = {
        "Name": "web", "RootDeviceName": "/dev/xvda", "Architecture": "x86_64",
        "VirtualizationType": "hvm",
    }  # fmt: skip
    with Teardown() as teardown:
        making = publishing(rig, run, teardown, force_deregister=True)
        snapshot_id = SnapshotStep(making, "vol-1").run(context(tmp_path))
        with pytest.raises(GoldsmithError, match="No root snapshot specified"):
            bad = {**request, "BlockDeviceMappings": []}
            DeregisterStep(making, bad).run(context(tmp_path))
        assert "ami-old" in rig.cloud.images
        ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}
        good = {**request, "BlockDeviceMappings": [ebs]}
        DeregisterStep(making, good).run(context(tmp_path))
        assert "ami-old" not in rig.cloud.images
        RegisterStep(making, good).run(context(tmp_path))
    left = left_in(rig, before)
    assert list(left["us-east-1"]["images"]) == [], "nobody has kept it"


def test_defect_1_9_22_the_working_volume_is_as_fast_as_the_root_is_to_be() -> None:
    given = {"ami_block_device_mappings": [
        {"device_name": "/dev/sda1", "volume_type": "gp3", "iops": 5000, "throughput": 300}],
        "root_volume_type": "gp3"}  # fmt: skip
    request = volume_request(options({**SCRATCH, **given}), None, "z")
    assert (request["Iops"], request["Throughput"]) == (5000, 300)


@pytest.mark.parametrize("times", ["1", "*"])
def test_the_artifact_removes_its_images_in_every_region(
    rig: Rig, times: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = rig.cloud
    for region in ("us-east-1", "eu-west-1"):
        snapshot_id = f"snap-{region}"
        cloud.snapshots[snapshot_id] = Snapshot(snapshot_id, region, size=1)
        ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}
        cloud.images[f"ami-{region}"] = Image(f"ami-{region}", region, name="w", mappings=[ebs])
    images = {region: f"ami-{region}" for region in ("us-east-1", "eu-west-1")}
    chosen = options({**GOOD, "custom_endpoint_ec2": rig.url, "max_retries": 2})
    made = ami_artifact(BUILDER_ID, images, chosen, {"SourceAMI": "ami-base"})
    assert made.id == "eu-west-1:ami-eu-west-1,us-east-1:ami-us-east-1"
    assert made.string == (
        "AMIs were created:\neu-west-1: ami-eu-west-1\nus-east-1: ami-us-east-1\n"
    )
    assert made.state["atlas.artifact.metadata"]["region.eu-west-1"] == "ami-eu-west-1"
    received = AmazonChrootBuilder(chosen, "web").received(made.to_wire())
    assert received == made and "ami_name" not in str(made.to_wire())
    rig.faults.append(Fault("DeregisterImage", times, "InternalError", 500))
    if times == "*":
        with pytest.raises(GoldsmithError, match=r"ami-eu-west-1 in eu-west-1: .*ami-us-east-1 in"):
            received.destroy()
        rig.faults.clear()
    received.discard({"us-east-1:ami-us-east-1"})
    assert set(cloud.images) == {"ami-base", "ami-us-east-1"}
    received.destroy()
    received.destroy()
    assert set(cloud.images) == {"ami-base"} and set(cloud.snapshots) == {"snap-base"}
