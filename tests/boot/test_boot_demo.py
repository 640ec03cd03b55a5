"""The first example, as a user builds it: what its image holds, and that it boots both ways."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from goldsmith.builders.image.kept_initramfs import UNCHANGED

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot]

EXAMPLES = Path(__file__).parents[2] / "examples"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Demo:
    """The built example."""

    def __init__(self, path, result):
        self.path = path
        self.result = result
        self.image = path / "output/debian.qcow2"
        self.manifest = json.loads((path / "output/debian.manifest.json").read_text())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the one build of all these tests is kept, and its directory."""
    path = tmp_path_factory.mktemp("demo")
    shutil.copytree(EXAMPLES, path / "examples")
    return {"path": path}


@pytest.fixture
def demo(kept, goldsmith, own_places):
    if "build" not in kept:
        # pytest's own directories are closed to the user as whom APT fetches.
        result = goldsmith(
            "build", "-except=boot-test", "examples/debian.pkr.hcl", cwd=kept["path"],
            env={"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}, check=True,
        )  # fmt: skip
        kept["build"] = Demo(kept["path"], result)
    return kept["build"]


def test_the_files_and_their_digests(demo):
    names = sorted(path.name for path in demo.image.parent.iterdir())
    assert names == ["debian.manifest.json", "debian.qcow2", "debian.sha256"]
    with open(demo.image, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sums = (demo.image.parent / "debian.sha256").read_text().splitlines()
    assert f"{digest}\tdebian.qcow2" in sums
    assert demo.manifest["files"]["debian.qcow2"]["sha256"] == digest
    assert digest in demo.result.stdout


def test_the_manifest_lists_packages_with_versions(demo):
    versions = {p["name"]: p["version"] for p in demo.manifest["packages"]}
    kernels = [name for name in versions if re.fullmatch(r"linux-image-\d.*-cloud-amd64", name)]
    assert len(kernels) == 1
    assert {"linux-image-cloud-amd64", "systemd", "systemd-sysv", "openssh-server"} <= set(versions)
    assert any(name.startswith("grub-pc") for name in versions)
    assert any(name.startswith("grub-efi-amd64") for name in versions)
    assert all(re.match(r"[0-9]", version) for version in versions.values())


def test_the_qcow2_is_sound_and_compressed(demo):
    subprocess.run(["qemu-img", "check", "-q", demo.image], check=True)
    told = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", demo.image],
                       check=True, capture_output=True).stdout
    )  # fmt: skip
    assert told["format"] == "qcow2"
    assert told["format-specific"]["data"]["compression-type"] == "zstd"
    assert told["virtual-size"] == demo.manifest["disk"]["size_bytes"]


@pytest.fixture
def raw(demo, tmp_path):
    """The image as a raw file."""
    path = tmp_path / "debian.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", demo.image, path], check=True)
    yield path
    path.unlink()


def partition(demo, name):
    return next(p for p in demo.manifest["disk"]["partitions"] if p["name"] == name)


def debugfs(demo, raw, request):
    where = f"{raw}?offset={partition(demo, 'root')['offset_bytes']}"
    argv = ["debugfs", "-R", request, where]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_disk_and_its_file_systems_are_sound(demo, raw):
    table = json.loads(
        subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True).stdout
    )["partitiontable"]
    assert table["label"] == "gpt"
    placed = [(p["start"] * 512, p["size"] * 512, p["name"]) for p in table["partitions"]]
    assert placed == [
        (p["offset_bytes"], p["size_bytes"], p["name"]) for p in demo.manifest["disk"]["partitions"]
    ]
    subprocess.run(["sfdisk", "--verify", raw], check=True, capture_output=True)
    root = f"{raw}?offset={partition(demo, 'root')['offset_bytes']}"
    subprocess.run(["e2fsck", "-fn", root], check=True, capture_output=True)
    esp = f"{raw}@@{partition(demo, 'esp')['offset_bytes']}"
    listed = subprocess.run(["mdir", "-/", "-b", "-i", esp, "::"], check=True, capture_output=True)
    assert b"BOOTX64.EFI" in listed.stdout.upper()


def test_the_initramfs_is_one_and_compressed_by_zstd(demo, raw, tmp_path):
    (name,) = re.findall(r"/(initrd\.img-[^/]+)/", debugfs(demo, raw, "ls -p /boot"))
    initrd = tmp_path / "initrd"
    debugfs(demo, raw, f"dump /boot/{name} {initrd}")
    with initrd.open("rb") as file:
        assert file.read(4) == ZSTD_MAGIC
    # What was guessed of the tree before it was configured came true.
    assert "Making the initramfs beside the bootstrap: never built" in demo.result.stdout
    assert UNCHANGED in demo.result.stdout


def test_provisioners_and_options_have_their_effect(demo, raw):
    assert debugfs(demo, raw, "cat /etc/hostname") == "golden\n"
    assert debugfs(demo, raw, "cat /etc/motd") == (EXAMPLES / "motd").read_text()
    assert "built for golden" in debugfs(demo, raw, "cat /etc/issue.net")
    assert re.search(r"^ops:x:\d+:", debugfs(demo, raw, "cat /etc/passwd"), re.MULTILINE)
    assert "console=ttyS0" in debugfs(demo, raw, "cat /boot/grub/grub.cfg")
    assert debugfs(demo, raw, "cat /etc/machine-id") == ""


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_it_boots_to_its_login(demo, goldsmith, tmp_path, firmware):
    before = demo.image.read_bytes()
    log = tmp_path / "serial.log"
    result = goldsmith(
        "boot", f"--firmware={firmware}", "--expect", "golden login:", "--timeout", "5m",
        "--serial-log", log, demo.image, check=True,
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert "golden login:" in console, result
    # systemd's own report of each unit.
    assert re.search(r"\[ *OK *\] Started ", console)
    assert re.findall(r"\[ *FAILED *\].*", console) == []
    assert "Kernel panic" not in console
    assert demo.image.read_bytes() == before


CHANGED = """
source "chroot" "changed" {
  source        = "IMAGE"
  firmware      = ["uefi"]
  chroot_mounts = [["tmpfs", "tmpfs", "/mnt"]]
}
build {
  sources = ["source.chroot.changed"]
  provisioner "shell" {
    inline  = [
      "echo changed > /etc/hostname",
      "test -e /boot/efi/EFI/BOOT/BOOTX64.EFI",
      "echo note > /boot/efi/note.txt",
      "systemctl enable ssh",
    ]
    network = false
  }
  post-processor "boot-test" {
    expect = "changed login:"
  }
}
"""


def test_an_image_that_was_changed_boots(demo, goldsmith, tmp_path, own_places):
    """The source `chroot` on a whole machine: root, ESP and boot loader are as they must be."""
    before = hashlib.sha256(demo.image.read_bytes()).hexdigest()
    (tmp_path / "t.pkr.hcl").write_text(CHANGED.replace("IMAGE", str(demo.image)))
    env = {"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}
    result = goldsmith("build", "t.pkr.hcl", cwd=tmp_path, env=env, check=True)
    assert "Booted by uefi" in result.stdout
    manifest = json.loads((tmp_path / "output/changed.manifest.json").read_text())
    assert {p["name"] for p in manifest["packages"]} >= {"systemd", "openssh-server"}
    raw = tmp_path / "changed.raw"
    subprocess.run(
        ["qemu-img", "convert", "-O", "raw", tmp_path / "output/changed.qcow2", raw], check=True
    )
    (esp,) = [p for p in manifest["disk"]["partitions"] if p["filesystem"] == "vfat"]
    argv = ["mtype", "-i", f"{raw}@@{esp['offset_bytes']}", "::/note.txt"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "note\n"
    raw.unlink()
    assert hashlib.sha256(demo.image.read_bytes()).hexdigest() == before


def test_a_text_that_is_never_said_fails_the_boot(demo, goldsmith, tmp_path):
    result = goldsmith(
        "boot", "--firmware=bios", "--expect", "never said", "--timeout", "3s", "--quiet",
        "--serial-log", tmp_path / "log", demo.image,
    )  # fmt: skip
    assert result.status == 4, result
    assert "never said" in result.stdout + result.stderr
