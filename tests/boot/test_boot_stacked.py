"""Roots on LVM and on RAID 1 boot: the templates of the how-to, from one bootstrapped tree."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot]

PAGE = Path(__file__).parents[2] / "docs/how-to/raid-and-lvm.md"
PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "lvm2", "mdadm", "e2fsprogs", "dosfstools",
            "grub-common", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin",
            "zstd")  # fmt: skip


@pytest.fixture(scope="module")
def tree(own_places):
    """A Debian tree that has what both layouts need."""
    path = own_places / "stacked-tree"
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            "bookworm", path]  # fmt: skip
    subprocess.run(argv, check=True)
    return path


def template(name, tree):
    """A template of the page with that tree in place of its bootstrap."""
    texts = re.findall(r"```hcl\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = [text for text in texts if f'source "image" "{name}"' in text]
    bootstrap = f'bootstrap {{\n    method = "directory"\n    source = "{tree}"\n  }}'
    changed, count = re.subn(r"bootstrap \{.*?\n  \}", bootstrap, text, flags=re.DOTALL)
    assert count == 1
    return changed


@pytest.mark.parametrize(
    ("name", "firmware"),
    [("lvm", "bios"), pytest.param("raid", "uefi", marks=pytest.mark.nightly)],
)
def test_it_boots_to_its_login(goldsmith, tree, tmp_path, own_places, name, firmware):
    (tmp_path / "t.pkr.hcl").write_text(template(name, tree))
    env = {"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}
    goldsmith("build", "t.pkr.hcl", env=env, check=True)
    image = tmp_path / f"output/{name}.qcow2"
    log = tmp_path / "serial.log"
    result = goldsmith(
        "boot", f"--firmware={firmware}", "--expect", "golden login:", "--timeout", "8m",
        "--serial-log", log, image, check=True,
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert "golden login:" in console, result
    assert re.findall(r"\[ *FAILED *\].*", console) == []
    described = json.loads((tmp_path / f"output/{name}.manifest.json").read_text())["disk"]
    (root,) = [volume for volume in described["volumes"] if volume["mount"] == "/"]
    assert root["filesystem"] == "ext4"
    if name == "lvm":
        assert re.search(r"EXT4-fs \(dm-\d+\): re-mounted", console)
    else:
        assert re.search(r"md/raid1:md\w*: active with 2 out of 2 mirrors", console)
