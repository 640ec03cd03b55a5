"""`goldsmith deploy` onto loop devices: what it makes, refuses, and never touches."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from deploy_targets import (
    PATTERN,
    SCHEME,
    WAIT_S,
    attached,
    detach,
    file_system_image,
    image_set,
    tool,
)
from private_namespace import run_privately

from goldsmith.deploy.boot_loader import place_on_disk
from goldsmith.deploy.deployment import deploy
from goldsmith.deploy.disks import is_claimed, pinned, read_disk
from goldsmith.deploy.partitioning import partition_disks
from goldsmith.deploy.refusals import DeployRefused, read_disks
from goldsmith.deploy.scheme import Deployment, Scheme, TargetDisk, TargetFilesystem
from goldsmith.deploy.scheme import TargetPartition as P
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.host import mounts
from goldsmith.host.locks import try_lock
from goldsmith.units import MIB

pytestmark = pytest.mark.root


@pytest.fixture
def scheme(tmp_path):
    path = tmp_path / "scheme.hcl"
    path.write_text(SCHEME)
    return path


@pytest.fixture
def target(tmp_path):
    with attached(tmp_path / "disk.img") as made:
        yield made


@pytest.fixture
def other(tmp_path):
    """A disk that nobody names."""
    with attached(tmp_path / "other.img", 32) as made:
        before = made.digest()
        yield made
        assert made.digest() == before


def words(scheme, target, *more):
    return ["deploy", "--scheme", scheme, "--disk", f"one={target.device}", *more]


def test_a_disk_is_divided_written_and_configured(goldsmith, tmp_path, scheme, target, other):
    metadata = image_set(tmp_path)
    done = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert done.status == 0, done
    assert "everything on it is lost" in done.stdout
    assert target.partitions() == [
        (1, 2048, 2048), (2, 4096, 32768), (3, 36864, 204800),
        (4, 241664, 300 * 2048 - 2048 - 241664),
    ]  # fmt: skip
    names = [p.get("name") for p in target.table()["partitions"]]
    assert names == ["bios", "swap", "root", "home"]
    assert [target.content(n)["TYPE"] for n in (2, 3, 4)] == ["swap", "ext4", "ext4"]
    assert target.content(4)["LABEL"] == "home"
    fstab = target.read(3, "/etc/fstab").split("\n")
    assert [line.split()[1:4] for line in fstab if line.startswith("UUID")] == [
        ["/", "ext4", "defaults,errors=panic"], ["/home", "ext4", "defaults"],
        ["none", "swap", "sw"],
    ]  # fmt: skip
    for number in (2, 3, 4):
        assert f"UUID={target.content(number)['UUID']} " in "\n".join(fstab)
    assert target.read(3, "/etc/motd") == "deployed\n"
    assert target.read(3, "/etc/hostname") == "target\n"
    assert target.read(4, "/x/y") == "z\n"  # what lies below a mount point is moved there
    blocks = tool("dumpe2fs", "-h", f"{target.device}p3")
    assert (
        "Block count:              102400" in blocks or "Block count:              25600" in blocks
    )
    for number in (3, 4):
        tool("e2fsck", "-fn", f"{target.device}p{number}")

    mapped = image_set(tmp_path, with_map=True)
    again = goldsmith(*words(scheme, target, "--image", mapped, "--yes", "--log-format=jsonl"))
    assert again.status == 0, again
    assert target.read(3, "/etc/motd") == "deployed\n"
    events = [json.loads(line) for line in again.stdout.splitlines()]
    steps = [e["step"] for e in events if e["type"] == "step-started"]
    assert steps == ["partition", "copy", "boot_loader"]
    assert events[-1]["type"] == "run-finished" and events[-1]["outcome"] == "ok"


def test_a_map_that_is_not_the_sets_is_found_before_the_image_is_written(
    goldsmith, tmp_path, scheme, target
):
    metadata = image_set(tmp_path, with_map=True)
    text = re.sub(r"contents_sha256: \w+", f"contents_sha256: '{'0' * 64}'", metadata.read_text())
    metadata.write_text(text)
    done = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert done.status == 4
    assert "the block map has the contents_sha256" in done.stderr
    assert "TYPE" not in target.content(3)


def test_looking_changes_nothing(goldsmith, tmp_path, scheme, target):
    metadata, before = image_set(tmp_path), target.digest()
    planned = goldsmith(*words(scheme, target, "--image", metadata, "--plan", "--json"), check=True)
    plan = json.loads(planned.stdout)
    assert [line["size_bytes"] for line in plan["disks"][0]["after"]][:3] == [
        MIB, 16 * MIB, 100 * MIB,
    ]  # fmt: skip
    assert goldsmith(*words(scheme, target, "--image", metadata, "--plan")).status == 0
    asked = goldsmith(*words(scheme, target, "--image", metadata))
    assert asked.status == 2 and "nobody can be asked" in asked.stderr
    assert target.digest() == before


def test_an_mbr_with_logical_partitions(goldsmith, tmp_path, target):
    parts = "".join(
        f'  - {{name: p{n}, type: data, size: "{size}", filesystem: {kind}, mount: /p{n}}}\n'
        for n, (size, kind) in enumerate(
            [("32MiB", "ext4"), ("16MiB", "ext2"), ("32MiB", "vfat"), ("20MiB", "ext4"),
             ("rest", "ext3")]
        )
    )  # fmt: skip
    path = tmp_path / "scheme.yaml"
    path.write_text(f"disk:\n- name: one\n  label: mbr\n  partition:\n{parts}")
    assert goldsmith(*words(path, target, "--yes")).status == 0
    assert [number for number, _, _ in target.partitions()] == [1, 2, 3, 4, 5, 6]
    kinds = [target.content(n)["TYPE"] for n in (1, 2, 3, 5, 6)]
    assert kinds == ["ext4", "ext2", "vfat", "ext4", "ext3"]


@pytest.mark.parametrize("case", ["image", "scheme", "file", "unverified", "format"])
def test_what_does_not_fit_is_refused_before_anything_is_written(
    goldsmith, tmp_path, scheme, target, other, case
):
    before = target.digest()
    more = ["--image", image_set(tmp_path, size_mib=120 if case == "image" else 16)]
    device, text = target, scheme.read_text()
    if case == "scheme":
        scheme.write_text(text.replace('"100MiB"', '"400MiB"'))
    elif case == "format":
        scheme.write_text(text.replace('filesystem = "ext4"\n    mount      = "/"\n',
                                       'filesystem = "btrfs"\n    mount      = "/"\n')
                          .replace('"100MiB"', '"200MiB"'))  # fmt: skip
    elif case == "unverified":
        more = ["--image", f"/={tmp_path / 'root.img'}"]
    elif case == "file":
        device = type(target)(str(target.file), target.file)
    done = goldsmith(*words(scheme, device, "--yes", *more))
    assert done.status == 1
    said = {
        "image": "has room for 100 MiB", "scheme": "the partitions need",
        "file": "not a block device", "format": "is to be btrfs",
        "unverified": "nothing says what its bytes must be",
    }  # fmt: skip
    assert said[case] in done.stderr
    assert "Traceback" not in done.stderr
    assert target.digest() == before


def test_a_disk_that_is_mounted_elsewhere_is_refused(goldsmith, tmp_path, scheme, target):
    """Nothing of a mount in another namespace can be seen, but that the disk is held."""
    goldsmith(*words(scheme, target, "--yes"), check=True)
    mount = f"mount -t ext4 {target.device}p4 {tmp_path} && echo ready && exec cat"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"ready\n"
        before = target.digest()
        done = goldsmith(*words(scheme, target, "--yes"))
        assert done.status == 1
        assert f"{target.device} is in use" in done.stderr
        assert target.digest() == before
        holder.stdin.close()
        assert holder.wait(WAIT_S) == 0
    assert goldsmith(*words(scheme, target, "--yes")).status == 0


def test_a_disk_under_a_loop_device_is_refused(goldsmith, tmp_path, scheme, target):
    above = tool("losetup", "--find", "--show", target.device).strip()
    try:
        done = goldsmith(*words(scheme, target, "--yes"))
    finally:
        detach(above)
    assert done.status == 1
    assert f"{target.device} is attached to {above}" in done.stderr


def test_a_partition_and_a_disk_with_two_names_are_refused(goldsmith, tmp_path, scheme, target):
    goldsmith(*words(scheme, target, "--yes"), check=True)
    part = type(target)(f"{target.device}p4", target.file)
    done = goldsmith(*words(scheme, part, "--yes"))
    assert done.status == 1 and f"is a partition of {target.device}" in done.stderr
    link = tmp_path / "a-link"
    link.symlink_to(target.device)
    partition = '  partition "x" {\n    type = "data"\n  }\n'
    scheme.write_text(f'{SCHEME}disk "two" {{\n{partition}}}\n')
    twice = goldsmith(*words(scheme, target, "--disk", f"two={link}", "--yes"))
    assert twice.status == 1 and "is described twice" in twice.stderr


def test_data_is_kept_where_the_table_is_the_wanted_one(goldsmith, tmp_path, scheme, target):
    metadata = image_set(tmp_path)
    goldsmith(*words(scheme, target, "--image", metadata, "--yes"), check=True)
    tool("debugfs", "-w", "-R", f"write {metadata} kept", f"{target.device}p4")
    tool("debugfs", "-w", "-R", f"write {metadata} lost", f"{target.device}p3")
    keeping = SCHEME.replace('disk "one" {', 'disk "one" {\n  policy = "verify"')
    keeping = keeping.replace('label      = "home"', 'label      = "home"\n    keep_data = true')
    scheme.write_text(keeping)
    done = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert done.status == 0, done
    assert "raw_sha256" in target.read(4, "/kept")
    assert target.read(3, "/lost") == ""
    assert target.read(3, "/etc/motd") == "deployed\n"

    before = target.digest()
    scheme.write_text(keeping.replace('"100MiB"', '"101MiB"'))
    refused = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert refused.status == 1
    assert "partition 3 lies at" in refused.stderr and "partition 4 lies at" in refused.stderr
    assert target.digest() == before

    scheme.write_text("""
disk "one" {
  policy = "keep"
  partition "root" {
    number     = 3
    type       = "root"
    filesystem = "ext4"
    mount      = "/"
  }
}
""")
    kept = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert kept.status == 0, kept
    assert "[not touched]" in kept.stdout
    assert "raw_sha256" in target.read(4, "/kept")


def test_a_whole_disk_image(goldsmith, tmp_path, target):
    image = tmp_path / "whole.img"
    with open(image, "wb") as stream:
        stream.truncate(64 * MIB)
    tool("sfdisk", "--quiet", image, input=b"label: gpt\nstart=2048,size=20480,name=first\n")
    path = tmp_path / "scheme.hcl"
    path.write_text('disk "one" {\n  label = "none"\n}\n')
    done = goldsmith(*words(path, target, "--image", image, "--allow-unverified", "--yes"))
    assert done.status == 0, done
    assert target.partitions() == [(1, 2048, 20480)]
    assert target.table()["lastlba"] > 299 * 2048


# Each is a line that is printed when a step has just begun.
@pytest.mark.parametrize(
    "line",
    [
        "Partitioning ", "Copying root",
        *(pytest.param(word, marks=pytest.mark.nightly) for word in ("Making", "Configuring")),
    ],
)  # fmt: skip
def test_after_a_kill_anywhere_a_second_run_succeeds(
    goldsmith, tmp_path, scheme, target, other, line
):
    metadata = image_set(tmp_path)
    with goldsmith.start(*words(scheme, target, "--image", metadata, "--yes")) as running:
        for said in running.stdout:
            if said.startswith("==> deploy:") and line in said:
                break
        else:
            pytest.fail(f"never said {line!r}: {running.stderr.read()}")
        running.kill()
        running.wait()
    _wait_until_free(target.device, goldsmith.state)
    done = goldsmith(*words(scheme, target, "--image", metadata, "--yes"))
    assert done.status == 0, done
    assert target.read(3, "/etc/motd") == "deployed\n"
    tool("e2fsck", "-fn", f"{target.device}p3")


def _wait_until_free(device: str, state: Path) -> None:
    """The kernel ends the worker and its programs a moment after its parent."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        held = is_claimed(device)
        for lock in (state / "locks").glob("disk-*"):
            fd = try_lock(lock)
            held = held or fd is None
            if fd is not None:
                os.close(fd)
        if not held:
            return
        assert time.monotonic() < deadline_s, f"{device} is still held"
        time.sleep(0.05)


def test_an_interrupt_ends_it_cleanly(goldsmith, tmp_path, scheme, target):
    """A server that takes the question and never answers keeps it waiting."""
    metadata = image_set(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        image = f"/=http://127.0.0.1:{server.getsockname()[1]}/root.img"
        more = ["--image", image, "--allow-unverified", "--yes"]
        with goldsmith.start(*words(scheme, target, *more)) as running:
            connection, _ = server.accept()
            with connection:
                running.send_signal(signal.SIGINT)
                _, stderr = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130, stderr
    assert "interrupted by SIGINT" in stderr and "Traceback" not in stderr
    assert goldsmith(*words(scheme, target, "--image", metadata, "--yes")).status == 0


def simple_deployment(device: str) -> Deployment:
    part = P(device, 1, MIB, 64 * MIB)
    return Deployment(
        Scheme((TargetDisk(device, partitions=(part,)),),
               filesystems=(TargetFilesystem(part.node, "/", "ext4"),))
    )  # fmt: skip


def test_a_disk_that_vanishes_is_a_clear_error(goldsmith, target):
    """Its name may be another disk's a moment later: nothing is written to that."""
    seen = read_disk(target.device)
    with pinned(seen):
        pass
    detach(target.device)
    with pytest.raises(GoldsmithError, match=target.device), pinned(seen):
        pytest.fail("it was taken for the disk that was read")


def test_another_disk_of_that_name_is_refused(tmp_path, target):
    """Between the question and the answer a disk may go, and another one get its name."""
    before, seen = target.digest(), read_disk(target.device)

    def run(sequence: str) -> None:
        deploy(simple_deployment(target.device), scratch=tmp_path, locks=tmp_path / "locks",
               emitter=Emitter("test", lambda event: None), stages=["partition"],
               sequences={target.device: sequence})  # fmt: skip

    with pytest.raises(DeployRefused, match=f"{target.device} is another disk now"):
        run(f"{seen.sequence}0")
    assert target.digest() == before
    run(seen.sequence)
    assert target.digest() != before


def test_what_is_only_called_like_a_partition_is_not_written_to(tmp_path, target, other):
    link = tmp_path / "disk"
    link.symlink_to(target.device)
    (tmp_path / "disk1").symlink_to(other.device)
    deployment = simple_deployment(str(link))
    with pytest.raises(GoldsmithError, match=f"{link}1 is no partition of {link}"):
        partition_disks(deployment, read_disks(deployment.scheme), lambda text: None)


def test_the_boot_loader_ends_before_the_partitions_of_others(tmp_path):
    """An MBR that is kept may have partitions that the scheme does not name."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(64 * MIB))
    tool("sfdisk", "--quiet", disk, input=b"label: dos\nstart=63,size=1000\nstart=4096,size=9999\n")
    ours = P(str(disk), 2, 4096 * 512, 9999 * 512)
    assert place_on_disk(TargetDisk(str(disk), "mbr", "keep", (ours,), True)) == (1, 62)


def test_a_disk_that_takes_no_more_is_a_clear_error(tmp_path):
    """Its file lies on a file system that is full: the kernel answers with I/O errors."""

    def body() -> str:
        mounts.mount("tmpfs", str(tmp_path), "tmpfs", options="size=4m")
        with attached(tmp_path / "disk.img", 100) as made:
            deployment = simple_deployment(made.device)
            with open(tmp_path / "filler", "wb", buffering=0) as filler:
                with contextlib.suppress(OSError):
                    while filler.write(bytes(4096)):
                        pass
            try:
                partition_disks(deployment, read_disks(deployment.scheme), lambda text: None)
            except GoldsmithError as e:
                return str(e)
        return ""

    said = run_privately(body)
    assert "/dev/loop" in said


def test_two_deployments_do_not_meet_on_one_disk(goldsmith, scheme, target):
    numbers = os.stat(target.device).st_rdev
    locks = goldsmith.state / "locks"
    locks.mkdir(parents=True)
    lock = locks / f"disk-{os.major(numbers)}-{os.minor(numbers)}"
    with subprocess.Popen(
        ["flock", "--exclusive", lock, "sh", "-c", "echo ready; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == b"ready\n"
        before = target.digest()
        done = goldsmith(*words(scheme, target, "--yes"))
        assert done.status == 1
        assert f"another deployment works on {target.device}" in done.stderr
        assert target.digest() == before
        holder.stdin.close()


def test_old_marks_are_gone(goldsmith, tmp_path, target):
    """What a later table uncovers must not come to life again."""
    script = b"label: gpt\nstart=4096,size=65536\nstart=200000,size=65536\n"
    tool("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target.device, input=script)
    file_system_image(tmp_path / "old.img", {"old": "old"})
    data = (tmp_path / "old.img").read_bytes()
    with open(target.file, "r+b") as stream:
        for start in (4096, 200000):
            stream.seek(start * 512)
            stream.write(data)
    tool("blockdev", "--flushbufs", target.device)
    path = tmp_path / "scheme.hcl"
    # The partitions begin where the old ones did, and nothing is made on them.
    path.write_text(
        'disk "one" {\n  partition "a" {\n    type = "data"\n    size = "1MiB"\n  }\n'
        '  partition "b" {\n    type = "data"\n  }\n}\n'
    )
    assert goldsmith(*words(path, target, "--yes")).status == 0
    found = subprocess.run(
        ["blkid", "--probe", "--offset", str(200000 * 512), target.device],
        capture_output=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2, found
    assert PATTERN not in target.file.read_bytes()
