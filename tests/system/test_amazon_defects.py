"""Defects of the original that show on a whole build: one good build, one that fails late."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from amazon_builds import PATIENCE_S, base_disk, left, template
from old_images import MIB, look

from aws_rig import Fault, Rig
from aws_rig.scenarios import environment, fill_with_base

pytestmark = pytest.mark.root
FILES = ("told", "seen", "sub", "secret", "etc/resolv.conf")


@dataclass
class Built:
    """What could be seen while a build ran, and what it left."""

    place: Path
    status: int = -1
    text: str = ""
    files: dict[str, str] = field(default_factory=dict)
    host_mounts: str = ""
    mount_path: Path = Path()
    stays: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def run(self, rig: Rig, text: str) -> None:
        """Build, to the end."""
        template_file = self.place / "t.pkr.json"
        template_file.write_text(text)
        state = self.place / "state"
        env = {"PATH": os.environ["PATH"], "HOME": str(self.place),
               "GOLDSMITH_CACHE_DIR": str(state), **environment(rig)}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-m", "goldsmith", "build", "-color=false", template_file],
            env=env, cwd=self.place, capture_output=True, text=True, timeout=600, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.status, self.text = done.returncode, done.stdout + done.stderr
        self.stays = left(rig)
        self.calls = [call.action for call in rig.calls]

    def watch(self, flag: Path, seen: Path) -> None:
        """Look at this host's mounts while the volume is mounted, then let the build go on."""
        ends_s = time.monotonic() + PATIENCE_S
        while not flag.exists() and time.monotonic() < ends_s:
            time.sleep(0.05)
        self.host_mounts = Path("/proc/self/mountinfo").read_text()
        seen.touch()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Path:
    return base_disk(tmp_path_factory.mktemp("amazon-disk"), small_tree)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Built:
    """A build that succeeds, although two of its look-ups are throttled."""
    place = tmp_path_factory.mktemp("amazon-whole")
    built = Built(place, mount_path=place / "deep/er")
    shown, flag, seen = place / "shown", place / "flag", place / "seen"
    (shown / "below").mkdir(parents=True)
    lines = [
        "echo 'a$(touch /tmp/expanded)b' `echo c` > /told", "cat /etc/resolv.conf > /seen",
        "(setsid sleep 600 > /dev/null 2>&1 &)", "echo $AWS_SECRET_ACCESS_KEY > /secret",
        "cat /srv/shown/below/file > /sub",
    ]  # fmt: skip
    with Rig(place / "rig") as rig:
        fill_with_base(rig, disk)
        rig.faults += [Fault("DescribeImages", one, "RequestLimitExceeded", 503)
                       for one in ("1", "3")]  # fmt: skip
        text = template(
            rig, {"inline": lines}, mount_path=str(built.mount_path),
            chroot_mounts=[["bind", str(shown), "/srv/shown"]],
            pre_mount_commands=[f"mount -t tmpfs none {shown}/below",
                                f"echo inner > {shown}/below/file"],
            post_mount_commands=[
                f"touch {flag}", f"n=0; until [ -e {seen} ] || [ $n = 1200 ]; do sleep 0.1; "
                "n=$((n+1)); done",
            ],
        )  # fmt: skip
        watching = threading.Thread(target=built.watch, args=(flag, seen))
        watching.start()
        built.run(rig, text)
        flag.touch()
        watching.join()
        for image in rig.cloud.images.values():
            if image.id != "ami-base":
                file = rig.cloud.snapshots[image.snapshots()[0]].file
                assert file is not None
                built.files = look(
                    file, lambda top: {name: (top / name).read_text() for name in FILES}, offset=MIB
                )
    return built


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Built:
    """A build whose tags are refused, when the AMI and its copy are there."""
    built = Built(tmp_path_factory.mktemp("amazon-late"))
    with Rig(built.place / "rig") as rig:
        fill_with_base(rig, disk)
        rig.faults.append(Fault("CreateTags", "*", "InvalidParameterValue", message="a bad tag"))
        built.run(rig, template(rig, tags={"Name": "web"}, ami_regions=["eu-west-1"]))
    return built


def test_the_build_succeeds_and_leaves_its_image_alone(whole: Built) -> None:
    assert whole.status == 0, whole.text
    assert set(whole.stays) == {"us-east-1"} and "volumes" not in whole.stays["us-east-1"]
    assert len(whole.stays["us-east-1"]["images"]) == 1


def test_defect_6_7_1_commands_are_not_expanded_on_the_host(whole: Built) -> None:
    assert whole.files["told"] == "a$(touch /tmp/expanded)b c\n"
    assert not Path("/tmp/expanded").exists()
    assert whole.files["secret"] == "\n", "the host's environment is not the chroot's"


def test_defect_6_7_3_a_stray_process_ends_with_its_provisioner(whole: Built) -> None:
    assert whole.status == 0 and whole.calls.count("DetachVolume") == 1, whole.text


def test_defect_6_7_9_the_resolver_of_the_image_stays_its_own(whole: Built) -> None:
    assert whole.files["etc/resolv.conf"] == "nameserver 192.0.2.1\n"
    assert whole.files["seen"] == Path("/etc/resolv.conf").read_text()


def test_defect_6_7_11_the_directory_of_the_mount_goes(whole: Built) -> None:
    assert not whole.mount_path.parent.exists()


def test_defect_6_7_14_mounts_are_private_and_show_what_is_below(whole: Built) -> None:
    assert whole.host_mounts and str(whole.mount_path) not in whole.host_mounts
    assert f"{whole.place}/shown" not in whole.host_mounts
    assert whole.files["sub"] == "inner\n"


def test_defect_1_9_16_throttled_look_ups_are_repeated(whole: Built) -> None:
    assert whole.status == 0 and whole.calls[:2] == ["DescribeRegions", "DescribeImages"]
    assert whole.calls[2] == "DescribeImages", whole.calls


def test_defect_6_7_4_what_fails_after_the_registration_is_taken_back(late: Built) -> None:
    assert late.status == 1 and "RegisterImage" in late.calls and "CopyImage" in late.calls
    assert late.stays == {}, late.text


def test_defect_6_7_12_errors_are_texts_without_pointers(late: Built) -> None:
    assert "CreateTags: a bad tag (InvalidParameterValue)" in late.text
    assert "0xc0" not in late.text and "*string" not in late.text
