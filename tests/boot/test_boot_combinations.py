"""A Debian on disks of many kinds, from one bootstrapped tree: each boots to its login.

Every two of label, root file system, firmware and format meet in one of the cases.
"""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from goldsmith.disk.formats import FORMATS

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot]

PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "initramfs-tools", "zstd", "e2fsprogs",
            "btrfs-progs", "xfsprogs", "dosfstools", "grub-common", "grub2-common", "grub-pc-bin",
            "grub-efi-amd64-bin")  # fmt: skip

# label, root, firmware, format, whether /boot is a partition of its own
MAIN = (
    ("gpt", "ext4", "uefi", "vmdk", False),
    ("mbr", "btrfs", "bios", "raw.zst", False),
    ("gpt", "xfs", "bios", "vdi", True),
)
NIGHTLY = (
    ("mbr", "ext4", "uefi", "qcow2", True), ("mbr", "xfs", "uefi", "raw.zst", False),
    ("gpt", "btrfs", "uefi", "vdi", True), ("gpt", "xfs", "uefi", "qcow2", False),
    ("gpt", "btrfs", "bios", "qcow2", False), ("mbr", "ext4", "bios", "vdi", False),
    ("mbr", "xfs", "bios", "vmdk", False), ("mbr", "btrfs", "uefi", "vmdk", False),
    ("gpt", "ext4", "bios", "raw.zst", False), ("gpt", "ext4", "bios", "raw", False),
    ("mbr", "btrfs", "uefi", "raw", False), ("mbr", "xfs", "uefi", "raw", True),
    ("gpt", "xfs", "bios", "vhdx", False), ("mbr", "ext4", "uefi", "vhdx", False),
    ("gpt", "btrfs", "bios", "vhdx", False), ("gpt", "btrfs", "uefi", "vpc", False),
    ("mbr", "ext4", "bios", "vpc", False), ("mbr", "xfs", "bios", "vpc", False),
    ("mbr", "xfs", "uefi", "raw.gz", False), ("gpt", "ext4", "bios", "raw.gz", False),
    ("mbr", "btrfs", "bios", "raw.gz", True), ("mbr", "ext3", "bios", "qcow2", False),
    ("gpt", "ext2", "uefi", "qcow2", True),
)  # fmt: skip


def named(case):
    """What a case is called."""
    *words, own_boot = case
    return "-".join([*words, "boot"] if own_boot else words)


def test_every_two_values_meet_in_a_case():
    cases = [case[:4] for case in (*MAIN, *NIGHTLY)]
    values = (("gpt", "mbr"), ("ext4", "btrfs", "xfs"), ("bios", "uefi"), tuple(FORMATS))
    for (first, ones), (second, others) in combinations(enumerate(values), 2):
        met = {(case[first], case[second]) for case in cases}
        assert met >= {(one, other) for one in ones for other in others}


@pytest.fixture(scope="module")
def tree(own_places):
    """A Debian tree with all that these disks need."""
    release = Path("/etc/os-release").read_text()
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE).group(1)
    path = own_places / "combinations-tree.tar"
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            suite, path]  # fmt: skip
    subprocess.run(argv, check=True)
    return path


def partition(name, type, filesystem="", mount="", size="auto"):
    more = f'      filesystem = "{filesystem}"\n      mount = "{mount}"\n' if filesystem else ""
    return (f'    partition "{name}" {{\n      type = "{type}"\n      size = "{size}"\n'
            f"{more}    }}\n")  # fmt: skip


def template(tree, label, root, firmware, format, own_boot):
    parts = []
    if firmware == "bios" and label == "gpt":
        parts.append(partition("bios", "bios-boot", size="1MiB"))
    if firmware == "uefi":
        parts.append(partition("esp", "esp", "vfat", "/boot/efi", "64MiB"))
    if own_boot:
        parts.append(partition("boot", "boot", "ext4", "/boot"))
    parts.append(partition("root", "root", root, "/"))
    return (
        f'source "image" "combined" {{\n  bootstrap {{\n    method = "tar"\n'
        f'    source = "{tree}"\n  }}\n  disk {{\n    label = "{label}"\n{"".join(parts)}  }}\n'
        f'  firmware = ["{firmware}"]\n  kernel_cmdline = "console=ttyS0"\n'
        f'  hostname = "golden"\n  formats = ["{format}"]\n}}\n'
        f'build {{\n  sources = ["source.image.combined"]\n}}\n'
    )


@pytest.fixture
def built(goldsmith, tree, tmp_path, own_places):
    """Builds one of the cases; returns its image."""

    def build(*case):
        (tmp_path / "t.pkr.hcl").write_text(template(tree, *case))
        env = {"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}
        goldsmith("build", "t.pkr.hcl", env=env, check=True)
        return tmp_path / f"output/combined.{FORMATS[case[3]].extension}"

    return build


def it_boots(goldsmith, image, tmp_path):
    log = tmp_path / "serial.log"
    result = goldsmith(
        "boot", image, "--expect", "golden login:", "--timeout", "8m", "--quiet",
        "--serial-log", log, check=True,
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert "golden login:" in console, result
    assert re.findall(r"\[ *FAILED *\].*", console) == []


@pytest.mark.parametrize("case", MAIN, ids=named)
def test_it_boots_to_its_login(goldsmith, built, tmp_path, case):
    it_boots(goldsmith, built(*case), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("case", NIGHTLY, ids=named)
def test_it_boots_to_its_login_too(goldsmith, built, tmp_path, case):
    it_boots(goldsmith, built(*case), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("file", "said"), [("vmlinuz", "invalid magic number"), ("initrd.img", "Kernel panic")]
)
def test_a_system_that_cannot_start_says_why(goldsmith, built, tmp_path, file, said):
    image = built("gpt", "ext4", "bios", "raw", False)
    disk = json.loads((tmp_path / "output/combined.manifest.json").read_text())["disk"]
    (offset,) = [p["offset_bytes"] for p in disk["partitions"] if p["mount"] == "/"]
    root = f"{image}?offset={offset}"
    listed = subprocess.run(["debugfs", "-R", "ls -p /boot", root], check=True,
                            capture_output=True, text=True).stdout  # fmt: skip
    (name,) = re.findall(rf"/({re.escape(file)}-[^/]+)/", listed)
    (tmp_path / "garbage").write_text("neither a kernel nor an archive" * 1000)
    for request in (f"rm /boot/{name}", f"write {tmp_path}/garbage /boot/{name}"):
        subprocess.run(["debugfs", "-w", "-R", request, root], check=True, capture_output=True)
    result = goldsmith("boot", image, "--expect", "golden login:", "--timeout", "90s")
    assert result.status == 4, result
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
