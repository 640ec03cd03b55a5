"""The real packer of Debian and goldsmith build the same templates on the same cloud.

Both make the same calls in the same order, but for polls and for what FIXED says of the defects of
the original; after each end of goldsmith's nothing is left. packer runs in a mount namespace of its
own, as it leaves its mounts behind after some failures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.scenarios import (
    account,
    collapsed,
    environment,
    fill_with_base,
    ids,
    normalised,
    partitioned_disk,
    system_tree,
)

pytestmark = pytest.mark.root

HOME, ABROAD = "us-east-1", "eu-west-1"
KEY = "alias/mine"
PATIENCE_TRIES = "20"
Calls = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """What a template says besides the usual, and what goes wrong at AWS."""

    source: dict[str, Any] = field(default_factory=dict)
    inline: tuple[str, ...] = ("echo hello > /told",)
    faults: tuple[Fault, ...] = ()
    flags: tuple[str, ...] = ()
    older: bool = False
    """Whether images of the name are there already."""
    succeeds: bool = True
    nightly: bool = True


def refused(action: str, calls: str = "*") -> tuple[Fault, ...]:
    """Faults that nobody repeats."""
    return (Fault(action, calls, "UnauthorizedOperation", 403),)


FILTER = {
    "source_ami": "",
    "source_ami_filter": {"filters": {"name": "ba*"}, "owners": ["amazon"], "most_recent": True},
}
SCRATCH = {
    "source_ami": "", "from_scratch": True, "root_volume_size": 1, "root_device_name": "/dev/xvda",
    "ami_virtualization_type": "hvm", "ami_block_device_mappings": [
        {"device_name": "/dev/xvda", "delete_on_termination": True, "volume_type": "gp2"}],
    "pre_mount_commands": [
        "printf 'start=2048, type=83\\n' | sfdisk --quiet --no-reread --no-tell-kernel {{.Device}}",
        "partx --add {{.Device}}", "ln -s $(realpath {{.Device}})p1 {{.Device}}1",
        "mkfs.ext4 -q -F {{.Device}}1"],
    "post_mount_commands": ["tar -xf TREE -C {{.MountPath}}"],
}  # fmt: skip
SHARED = {
    "ami_users": ["210987654321"], "ami_groups": ["all"], "snapshot_users": ["210987654321"],
    "snapshot_groups": ["all"], "ami_product_codes": ["pc1"], "ami_description": "{{.SourceAMI}}",
    "tags": {"Name": "web", "Base": "{{.SourceAMIName}}"}, "snapshot_tags": {"Kind": "root"},
    "root_volume_tags": {"Purpose": "build"},
}  # fmt: skip
COPIES = {"ami_regions": [ABROAD, HOME]}
ENCRYPTED = {
    "encrypt_boot": True, "kms_key_id": KEY, "ami_regions": [ABROAD],
    "region_kms_key_ids": {ABROAD: KEY},
}  # fmt: skip
FORCED = {"force_deregister": True, "force_delete_snapshot": True}
ALL = {**SHARED, **COPIES}

CASES = {
    "plain": Case(nightly=False),
    "filter": Case(FILTER),
    "from scratch": Case(SCRATCH),
    "forced": Case({**FORCED, **COPIES}, older=True),
    "forced by the flag": Case(flags=("-force",), older=True),
    "copies": Case(COPIES),
    "encrypted": Case(ENCRYPTED),
    "shared and tagged": Case(SHARED),
    "older name": Case(older=True, succeeds=False),
    "provisioner fails": Case(inline=("exit 3",), succeeds=False),
    "a command of the host fails": Case({"post_mount_commands": ["false"]}, succeeds=False),
    "no DescribeRegions": Case(faults=refused("DescribeRegions"), succeeds=False),
    "no name look-up": Case(faults=refused("DescribeImages", "1"), succeeds=False),
    "no DescribeInstances": Case(faults=refused("DescribeInstances"), succeeds=False),
    "no source look-up": Case(faults=refused("DescribeImages", "2"), succeeds=False),
    "no CreateVolume": Case(faults=refused("CreateVolume"), succeeds=False),
    "no DescribeVolumes": Case(faults=refused("DescribeVolumes"), succeeds=False),
    "no AttachVolume": Case(faults=refused("AttachVolume"), succeeds=False),
    "no DetachVolume once": Case(faults=refused("DetachVolume", "1"), succeeds=False),
    "no CreateSnapshot": Case(faults=refused("CreateSnapshot"), succeeds=False),
    "no DescribeSnapshots": Case(faults=refused("DescribeSnapshots"), succeeds=False),
    "no RegisterImage": Case(faults=refused("RegisterImage"), succeeds=False),
    "no RegisterImage after all": Case(
        FORCED, faults=refused("RegisterImage", "1"), succeeds=False, older=True
    ),
    "no CopyImage": Case(COPIES, faults=refused("CopyImage"), succeeds=False),
    "no ModifyImageAttribute": Case(
        ALL, faults=refused("ModifyImageAttribute"), succeeds=False
    ),
    "no ModifySnapshotAttribute": Case(
        ALL, faults=refused("ModifySnapshotAttribute"), succeeds=False
    ),
    "no CreateTags": Case(ALL, faults=refused("CreateTags"), succeeds=False, nightly=False),
    "no DeregisterImage": Case(
        FORCED, faults=refused("DeregisterImage", "1"), succeeds=False, older=True
    ),
    "no DeleteVolume": Case(faults=refused("DeleteVolume", "1")),
}  # fmt: skip


@dataclass
class Ended:
    """How a run ended and what it asked for."""

    status: int
    text: str
    changing: Calls
    order: list[str]
    left: dict[str, Any]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    place = tmp_path_factory.mktemp("amazon-packer")
    return partitioned_disk(place / "disk", system_tree(small_tree, place / "tree"))


def template(case: Case, rig: Rig, work: Path, tree: Path) -> str:
    """The older JSON, which both read."""
    source = {
        "type": "amazon-chroot", "region": HOME, "custom_endpoint_ec2": rig.url, "ami_name": "web",
        "source_ami": "ami-base", "device_path": str(rig.disks.nodes / "sdzv"),
        "mount_path": f"{work}/root", "chroot_mounts": [["proc", "proc", "/proc"]],
        "copy_files": [], **case.source,
    }  # fmt: skip
    whole = {"builders": [source],
             "provisioners": [{"type": "shell", "inline": list(case.inline),
                               "inline_shebang": "/bin/sh -e"}]}  # fmt: skip
    return json.dumps(whole).replace("TREE", str(tree))


def filled(rig: Rig, case: Case, disk: Path) -> set[str]:
    """The account before; returns its ids."""
    fill_with_base(rig, disk)
    if case.older:
        for region in (HOME, ABROAD):
            snapshot_id = f"snap-old-{region}"
            rig.cloud.snapshots[snapshot_id] = Snapshot(snapshot_id, region, size=1)
            ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}
            rig.cloud.images[f"ami-old-{region}"] = Image(
                f"ami-old-{region}", region, name="web", mappings=[ebs]
            )
    return ids(rig)


Run = Callable[[list[str], dict[str, str], Path], tuple[int, str]]


def ended(case: Case, place: Path, disk: Path, tree: Path, run: Run) -> Ended:
    """Build on a cloud of its own; the look-ups that repeat are named once."""
    work = place / "work"
    work.mkdir(parents=True)
    with Rig(place / "rig", faults=list(case.faults)) as rig:
        before = filled(rig, case, disk)
        file = place / "t.json"
        file.write_text(template(case, rig, work, tree))
        given = {**environment(rig), "AWS_MAX_ATTEMPTS": PATIENCE_TRIES}
        status, text = run(["build", "-color=false", *case.flags, str(file)], given, place)
        order = collapsed(call.action for call in rig.calls if "DryRun" not in call.params)
        left = {"gone": sorted(before - ids(rig)), **account(rig, before)}
        changing = normalised(rig.changing(), rig)
    assert os.listdir(work) in ([], ["root"]), text
    return Ended(status, text, changing, order, left)


def packer_runs(argv: list[str], given: dict[str, str], place: Path) -> tuple[int, str]:
    packer = shutil.which("packer")
    assert packer is not None, "script/bootstrap installs Debian's packer"
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "CHECKPOINT_DISABLE": "1",
           "PACKER_CACHE_DIR": str(place / "cache"), "TMPDIR": str(place), **given}  # fmt: skip
    words = ["unshare", "--mount", "--propagation", "private", packer, *argv]
    done = subprocess.run(words, check=False, env=env, cwd=place, text=True, capture_output=True,
                          timeout=600)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def before_refusal(calls: Calls) -> tuple[Calls, str, list[str]]:
    """What was asked for before the first refusal, what was refused, and the actions after it."""
    at = next(number for number, call in enumerate(calls) if "answer" in call)
    return calls[:at], calls[at]["action"], [call["action"] for call in calls[at + 1 :]]


def compare_taken_back(ours: Ended, theirs: Ended) -> None:
    """Defect 4: what was made is taken back, whose snapshot packer cannot delete."""
    made, refused_action, undone = before_refusal(ours.changing)
    assert (made, refused_action) == before_refusal(theirs.changing)[:2]
    assert undone[-1] == "DeleteVolume"
    assert set(undone[:-1]) == {"DeregisterImage", "DeleteSnapshot"}
    assert theirs.left != {"gone": []}


def compare_old_kept(ours: Ended, theirs: Ended) -> None:
    """Defect 20: what cannot be registered replaces nothing."""
    made, _, undone = before_refusal(theirs.changing)
    kept = [call for call in made if call["action"] not in ("DeregisterImage", "DeleteSnapshot")]
    assert ours.changing[: len(kept)] == kept
    assert [call["action"] for call in ours.changing[len(kept) :]] == undone
    assert len(theirs.left["gone"]) == 2


def compare_tried_again(ours: Ended, theirs: Ended) -> None:
    """The end of the run asks once more for what could not be deleted."""
    assert ours.changing[:-1] == theirs.changing
    assert ours.changing[-1]["action"] == "DeleteVolume" and "answer" not in ours.changing[-1]
    assert "volumes" not in ours.left[HOME] and "volumes" in theirs.left[HOME]


FIXED = {
    "no RegisterImage after all": compare_old_kept, "no DeleteVolume": compare_tried_again,
    **dict.fromkeys(("no CopyImage", "no ModifyImageAttribute", "no ModifySnapshotAttribute",
                     "no CreateTags"), compare_taken_back),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [name if not case.nightly else pytest.param(name, marks=pytest.mark.nightly)
     for name, case in CASES.items()],
)  # fmt: skip
def test_packer_and_goldsmith_ask_for_the_same(
    host_unchanged: None, tmp_path: Path, goldsmith: Any, disk: Path, small_tree: Path, name: str
) -> None:
    case = CASES[name]

    def goldsmith_runs(argv: list[str], given: dict[str, str], place: Path) -> tuple[int, str]:
        result = goldsmith(*argv, env=given)
        return result.status, str(result)

    theirs = ended(case, tmp_path / "theirs", disk, small_tree, packer_runs)
    ours = ended(case, tmp_path / "ours", disk, small_tree, goldsmith_runs)
    for one in (theirs, ours):
        assert (one.status == 0) == case.succeeds, one.text
    if not case.succeeds:
        assert ours.left == {"gone": []}, ours.text
    if name in FIXED:
        FIXED[name](ours, theirs)
        return
    assert ours.changing == theirs.changing
    assert ours.order == theirs.order
    assert ours.left == theirs.left
