"""A machine that deploys: an image of our own with Python and goldsmith in it, and its jobs."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import goldsmith as package

PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "udev", "lvm2", "mdadm", "e2fsprogs",
            "dosfstools", "mtools", "fdisk", "grub-common", "grub2-common", "grub-pc-bin",
            "grub-efi-amd64-bin", "zstd", "python3")  # fmt: skip
"""What the deploying machine and the deployed one need: one tree serves both."""

DEPLOYER = """
source "image" "deployer" {
  bootstrap {
    method = "directory"
    source = "%(tree)s"
  }
  disk {
    label = "gpt"
    size = "auto"
    partition "bios" {
      type = "bios-boot"
      size = "1MiB"
    }
    partition "root" {
      type = "root"
      size = "1280MiB"
      filesystem = "ext4"
      mount = "/"
    }
  }
  firmware = ["bios"]
  kernel_cmdline = "console=ttyS0 quiet"
  hostname = "deployer"
  formats = ["qcow2"]
}
build {
  sources = ["source.image.deployer"]
  provisioner "file" {
    source = "site/"
    destination = "/usr/local/lib/python3.11/dist-packages"
  }
  provisioner "file" {
    source = "deploy.service"
    destination = "/etc/systemd/system/deploy.service"
  }
  provisioner "file" {
    source = "goldsmith"
    destination = "/usr/local/bin/goldsmith"
  }
  provisioner "shell" {
    inline = [
      "systemctl enable deploy.service",
      "chmod 755 /usr/local/bin/goldsmith",
      # An emulated processor takes minutes for this.
      "python3 -m compileall -q /usr/local/lib/python3.11/dist-packages",
    ]
    network = false
  }
}
"""

IMAGE_SET = """
source "image" "target" {
  bootstrap {
    method = "directory"
    source = "%(tree)s"
  }
  image_set {
    container = "zstd"
    image "/" {
      filesystem = "ext4"
    }
  }
  hostname = "golden"
}
build {
  sources = ["source.image.target"]
  provisioner "file" {
    source = "patience.conf"
    destination = "/etc/systemd/system.conf"
  }
}
"""

# An emulated machine on a busy host stood still for 70 s of the 90 that systemd waits for a disk.
PATIENCE = """\
[Manager]
DefaultDeviceTimeoutSec=15min
DefaultTimeoutStartSec=15min
"""

SERVICE = """\
[Unit]
Description=Runs the script of the job disk
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -o ro LABEL=job /mnt && /bin/sh /mnt/job.sh'
[Install]
WantedBy=default.target
"""

PROGRAM = """\
#!/usr/bin/python3
import sys
from goldsmith.cli.app import main
sys.exit(main())
"""

# A getty that starts hangs up every other user of the terminal, but not of the console.
JOB = """\
exec >/dev/console 2>&1
cd /root
export PYTHONDONTWRITEBYTECODE=1
%(command)s >/run/job.log 2>&1
status=$?
cat /run/job.log
lsblk --fs
sync
echo "DEPLOYED WITH STATUS $status"
poweroff -f
"""


def write_site(directory: Path) -> None:
    """Copy goldsmith and all that it needs from where this test's Python has it."""
    for distribution in _needed("goldsmith", {}).values():
        if distribution.name == "goldsmith":
            continue
        for file in distribution.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(distribution.locate_file(file)), target)
    source = Path(package.__file__).parent
    shutil.copytree(source, directory / "goldsmith",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip


def _needed(
    name: str, found: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    """A distribution and all that it needs without extras, by their names."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    found[key] = importlib.metadata.distribution(name)
    for requirement in found[key].requires or ():
        wanted = re.match(r"[A-Za-z0-9._-]+", requirement)
        if wanted is None or ";" in requirement:
            continue
        _needed(wanted[0], found)
    return found


def write_templates(directory: Path, tree: Path) -> None:
    """Write the templates of both images, and what they upload."""
    write_site(directory / "site")
    (directory / "deploy.service").write_text(SERVICE)
    (directory / "goldsmith").write_text(PROGRAM)
    (directory / "patience.conf").write_text(PATIENCE)
    (directory / "deployer.pkr.hcl").write_text(DEPLOYER % {"tree": tree})
    (directory / "target.pkr.hcl").write_text(IMAGE_SET % {"tree": tree})


def write_job_disk(path: Path, command: str, files: Path) -> None:
    """Make the disk that the deploying machine finds its work on: the files, and a script."""
    (files / "job.sh").write_text(JOB % {"command": command})
    size_bytes = sum(file.stat().st_size for file in files.rglob("*") if file.is_file())
    with path.open("wb") as stream:
        stream.truncate(size_bytes + size_bytes // 10 + (16 << 20))
    subprocess.run(["mkfs.ext4", "-q", "-L", "job", "-d", files, path], check=True)
