"""`ks_spaces` on loop devices: GRUB, its menu and fstab are those that were written by hand.

Beside each input of tests/unit/deploy/spaces stands a file .boot: the disks that get boot code and
the MiB where their core image lies, the EFI system partitions, the kernel that is booted, and the
lines of fstab. What lies on an array or a logical volume lies here on a disk of its own: a host may
lack the drivers, and GRUB and fstab go by UUIDs; tests/boot has the real ones.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from deploy_targets import attached, tool
from grub_packages import add_grub, fetch_grub
from private_namespace import run_privately

from goldsmith.deploy.partitioning import partition_disks
from goldsmith.deploy.refusals import read_disks
from goldsmith.deploy.scheme import Deployment, Scheme
from goldsmith.deploy.target import finish_target
from goldsmith.template.fuel.config import FuelConfig
from goldsmith.template.fuel.provision_input import (
    read_provision_input,
    to_deployment,
    to_scheme,
)

pytestmark = [pytest.mark.root, pytest.mark.network]

SPACES = Path(__file__).parents[1] / "unit/deploy/spaces"
INPUTS = sorted(SPACES.glob("*.json"))
DEFAULT = {"one-disk", "own-esp", "bootable-and-old-arrays"}
"""Those that are tried each time; the others in the nights."""
SECTOR = 512
MIB_SECTORS = 2048
CORE_LBA_AT = 0x5C  # boot.S of GRUB 2.06: kernel_sector
STAND_IN_MIB = 9000


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A root with GRUB and kernels of two times."""
    place = tmp_path_factory.mktemp("grub")
    tree = place / "tree"
    for name in ("boot", "etc/default", "usr/lib", "sys", "proc", "dev"):
        (tree / name).mkdir(parents=True)
    (tree / "usr/lib/os-release").write_text('NAME="Small System"\n')
    for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-2.6.32", "initramfs-2.6.32.img"):
        (tree / "boot" / name).write_text(name)
    add_grub(tree, fetch_grub(place))
    return tree


class ByHand:
    """The lines of a .boot file."""

    def __init__(self, path: Path) -> None:
        words = [line.split() for line in path.with_suffix(".boot").read_text().splitlines()]
        self.bios = {one[1]: int(one[2]) for one in words if one[0] == "bios"}
        self.efi = [(one[1], int(one[2])) for one in words if one[0] == "efi"]
        self.kernel, self.initrd = next(one[1:] for one in words if one[0] == "kernel")
        self.fstab = [one[1:] for one in words if one[0] == "fstab"]


def deployment_of(path: Path, devices: dict[str, str], stand_in) -> tuple[Deployment, Scheme]:
    """The deployment of an input, and the scheme with which its disks are divided."""
    given = json.loads(path.read_text())
    pm_data = {"ks_spaces": given["ks_spaces"], "kernel_params": "console=ttyS0 quiet"}
    data = {"profile": given["profile"], "hostname": "node-1", "ks_meta": {"pm_data": pm_data}}
    read = read_provision_input(data, "input", given["driver"])
    scheme = to_scheme(read, "input", given["driver"], FuelConfig(),
                       lambda disk: devices[f"/dev/{disk.name}"])  # fmt: skip
    partitions = {p.node for p in scheme.partitions()}
    filesystems = tuple(
        replace(fs, keep_data=False, node=fs.node if fs.node in partitions else stand_in(fs))
        for fs in scheme.filesystems
    )
    plain = replace(
        scheme, disks=tuple(replace(disk, policy="clean") for disk in scheme.disks), arrays=(),
        physical_volumes=(), groups=(), volumes=(), filesystems=filesystems,
    )  # fmt: skip
    return to_deployment(read, plain, (), FuelConfig(), given["driver"]), plain


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem,
                  marks=() if path.stem in DEFAULT else pytest.mark.nightly) for path in INPUTS],
)  # fmt: skip
def test_boot_files_are_those_that_were_written_by_hand(path, tree, tmp_path):
    by_hand = ByHand(path)
    table = path.with_suffix(".table").read_text()
    ends: dict[str, int] = {}
    for line in table.splitlines():
        if line.startswith("disk "):
            ends[line.split()[1]] = 0
        elif match := re.match(r"  \d+ (\d+)\+(\d+)", line):
            ends[[*ends][-1]] = int(match[1]) + int(match[2]) + 1
    with contextlib.ExitStack() as stack:
        targets = {
            device: stack.enter_context(attached(tmp_path / f"{n}.img", end, pattern=b""))
            for n, (device, end) in enumerate(ends.items())
        }
        extra = []

        def stand_in(fs) -> str:
            file = tmp_path / f"stand-in-{len(extra)}.img"
            extra.append((stack.enter_context(attached(file, STAND_IN_MIB, pattern=b"")), fs))
            return extra[-1][0].device

        devices = {name: one.device for name, one in targets.items()}
        deployment, scheme = deployment_of(path, devices, stand_in)
        own = {one.device for one, _ in extra}
        on_disks = replace(scheme, filesystems=tuple(
            fs for fs in scheme.filesystems if fs.node not in own))  # fmt: skip
        partition_disks(Deployment(on_disks), read_disks(on_disks), lambda text: None)
        for one, fs in extra:
            if fs.mount == "swap":
                tool("mkswap", one.device)
            else:
                tool(f"mkfs.{fs.type}", one.device)
        root = scheme.root()
        assert root is not None
        tool("mkfs.ext4", "-q", "-F", "-d", tree, root.node)
        work = tmp_path / "work"
        work.mkdir()

        def body() -> None:
            finish_target(deployment, scratch=work, say=lambda text: None, warn=lambda text: None)

        run_privately(body)
        check(by_hand, scheme, targets)


def check(by_hand: ByHand, scheme: Scheme, targets) -> None:
    uuids = {fs.mount: tool("blkid", "-p", "-s", "UUID", "-o", "value", fs.node).strip()
             for fs in scheme.filesystems}  # fmt: skip
    nodes = {fs.mount: fs.node for fs in scheme.filesystems}

    def read(mount: str, name: str) -> str:
        return tool("debugfs", "-R", f"cat {name}", nodes[mount])

    lines = read("/", "/etc/fstab").splitlines()[1:]
    assert lines == [
        " ".join([f"UUID={uuids[mount]}", "none" if mount == "swap" else mount, *rest])
        for mount, *rest in by_hand.fstab
    ]
    menu = read("/boot", "/grub/grub.cfg").splitlines()
    assert f"search --no-floppy --fs-uuid --set=root {uuids['/boot']}" in menu
    first = next(at for at, line in enumerate(menu) if line.startswith("menuentry"))
    assert menu[first + 1 : first + 3] == [
        f"\tlinux /{by_hand.kernel} root=UUID={uuids['/']} ro console=ttyS0 quiet",
        f"\tinitrd /{by_hand.initrd}",
    ]
    assert read("/boot", f"/{by_hand.kernel}") == by_hand.kernel
    check_bios(by_hand, targets)
    check_efi(by_hand, targets, uuids["/boot"])


def check_bios(by_hand: ByHand, targets) -> None:
    """Boot code leads to a core image that looks for /boot; all disks have the same one."""
    cores = set()
    for name, target in targets.items():
        tool("sync", target.device)
        with open(target.file, "rb") as stream:
            boot_code = stream.read(SECTOR)
            if name not in by_hand.bios:
                assert not any(boot_code[:440])
                continue
            lba = by_hand.bios[name] * MIB_SECTORS
            assert b"GRUB" in boot_code[:440]
            assert struct.unpack_from("<Q", boot_code, CORE_LBA_AT)[0] == lba
            stream.seek(lba * SECTOR)
            cores.add(stream.read(24 << 20))
    (core,) = cores
    assert any(core[:SECTOR])
    # The configuration in the core image is packed, that of the EFI program is not.
    assert len(core.rstrip(b"\0")) > 20_000


def check_efi(by_hand: ByHand, targets, uuid: str) -> None:
    for device, number in by_hand.efi:
        argv = ["mtype", "-i", f"{targets[device].device}p{number}", "::/EFI/BOOT/BOOTX64.EFI"]
        program = subprocess.run(argv, check=True, capture_output=True).stdout
        assert program.startswith(b"MZ") and uuid.encode() in program
