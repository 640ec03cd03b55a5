"""A deployment that is killed before any of its acts: nothing stays, and it is simply repeated.

The acts are commands, writes and syncs of a device, and what it says. The killed process is the one
that does them; how the parent ends is in test_deploy_disks.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deploy_targets import attached, tool
from grub_packages import add_grub, fetch_grub
from private_namespace import run_privately

from goldsmith.deploy.deployment import deploy
from goldsmith.deploy.disks import is_claimed, read_disk
from goldsmith.deploy.scheme import (
    ConfigDriveData,
    Deployment,
    ImageRequest,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
)
from goldsmith.disk.containers import describe, pack
from goldsmith.events import Emitter
from goldsmith.host.mounts import list_mounts

pytestmark = [pytest.mark.root, pytest.mark.network]

MIB = 1 << 20
SIZES_MIB = {"bios-boot": 1, "esp": 40, "root": 128, "var": 24, "config": 4}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The root's file system: GRUB, a kernel, and a file that is moved to /var."""
    place = tmp_path_factory.mktemp("image")
    tree = place / "tree"
    for name in ("boot", "etc/default", "usr/lib", "var/lib", "sys", "proc", "dev"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/motd").write_text("deployed\n")
    (tree / "var/lib/data").write_text("moved\n")
    for name in ("vmlinuz-6.1", "initrd.img-6.1"):
        (tree / "boot" / name).write_text(name)
    add_grub(tree, fetch_grub(place))
    raw = place / "root.img"
    with raw.open("wb") as stream:
        stream.truncate(100 * MIB)
    tool("mkfs.ext4", "-q", "-F", "-d", tree, raw)
    return raw


def deployment_onto(device: str, image: Path, packed: Path) -> Deployment:
    """A GPT for both firmwares, with two file systems and a config drive."""
    partitions, begin = [], MIB
    for number, (name, size) in enumerate(SIZES_MIB.items(), 1):
        kind = name if name in ("bios-boot", "esp", "root") else "data"
        partitions.append(TargetPartition(device, number, begin, size * MIB, kind, label=name,
                                          config_drive=name == "config"))  # fmt: skip
        begin += size * MIB
    node = {p.label: p.node for p in partitions}
    described = describe(image)
    return Deployment(
        Scheme((TargetDisk(device, partitions=tuple(partitions), boot_loader=True),), filesystems=(
            TargetFilesystem(node["root"], "/", "ext4"),
            TargetFilesystem(node["var"], "/var", "ext4"),
            TargetFilesystem(node["esp"], "/boot/efi", "vfat"),
        )),
        (ImageRequest((str(packed),), node["root"], "/", "zstd", "ext4",
                      raw_size_bytes=described.size_bytes, raw_sha256=described.sha256),),
        firmware=("bios", "uefi"), hostname="node-1",
        config_drive=ConfigDriveData("node-1", "node-1.test"),
    )  # fmt: skip


def run_until(deployment: Deployment, place: Path, last: int | None) -> int | None:
    """Deploy, and be killed before act number `last`; returns how many acts there were."""
    acts = 0

    def act() -> None:
        nonlocal acts
        acts += 1
        if acts == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def acting(call: Callable) -> Callable:
        def wrapped(*words: object, **more: object) -> object:
            act()
            return call(*words, **more)

        return wrapped

    def body() -> int:
        os.pwrite, os.fsync = acting(os.pwrite), acting(os.fsync)
        sys.addaudithook(lambda event, words: act() if event == "subprocess.Popen" else None)
        scratch = place / f"scratch-{os.getpid()}"
        scratch.mkdir()
        deploy(deployment, scratch=scratch, locks=place / "locks",
               emitter=Emitter("test", lambda event: act()))  # fmt: skip
        return acts

    try:
        return run_privately(body)
    except AssertionError as e:
        if "the child died" not in str(e):
            raise
        return None


def check_deployed(deployment: Deployment) -> None:
    for number, device in enumerate(
        fs.node for fs in deployment.scheme.filesystems if fs.type == "ext4"
    ):
        tool("e2fsck", "-fn", device)
        names = ("/etc/motd", "deployed\n") if number == 0 else ("/lib/data", "moved\n")
        assert tool("debugfs", "-R", f"cat {names[0]}", device) == names[1]
    root, _, esp = (fs.node for fs in deployment.scheme.filesystems)
    assert "menuentry" in tool("debugfs", "-R", "cat /boot/grub/grub.cfg", root)
    assert "BOOTX64.EFI" in tool("mdir", "-b", "-i", esp, "::/EFI/BOOT")
    drive = deployment.scheme.config_drive_node()
    assert "node-1" in tool("debugfs", "-R", "cat /openstack/latest/meta_data.json", drive)


def try_kills(image: Path, place: Path, choose: Callable[[int], list[int]]) -> None:
    packed = place / "root.zst"
    pack(image, packed, "zstd")
    with (attached(place / "disk.img", 210) as target,
          attached(place / "other.img", 32) as other):  # fmt: skip
        deployment, before = deployment_onto(target.device, image, packed), other.digest()
        total = run_until(deployment, place, None)
        assert total is not None and total > 40
        check_deployed(deployment)
        for last in choose(total):
            assert run_until(deployment, place, last) is None, f"not killed before act {last}"
            assert not [m for m in list_mounts() if m.source.startswith(target.device)]
            assert not is_claimed(target.device)
            assert not read_disk(target.device).uses
            assert run_until(deployment, place, None) is not None
            check_deployed(deployment)
        assert other.digest() == before


def test_after_a_kill_before_some_act_a_second_run_succeeds(image, tmp_path):
    try_kills(image, tmp_path, lambda total: [total * part // 6 for part in (1, 3, 5)])


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_after_a_kill_before_any_act_a_second_run_succeeds(image, tmp_path):
    try_kills(image, tmp_path, lambda total: [*range(1, total + 1)])
