"""The recorded scenarios of amazon-chroot on the rig: goldsmith, and packer 1.6.6 beside it.

What goldsmith does otherwise on purpose stands in BETTER, by the number of the defect.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aws_rig.scenarios import (
    Scenario,
    account,
    bare_file_system,
    collapsed,
    environment,
    grouped,
    ids,
    normalised,
    partitioned_disk,
    system_tree,
)

pytestmark = pytest.mark.root

DATA = Path(__file__).parent / "data/amazon"
CASES = sorted(path.name.removesuffix(".pkr.hcl") for path in DATA.glob("*.pkr.hcl"))
IN_JSON = ("basic", "filter", "provisioner-fails", "volume-options")
OLD_PACKER = ("filter", "force", "paravirtual", "provisioner-fails", "register-fails")
TOLD = (
    "Prevalidating AMI", "Gathering", "Found Image", "Checking", "Creating", "Adding tag",
    "Mounting the", "Detaching", "Snapshot ID", "Registering", "AMI: ", "Waiting for", "Copying",
    "Enabling", "Modifying", "Tagging", "Dereg", "Deleted", "Deleting", "Force", "Removing",
)  # fmt: skip
"""How lines begin that users know."""
UNTOLD = ("Modifying attributes on snapshot", "Creating snapshot tags")
"""What the original also says where there is nothing to do."""
Calls = list[dict[str, Any]]


def _faster_volume(iops: str, throughput: str) -> Callable[[Calls], Calls]:
    """22: the working volume is as fast as the template wants the root to be."""

    def change(calls: Calls) -> Calls:
        calls[0]["params"] |= {"Iops": iops, "Throughput": throughput}
        return calls

    return change


def _mappings(calls: Calls) -> Calls:
    """18 besides: a data volume that is asked for as encrypted is registered so."""
    (register,) = [call for call in calls if call["action"] == "RegisterImage"]
    register["params"]["BlockDeviceMapping"][1]["Ebs"]["Encrypted"] = "true"
    return _faster_volume("3000", "150")(calls)


def _volume_options(calls: Calls) -> Calls:
    """18: root_volume_type reaches the AMI."""
    (register,) = [call for call in calls if call["action"] == "RegisterImage"]
    root = register["params"]["BlockDeviceMapping"][0]["Ebs"]
    del root["Iops"]
    root["VolumeType"] = "gp2"
    return calls


def _attributes_fail(calls: Calls) -> Calls:
    """4: what fails after the registration is undone."""
    at = next(n for n, call in enumerate(calls) if call["action"] == "DeleteSnapshot")
    gone = {"action": "DeregisterImage", "region": "us-east-1", "params": {"ImageId": "ami-new"}}
    del calls[at]["answer"]
    return [*calls[:at], gone, *calls[at:]]


def _protected_last(calls: Calls) -> Calls:
    """What could fail comes before the protection from being taken back."""
    name = "EnableImageDeregistrationProtection"
    protecting = [call for call in calls if call["action"] == name]
    others = [call for call in calls if call["action"] != name]
    changing = ("Enable", "Modify")
    at = max(n for n, call in enumerate(others) if call["action"].startswith(changing)) + 1
    return [*others[:at], *protecting, *others[at:]]


BETTER = {
    "attributes-fail": _attributes_fail, "mappings": _mappings, "volume-options": _volume_options,
    "scratch": _faster_volume("3500", "200"), "sharing": _protected_last,
}  # fmt: skip


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> dict[str, Path]:
    """What may be on the disk of a source."""
    place = tmp_path_factory.mktemp("amazon-disks")
    tree = system_tree(small_tree, place / "tree")
    return {
        "one partition": partitioned_disk(place / "disk", tree),
        "file system without partition table": bare_file_system(place / "bare", tree),
    }


@dataclass
class Ended:
    """How a run ended, and what it asked the rig for."""

    status: int
    text: str
    calls: Calls
    looks: list[str]
    account: dict[str, Any]
    work: Path


Run = Callable[[list[str], dict[str, str]], tuple[int, str]]


def ran(scenario: Scenario, place: Path, disks: dict[str, Path], kind: str, run: Run) -> Ended:
    """Build a case on a rig of its own."""
    work = place / "work"
    work.mkdir()
    with scenario.rig(place / "rig") as rig:
        scenario.fill(rig, disks)
        before = ids(rig)
        words = [word for name, value in scenario.variables(rig, work).items()
                 for word in ("-var", f"{name}={value}")]  # fmt: skip
        argv = ["build", "-color=false", *words, str(scenario.template(kind))]
        status, text = run(argv, environment(rig))
        looks = collapsed(call.action for call in rig.calls if call.action.startswith("Describe"))
        return Ended(status, text, normalised(rig.changing(), rig), looks,
                     account(rig, before), work)  # fmt: skip


def own_lines(scenario: Scenario, ended: Ended) -> list[str]:
    """The recorded lines that the user's own programs print, as this run should show them."""
    texts = [line.partition(": ")[2] for line in scenario.recorded["output"]]
    own = [text.replace("<work>", str(ended.work)) for text in texts if text[:1].islower()]
    # The device has another path here.
    return [text for text in own if "/dev/sdzv" not in text]


def step_lines(scenario: Scenario) -> list[str]:
    """The recorded lines that tell of steps at AWS, as far as they are the same here."""
    texts = [line.partition(": ")[2] for line in scenario.recorded["output"]]
    return [text for text in texts if text.startswith(TOLD) and not text.startswith(UNTOLD)]


def wanted(scenario: Scenario) -> Calls:
    """The recorded calls without what says nothing: an empty key, to copy tags where none are."""
    calls: Calls = copy.deepcopy(list(scenario.recorded["calls"]))
    for call in calls:
        call["params"].pop("CopyImageTags", None)
        if call["params"].get("KmsKeyId") == "":
            del call["params"]["KmsKeyId"]
    return calls


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "hcl") for name in CASES), *((name, "json") for name in IN_JSON)]
)
def test_the_calls_are_the_recorded_ones(
    host_unchanged: None, tmp_path: Path, goldsmith: Any, disks: dict[str, Path], name: str,
    kind: str,
) -> None:  # fmt: skip
    scenario = Scenario.load(DATA, name)

    def run(argv: list[str], given: dict[str, str]) -> tuple[int, str]:
        result = goldsmith(*argv, env=given)
        return result.status, str(result)

    ended = ran(scenario, tmp_path, disks, kind, run)
    assert ended.status == scenario.recorded["exit"], ended.text
    calls = BETTER.get(name, lambda calls: calls)(wanted(scenario))
    assert ended.calls == grouped(calls), ended.text
    assert ended.looks == collapsed(scenario.recorded["describe_calls"])
    left = {} if name == "attributes-fail" else scenario.recorded["account"]
    assert ended.account == left
    assert all(line in ended.text for line in own_lines(scenario, ended)), ended.text
    assert [line for line in step_lines(scenario) if line not in ended.text] == [], ended.text
    assert os.listdir(ended.work) in ([], ["manifest.json"])


@pytest.mark.parametrize("name", OLD_PACKER)
def test_packer_of_debian_makes_the_same_calls_on_the_same_rig(
    host_unchanged: None, tmp_path: Path, disks: dict[str, Path], name: str
) -> None:
    packer = shutil.which("packer")
    assert packer is not None, "script/bootstrap installs Debian's packer"
    scenario = Scenario.load(DATA, name)

    def run(argv: list[str], given: dict[str, str]) -> tuple[int, str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1",
               "PACKER_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path),
               **given, "AWS_MAX_ATTEMPTS": "60"}  # fmt: skip
        # What copies this host's mounts meanwhile would keep the volume busy.
        words = ["unshare", "--mount", "--propagation", "private", packer, *argv]
        done = subprocess.run(words, check=False, env=env, cwd=tmp_path, text=True,
                              capture_output=True, timeout=600)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    ended = ran(scenario, tmp_path, disks, "hcl", run)
    assert ended.status == scenario.recorded["exit"], ended.text
    assert ended.calls == grouped(wanted(scenario)), ended.text
    assert ended.account == scenario.recorded["account"]
