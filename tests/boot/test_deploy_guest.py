"""A machine with goldsmith in it deploys an image set onto LVM on RAID 1, and the disks boot.

The kernel of a build host may have no device-mapper, no RAID and no vfat: here is one that has.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from deploy_rig import PACKAGES, write_job_disk, write_templates

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot, pytest.mark.nightly,
              pytest.mark.timeout(5400)]  # fmt: skip

SCHEME = """
firmware       = ["bios", "uefi"]
kernel_cmdline = "console=ttyS0"
grub_timeout   = 1
hostname       = "node-1"

disk "first" {
  device      = "/dev/vdc"
  boot_loader = true
  partition "bios" {
    type = "bios-boot"
    size = "1MiB"
  }
  partition "esp" {
    type       = "esp"
    size       = "64MiB"
    filesystem = "vfat"
    mount      = "/boot/efi"
  }
  partition "raid" {
    type = "data"
    size = "100%"
  }
}
disk "second" {
  device      = "/dev/vdd"
  boot_loader = true
  partition "bios" {
    type = "bios-boot"
    size = "1MiB"
  }
  partition "esp" {
    type       = "esp"
    size       = "64MiB"
    filesystem = "vfat"
  }
  partition "raid" {
    type = "data"
    size = "100%"
  }
}
raid "md0" {
  level   = "1"
  members = ["first.raid", "second.raid"]
}
volume_group "system" {
  physical_volumes = ["md0"]
}
logical_volume "root" {
  volume_group = "system"
  size       = "1200MiB"
  filesystem = "ext4"
  mount      = "/"
}
logical_volume "var" {
  volume_group = "system"
  size       = "320MiB"
  filesystem = "ext4"
  mount      = "/var"
}
logical_volume "swap" {
  volume_group = "system"
  size       = "64MiB"
  filesystem = "swap"
}
cloud_init {
  ssh_keys = ["ssh-ed25519 AAAA ops"]
}
"""
DISK_BYTES = 2 << 30
TIMEOUT = "30m"


@pytest.fixture(scope="module")
def built(own_places):
    """The tree of both images, and a directory with the templates."""
    place = own_places / "deploy"
    place.mkdir()
    tree = place / "tree"
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            "bookworm", tree]  # fmt: skip
    subprocess.run(argv, check=True)
    write_templates(place, tree)
    return place


def console(log):
    """What the machine has said, without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace")).replace("\r", "")


@pytest.fixture
def mirror(goldsmith, built, own_places):
    """Both disks of a machine, deployed once by the machine that has goldsmith in it."""
    first, second, tried = built / "first.raw", built / "second.raw", built / "tried"
    if not tried.exists():
        tried.touch()
        deploy(goldsmith, built, {"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}, first, second)
        (built / "deployed").touch()
    elif not (built / "deployed").exists():
        pytest.fail("the deployment failed before")
    return {"first": first, "second": second}


def deploy(goldsmith, built, env, first, second):
    for name in ("deployer", "target"):
        goldsmith("build", built / f"{name}.pkr.hcl", env=env, check=True, cwd=built)
    job = built / "job"
    shutil.copytree(built / "output", job, ignore=shutil.ignore_patterns("deployer*"))
    (job / "scheme.hcl").write_text(SCHEME)
    command = "goldsmith deploy --scheme /mnt/scheme.hcl --image /mnt/target.yaml --yes"
    write_job_disk(built / "job.raw", command, job)
    for disk in (first, second):
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
    log = built / "deploy.log"
    goldsmith(
        "boot", "--no-snapshot", "--expect", "DEPLOYED WITH STATUS 0", "--timeout", TIMEOUT,
        "--serial-log", log, "--disk", built / "job.raw", "--disk", first, "--disk", second,
        "--quiet", built / "output/deployer.qcow2", check=True, timeout_s=2400,
    )  # fmt: skip
    assert "Deployed to /dev/vdc, /dev/vdd" in console(log)


# With both disks, and with one that the other was taken from, on either firmware.
@pytest.mark.parametrize(
    ("firmware", "names"),
    [("bios", ["first", "second"]), ("uefi", ["first", "second"]),
     ("bios", ["second"]), ("uefi", ["second"]), ("bios", ["first"])],
    ids=["both-bios", "both-uefi", "second-alone-bios", "second-alone-uefi", "first-alone-bios"],
)  # fmt: skip
def test_lvm_on_a_deployed_mirror_boots(goldsmith, mirror, tmp_path, firmware, names):
    first, *others = (mirror[name] for name in names)
    log = tmp_path / "boot.log"
    further = [word for disk in others for word in ("--disk", disk)]
    goldsmith(
        "boot", f"--firmware={firmware}", "--expect", "node-1 login:", "--timeout", TIMEOUT,
        "--serial-log", log, "--quiet", first, *further, check=True, timeout_s=2400,
    )  # fmt: skip
    said = console(log)
    assert f"active with {len(names)} out of 2 mirrors" in said
    assert re.search(r"EXT4-fs \(dm-\d+\): re-mounted", said)
    assert "Failed to mount" not in said
