"""Whole builds of amazon-ebsdirect on the rig: an AMI without any instance or volume."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_builds import build_killed_at
from old_images import MIB, call, look

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.direct_calls import BLOCK, as_launched, present, read_block
from aws_rig.scenarios import account, environment, partitioned_disk, system_tree

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    place = tmp_path_factory.mktemp("ebs-disk")
    return partitioned_disk(place / "disk", system_tree(small_tree, place / "tree"))


@pytest.fixture
def rig(host_unchanged: None, tmp_path: Path, disk: Path) -> Iterator[Rig]:
    """An account with one image of its own."""
    with Rig(tmp_path / "rig", put_delay_s=0.01) as running:
        cloud = running.cloud
        cloud.snapshots["snap-base"] = Snapshot(
            "snap-base", "us-east-1", size=1, file=cloud.file(1, disk)
        )
        ebs = {"SnapshotId": "snap-base", "VolumeSize": 1, "VolumeType": "gp3"}
        cloud.images["ami-base"] = Image(
            "ami-base", "us-east-1", name="base",
            mappings=[{"DeviceName": "/dev/xvda", "Ebs": ebs}],
            fields={"Architecture": "x86_64", "VirtualizationType": "hvm",
                    "RootDeviceName": "/dev/xvda", "BootMode": "uefi-preferred"},
        )  # fmt: skip
        yield running


def template(rig: Rig, *lines: str, **given: Any) -> str:
    """A template in JSON syntax."""
    source = {"region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
              "source_ami": "ami-base", **given}  # fmt: skip
    build: dict[str, Any] = {"sources": ["source.amazon-ebsdirect.web"]}
    if lines:
        build["provisioner"] = [{"shell": {"inline": list(lines)}}]
    return json.dumps({"source": {"amazon-ebsdirect": {"web": source}}, "build": build})


def left(rig: Rig) -> dict[str, Any]:
    """What is in the account besides the source."""
    return account(rig, {"ami-base", "snap-base"})


def made(rig: Rig) -> tuple[Image, Snapshot]:
    """The one new image in the home region, and its snapshot."""
    (image,) = [one for one in rig.cloud.images.values()
                if one.id != "ami-base" and one.region == "us-east-1"]  # fmt: skip
    (snapshot_id,) = image.snapshots()
    return image, rig.cloud.snapshots[snapshot_id]


def counted(rig: Rig) -> Counter[str]:
    """How often each action was called with success."""
    return Counter(one.action for one in rig.calls if not one.answer)


def test_only_what_changed_is_sent(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    lines = [
        "echo hello > /told",
        "cp /told /etc/gone && rm /etc/gone",
        "echo $AWS_SECRET_ACCESS_KEY > /key",
    ]
    text = template(rig, *lines, verify_upload=True, ami_regions=["eu-west-1"],
                    tags={"Base": "{{.SourceAMI}}"}, ami_users=["111122223333"])  # fmt: skip
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    image, snapshot = made(rig)
    assert image.fields["BootMode"] == "uefi-preferred" and image.tags["Base"] == "ami-base"
    assert image.permissions == [{"UserId": "111122223333"}]
    assert snapshot.parent == "snap-base" and rig.cloud.volumes == {}
    base = rig.cloud.snapshots["snap-base"]
    assert base.file is not None and snapshot.file is not None
    both = present(base) | present(snapshot)
    differing = {n for n in both if read_block(base, n) != read_block(snapshot, n)}
    puts = [one.params["BlockIndex"] for one in rig.calls if one.action == "PutSnapshotBlock"]
    assert len(puts) == len(set(puts)) and differing <= set(puts)
    # Besides, what its file system relies on and the source does not have at all: zeros.
    assert not (set(puts) - differing) & present(base)
    assert 0 < len(differing) < len(present(snapshot)) < 2048
    assert f"{len(puts)} blocks of 2048 are to be sent" in result.stdout
    told = look(snapshot.file, lambda top: [(top / name).read_text() for name in ("told", "key")],
                offset=MIB)  # fmt: skip
    assert told == ["hello\n", "\n"]
    (copy,) = [one for one in rig.cloud.images.values() if one.region == "eu-west-1"]
    assert copy.tags["Base"] == "ami-base"
    assert set(counted(rig)) & {"CreateVolume", "AttachVolume", "CreateSnapshot"} == set()


def test_an_encrypted_volume_of_it_has_no_garbage(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    """Blocks that nobody wrote are garbage there: what files rely on must have been written."""
    lines = ["head -c 8388608 /dev/zero > /zeros", "echo hello > /told"]
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    text = template(rig, *lines, snapshot_encrypted=True, snapshot_kms_key_arn=key)
    (tmp_path / "t.pkr.json").write_text(text)
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    _, snapshot = made(rig)
    assert snapshot.encrypted and snapshot.key == key and snapshot.parent is None
    launched = as_launched(snapshot, tmp_path / "launched", 66 * MIB)
    zeros = look(launched, lambda top: (top / "zeros").read_bytes().count(0), offset=MIB)
    assert zeros == 8 * MIB
    part = tmp_path / "part"
    call("dd", f"if={launched}", f"of={part}", "bs=1M", "skip=1", "count=64")
    call("e2fsck", "-fn", part)
    assert len(present(snapshot)) < 2048


def test_a_public_source_is_copied_first(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    rig.cloud.snapshots["snap-base"].owner = rig.cloud.images["ami-base"].owner = "999999999999"
    (tmp_path / "t.pkr.json").write_text(template(rig))
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "set copy_source" in result.stdout, result
    assert left(rig) == {}
    (tmp_path / "t.pkr.json").write_text(template(rig, copy_source=True))
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    image, snapshot = made(rig)
    assert set(left(rig)["us-east-1"]["images"]) == {image.id}
    assert set(left(rig)["us-east-1"]["snapshots"]) == {snapshot.id}
    assert snapshot.parent is not None and snapshot.parent.startswith("snap-copy")


@pytest.mark.parametrize(
    ("action", "code"),
    [("PutSnapshotBlock", "AccessDeniedException"), ("CreateTags", "InvalidParameterValue"),
     pytest.param("GetSnapshotBlock", "AccessDeniedException", marks=pytest.mark.nightly),
     pytest.param("CompleteSnapshot", "ValidationException", marks=pytest.mark.nightly),
     pytest.param("RegisterImage", "InvalidParameterValue", marks=pytest.mark.nightly)],
)  # fmt: skip
def test_after_a_failure_nothing_is_left(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str, code: str
) -> None:
    rig.faults.append(Fault(action, "*", code))
    (tmp_path / "t.pkr.json").write_text(template(rig, "echo hello > /told", tags={"Name": "web"}))
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and code in result.stdout, result
    assert left(rig) == {}


@pytest.mark.parametrize(
    "action",
    ["CompleteSnapshot", *(pytest.param(one, marks=pytest.mark.nightly) for one in
                           ("GetSnapshotBlock", "StartSnapshot", "RegisterImage", "CopyImage",
                            "CreateTags"))],
)  # fmt: skip
def test_clean_removes_what_a_killed_build_left(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str
) -> None:
    """It is killed while it waits for an answer, which it never hears."""
    text = template(rig, "echo hello > /told", tags={"Name": "web"}, ami_regions=["eu-west-1"])
    (tmp_path / "t.pkr.json").write_text(text)
    build_killed_at(rig, goldsmith, environment(rig), action)
    assert (left(rig) != {}) == (action != "GetSnapshotBlock")
    goldsmith("clean", env=environment(rig), check=True)
    assert left(rig) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["once", "once, its answer lost", "throttled"])
@pytest.mark.parametrize(
    "action", ["ListSnapshotBlocks", "GetSnapshotBlock", "StartSnapshot", "PutSnapshotBlock",
               "CompleteSnapshot"],
)  # fmt: skip
def test_an_action_that_fails_for_a_while(
    rig: Rig, tmp_path: Path, goldsmith: Any, action: str, kind: str
) -> None:
    calls, code, status = ("/2", "ThrottlingException", 400) if kind == "throttled" else (
        "1", "InternalServerException", 500)  # fmt: skip
    rig.faults.append(Fault(action, calls, code, status, after="lost" in kind))
    text = template(rig, "echo hello > /told", verify_upload=True)
    (tmp_path / "t.pkr.json").write_text(text)
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    rig.faults.clear()
    image, snapshot = made(rig)
    assert set(left(rig)["us-east-1"]["images"]) == {image.id}
    assert set(left(rig)["us-east-1"]["snapshots"]) == {snapshot.id}


def test_a_parent_that_is_refused_is_done_without(rig: Rig, tmp_path: Path, goldsmith: Any) -> None:
    rig.faults.append(Fault("StartSnapshot", "1", "ValidationException"))
    (tmp_path / "t.pkr.json").write_text(template(rig, "echo hello > /told", verify_upload=True))
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert "all blocks are sent" in result.stdout + result.stderr
    assert made(rig)[1].parent is None and len(left(rig)["us-east-1"]["snapshots"]) == 1


# ---- the post-processor


def image_template(rig: Rig, file: str, **given: Any) -> str:
    """A template that makes an AMI of a file that is there."""
    options = {"region": "us-east-1", "custom_endpoint_ec2": rig.url, "ami_name": "web",
               "force_deregister": True, **given}  # fmt: skip
    chain = [{"artifice": {"files": [file]}}, {"amazon-ebsdirect": options}]
    build = {"sources": ["source.null.n"], "post-processors": [{"post-processor": chain}]}
    return json.dumps({"source": {"null": {"n": {"communicator": "none"}}}, "build": build})


def is_of(snapshot: Snapshot, image: Path) -> bool:
    """Whether the snapshot holds an image byte by byte."""
    with image.open("rb") as file:
        return all(file.read(BLOCK).ljust(BLOCK, b"\0") == read_block(snapshot, number)
                   for number in range(66 * 2))  # fmt: skip


def test_the_next_build_of_an_image_sends_what_differs(
    rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path
) -> None:
    image = tmp_path / "disk.raw"
    call("cp", "--sparse=always", disk, image)
    (tmp_path / "t.pkr.json").write_text(image_template(rig, "disk.raw", verify_upload=True))
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    first, before = made(rig)
    assert first.fields["EnaSupport"] and first.mappings[0]["Ebs"]["VolumeType"] == "gp3"
    assert (tmp_path / "disk.raw.ebs-blocks.gz").is_file() and image.is_file()
    with image.open("r+b") as file:
        for at in (20, 40):
            file.seek(at * MIB)
            file.write(b"changed")
    rig.calls.clear()
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert counted(rig)["PutSnapshotBlock"] == 2
    assert "2 blocks of 2048 are to be sent" in result.stdout
    _, after = made(rig)
    assert after.parent == before.id
    assert is_of(after, image)


def test_keys_of_a_post_processor_are_shown_nowhere(
    rig: Rig, tmp_path: Path, goldsmith: Any
) -> None:
    rig.faults.append(Fault("StartSnapshot", "*", "ValidationException", 400, "key sesam-oeffne"))
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    keys = {"access_key": "AKIATEMPLATE", "secret_key": "sesam-oeffne"}
    text = image_template(rig, "disk.raw", **keys)
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "t.pkr.json", env=environment(rig))
    assert result.status == 1 and "StartSnapshot: key" in result.stdout, result
    assert "sesam-oeffne" not in str(result)
    kept = [path for path in goldsmith.state.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if b"sesam-oeffne" in path.read_bytes()]


@pytest.mark.parametrize(
    "kind", ["qcow2", "raw.zst", pytest.param("raw.gz", marks=pytest.mark.nightly)]
)
def test_any_format_of_an_image(
    rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path, kind: str
) -> None:
    image = tmp_path / f"disk.{kind}"
    if kind == "qcow2":
        call("qemu-img", "convert", "-O", "qcow2", disk, image)
    else:
        call(*(["zstd", "-q", disk, "-o", image] if kind == "raw.zst" else
               ["sh", "-c", f"gzip -1 < {disk} > {image}"]))  # fmt: skip
    (tmp_path / "t.pkr.json").write_text(image_template(rig, image.name, verify_upload=True))
    goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    _, snapshot = made(rig)
    assert is_of(snapshot, disk)


def test_an_index_that_cannot_be_written_costs_no_image(
    rig: Rig, tmp_path: Path, goldsmith: Any
) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    text = image_template(rig, "disk.raw", index_file="disk.raw/index")
    (tmp_path / "t.pkr.json").write_text(text)
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert "disk.raw/index cannot be written" in result.stdout + result.stderr
    assert made(rig)[0].id in result.stdout


def kill_in_the_middle(rig: Rig, goldsmith: Any, most: int = 20) -> None:
    """Kill a build with SIGKILL as it sends its fifth block."""
    build_killed_at(rig, goldsmith, environment(rig), "PutSnapshotBlock", 5)
    (pending,) = rig.direct.uploads.values()
    assert 0 < len(pending.digests) < most


def test_a_killed_upload_goes_on(rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path) -> None:
    call("cp", "--sparse=always", disk, tmp_path / "disk.raw")
    (tmp_path / "t.pkr.json").write_text(image_template(rig, "disk.raw", connections=2))
    kill_in_the_middle(rig, goldsmith)
    (old,) = rig.direct.uploads
    known = len(rig.direct.uploads[old].digests)
    rig.calls.clear()
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert "are there from a run that was killed" in result.stdout
    _, snapshot = made(rig)
    assert snapshot.id == old
    sent = counted(rig)["PutSnapshotBlock"]
    assert sent <= len(present(snapshot)) - known + 2
    # What cleans up after the killed run does not find it: it is this run's now.
    (journal,) = goldsmith.state.glob("runs/*/journal.jsonl")
    assert snapshot.tags["goldsmith:run"] not in journal.read_text()
    shown = goldsmith("clean", "--dry-run", env=environment(rig), check=True)
    assert journal.parent.name in shown.stdout and "aws" not in shown.stdout
    goldsmith("clean", env=environment(rig), check=True)
    assert snapshot.id in rig.cloud.snapshots and not journal.exists()


def test_a_killed_upload_of_the_source_goes_on(
    rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path
) -> None:
    """Its image is made anew, and is not the same: what differs is sent over it."""
    lines = "head -c 20000000 /dev/zero | tr '\\0' x > /much && date +%s%N > /when"
    given = {"connections": 2, "verify_upload": True, "ami_name": "web-{{timestamp}}"}
    (tmp_path / "t.pkr.json").write_text(template(rig, lines, **given))
    kill_in_the_middle(rig, goldsmith, most=60)
    (old,) = rig.direct.uploads
    result = goldsmith("build", "t.pkr.json", env=environment(rig), check=True)
    assert "are there from a run that was killed" in result.stdout
    _, snapshot = made(rig)
    assert snapshot.id == old and snapshot.parent == "snap-base"
    launched = as_launched(snapshot, tmp_path / "launched", 66 * MIB)
    found = look(launched, lambda top: (top / "much").read_bytes(), offset=MIB)
    assert found == b"x" * 20_000_000
    assert len(left(rig)["us-east-1"]["images"]) == 1


def test_clean_removes_a_killed_upload(
    rig: Rig, tmp_path: Path, goldsmith: Any, disk: Path
) -> None:
    call("cp", "--sparse=always", disk, tmp_path / "disk.raw")
    (tmp_path / "t.pkr.json").write_text(image_template(rig, "disk.raw", connections=2))
    kill_in_the_middle(rig, goldsmith)
    assert left(rig) != {}
    goldsmith("clean", env=environment(rig), check=True)
    assert left(rig) == {}
    assert list((goldsmith.state / "ebs-direct").iterdir()) == []
