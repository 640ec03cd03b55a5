"""The golden scenarios on the rig: the account before, the disk, and what a build left of both."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_rig.cloud import Image, Snapshot
from aws_rig.refusals import Fault
from aws_rig.server import Call, Rig

MIB = 1 << 20
RUN_TAG = "goldsmith:run"
TEMPORARY = re.compile(r"[a-z0-9]{7}", re.IGNORECASE)
SORTED_BY_REGION = ("ModifyImageAttribute", "ModifySnapshotAttribute", "CopyImage")


def partitioned_disk(place: Path, tree: Path) -> Path:
    """A disk with a DOS label and one ext4 that holds a tree."""
    part = bare_file_system(place.with_name("part"), tree)
    with place.open("wb") as file:
        file.truncate(part.stat().st_size + 2 * MIB)
    layout = "label: dos\nstart=2048, type=83, bootable\n"
    subprocess.run(["sfdisk", "--quiet", place], input=layout, text=True, check=True)
    copy = ["dd", f"if={part}", f"of={place}", "bs=1M", "seek=1", "conv=notrunc,sparse"]
    subprocess.run(copy, check=True, capture_output=True)
    part.unlink()
    return place


def bare_file_system(place: Path, tree: Path) -> Path:
    """An ext4 that holds a tree."""
    with place.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, place], check=True)
    return place


def system_tree(archive: Path, place: Path) -> Path:
    """The small tree of the tests, unpacked."""
    place.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place], check=True)
    (place / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    return place


def fill_with_base(rig: Rig, disk: Path) -> None:
    """Put one image into an account, `ami-base`, whose root has the contents of a disk."""
    rig.cloud.snapshots["snap-base"] = Snapshot(
        "snap-base", "us-east-1", size=1, file=rig.cloud.file(1, disk)
    )
    ebs = {"SnapshotId": "snap-base", "VolumeSize": 1, "VolumeType": "gp3", "Encrypted": False,
           "DeleteOnTermination": True}  # fmt: skip
    rig.cloud.images["ami-base"] = Image(
        "ami-base", "us-east-1", name="base", owner="amazon",
        mappings=[{"DeviceName": "/dev/xvda", "Ebs": ebs}],
        fields={"Architecture": "x86_64", "VirtualizationType": "hvm",
                "RootDeviceName": "/dev/xvda"},
    )  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One golden case."""

    name: str
    recorded: Mapping[str, Any]
    folder: Path

    @classmethod
    def load(cls, folder: Path, name: str) -> Scenario:
        """Read it."""
        return cls(name, json.loads((folder / f"{name}.json").read_text()), folder)

    @property
    def given(self) -> Mapping[str, Any]:
        """The account before."""
        given: Mapping[str, Any] = self.recorded["given"]
        return given

    def rig(self, place: Path) -> Rig:
        """A rig with the faults and the slowness of the case."""
        faults = [
            Fault(one["action"], one["calls"], one["code"], one["status"], one["message"])
            for one in self.given["faults"]
        ]
        return Rig(place, polls=self.given["polls_until_ready"], faults=faults,
                   never_ready=tuple(self.given["never_ready"]))  # fmt: skip

    def fill(self, rig: Rig, disks: Mapping[str, Path]) -> None:
        """Put the images of the case into the rig; `disks` are the contents by their name."""
        content = disks.get(self.given["volume"])
        for one in self.given["images"]:
            mappings = [self._mapping(rig, one, device, content) for device in one["block_devices"]]
            fields = {"Architecture": one["architecture"], "KernelId": one.get("kernel"),
                      "RootDeviceName": one["root_device_name"], "RamdiskId": one.get("ramdisk"),
                      "VirtualizationType": one["virtualization"]}  # fmt: skip
            rig.cloud.images[one["id"]] = Image(
                one["id"], one["region"], tags=dict(one["tags"]), name=one["name"],
                owner=one["owner"], mappings=mappings,
                created=datetime.datetime.fromisoformat(one["creation_date"]),
                fields={name: value for name, value in fields.items() if value},
            )  # fmt: skip

    def _mapping(
        self, rig: Rig, image: Mapping[str, Any], device: Mapping[str, Any], content: Path | None
    ) -> dict[str, Any]:
        names = {"size": "VolumeSize", "type": "VolumeType", "iops": "Iops",
                 "throughput": "Throughput", "encrypted": "Encrypted", "kms_key_id": "KmsKeyId",
                 "snapshot_id": "SnapshotId",
                 "delete_on_termination": "DeleteOnTermination"}  # fmt: skip
        ebs = {names[key]: value for key, value in device.items()
               if key in names and value is not None}  # fmt: skip
        snapshot_id = device.get("snapshot_id")
        if snapshot_id:
            size = device["size"]
            is_root = device["device_name"] == image["root_device_name"]
            rig.cloud.snapshots[snapshot_id] = Snapshot(
                snapshot_id, image["region"], size=size, owner=image["owner"],
                encrypted=bool(device.get("encrypted")),
                file=rig.cloud.file(size, content if is_root else None),
            )  # fmt: skip
        return {"DeviceName": device["device_name"], "Ebs": ebs}

    def variables(self, rig: Rig, work: Path) -> dict[str, str]:
        """What the templates are given."""
        device = rig.disks.nodes / "sdzv"
        return {"endpoint": rig.url, "serial": "7", "device": str(device), "disk": str(device),
                "work": str(work)}  # fmt: skip

    def template(self, kind: str) -> Path:
        """The template in "hcl" or "json"."""
        return self.folder / f"{self.name}.{'pkr.hcl' if kind == 'hcl' else 'template.json'}"


def environment(rig: Rig) -> dict[str, str]:
    """What the recorded runs had in their environment."""
    return {**rig.environment, "AWS_POLL_DELAY_SECONDS": "1", "AWS_MAX_ATTEMPTS": "5"}


def _plain(value: Any, rig: Rig) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one, rig) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, rig) for one in value]
    if value == rig.instance_id:
        return "i-1"
    return "/dev/sdzv" if isinstance(value, str) and value.endswith("/sdzv") else value


def normalised(calls: Iterable[Call], rig: Rig) -> list[dict[str, Any]]:
    """Calls in the form of the golden data; our own tag is left out, and so are empty keys."""
    found = []
    for call in calls:
        params = _plain(dict(call.params), rig)
        params.pop("ClientToken", None)
        if params.get("KmsKeyId") == "":
            del params["KmsKeyId"]
        if "TagSpecification" in params:
            specs = [_without_run(one) for one in params["TagSpecification"]]
            params["TagSpecification"] = [one for one in specs if one.get("Tag")]
            if not params["TagSpecification"]:
                del params["TagSpecification"]
        if "Tag" in params:
            params["Tag"] = sorted(params["Tag"], key=lambda tag: str(tag["Key"]))
        if call.action == "CreateSnapshot":
            params["Description"] = "Packer: <time>"
        if call.action == "RegisterImage" and TEMPORARY.fullmatch(params["Name"]):
            params["Name"] = "<temporary>"
        one = {"action": call.action, "region": call.region, "params": params}
        if call.answer:
            one["answer"] = call.answer
        found.append(one)
    return grouped(found)


def _without_run(spec: Mapping[str, Any]) -> dict[str, Any]:
    tags = [tag for tag in spec.get("Tag", ()) if tag["Key"] != RUN_TAG]
    return {**spec, "Tag": sorted(tags, key=lambda tag: str(tag["Key"]))}


def grouped(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbours whose order is chance in the original, sorted."""
    out: list[dict[str, Any]] = []
    at = 0
    while at < len(calls):
        kind, end = _kind(calls[at]), at
        while end < len(calls) and kind and _kind(calls[end]) == kind:
            end += 1
        end = max(end, at + 1)
        out += sorted(calls[at:end], key=_by_text) if kind else calls[at:end]
        at = end
    return out


def _kind(call: Mapping[str, Any]) -> str:
    action = str(call["action"])
    return action if action in SORTED_BY_REGION or action.startswith("EnableImage") else ""


def _by_text(call: Mapping[str, Any]) -> str:
    return json.dumps([call["region"], call["params"]], sort_keys=True)


def collapsed(actions: Iterable[str]) -> list[str]:
    """Actions with repeats of one collapsed, as polls are."""
    found: list[str] = []
    for action in actions:
        if not found or found[-1] != action:
            found.append(action)
    return found


def account(rig: Rig, before: Iterable[str]) -> dict[str, Any]:
    """What a build has left, in the form of the golden data; `before` are ids that were there."""
    known, found = set(before), {}
    cloud = rig.cloud
    for image in cloud.images.values():
        if image.id in known:
            continue
        region = found.setdefault(image.region, {"images": {}, "snapshots": {}})
        region["images"][image.id] = {
            "name": image.name, "description": image.description, "tags": _tags(image.tags),
            "permissions": sorted(image.permissions, key=json.dumps),
            "product_codes": image.product_codes, "deprecate_at": image.deprecate_at,
            "deregistration_protection": image.protection,
            "imds_support": image.fields.get("ImdsSupport"),
        }  # fmt: skip
    for snapshot in cloud.snapshots.values():
        if snapshot.id in known:
            continue
        region = found.setdefault(snapshot.region, {"images": {}, "snapshots": {}})
        region["snapshots"][snapshot.id] = {
            "tags": _tags(snapshot.tags), "encrypted": snapshot.encrypted,
            "permissions": sorted(snapshot.permissions, key=json.dumps),
            "kms_key_id": snapshot.key,
        }  # fmt: skip
    for volume in cloud.volumes.values():
        region = found.setdefault(volume.region, {"images": {}, "snapshots": {}})
        region.setdefault("volumes", {})[volume.id] = volume.attachment is not None
    return found


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key != RUN_TAG}


def ids(rig: Rig) -> set[str]:
    """What is in the account."""
    return {*rig.cloud.images, *rig.cloud.snapshots, *rig.cloud.volumes}
