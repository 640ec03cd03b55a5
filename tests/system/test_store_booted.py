"""APT in a booted image whose tree the store laid: it installs, upgrades and removes packages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from debs import deb, directory, entry
from signed_repository import Repository, signing
from small_image import file, shell

from goldsmith.packages.installed import os_release

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.boot, pytest.mark.nightly]

TEMPLATE = """
source "image" "changing" {
  bootstrap {
    suite    = "%(suite)s"
    engine   = "store"
    packages = [
      "linux-image-cloud-amd64", "systemd-sysv", "less", "libc-bin", "shifting", "leaving",
    ]
    repository "local" {
      uri       = "file:%(repository)s"
      suite     = "./"
      signed_by = "%(key)s"
    }
  }
  disk {
    partition "bios" {
      type = "bios-boot"
      size = "1MiB"
    }
    partition "root" {
      type       = "root"
      size       = "2GiB"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware       = ["bios"]
  kernel_cmdline = "console=ttyS0"
  hostname       = "golden"
  formats        = ["qcow2"]
}
build {
  sources = ["source.image.changing"]
%(provisioners)s}
"""
SOURCES = "Types: deb\nURIs: file:/srv/packages\nSuites: ./\nSigned-By: /srv/packages/key.gpg\n"
UNIT = """[Unit]
Description=Change packages
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=journal+console
StandardError=journal+console
ExecStart=/bin/sh /srv/packages/change
[Install]
WantedBy=multi-user.target
"""
CHANGE = """
# The words that are waited for stand nowhere but where they are said.
trap 'echo "PACKAGES $result"' EXIT
result=FAILED
set -eux
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/apt/sources.list.d
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
cp /srv/packages/local.sources /etc/apt/sources.list.d/
test "$(cat /usr/share/shifting)" = 1
test -e /usr/share/leaving
apt-get --option Acquire::Languages=none update
apt-get --yes install newcomer
apt-get --yes --only-upgrade install shifting
apt-get --yes purge leaving less
apt-get check
test -e /var/lib/newcomer
test "$(cat /usr/share/shifting)" = 2
test "$(cat /etc/shifting.conf)" = "value 2"
test "$(cat /var/lib/shifting)" = "configure 1"
test ! -e /usr/share/leaving
test ! -e /etc/leaving.conf
test ! -e /usr/bin/less
test -z "$(dpkg --audit)"
dpkg --verify
test -z "$(dpkg --verify)"
result=CHANGED
"""


def package(name: str, version: str) -> bytes:
    """A package with a conffile and a script that notes how it was called."""
    return deb(name, [
        directory("./etc"), entry(f"./etc/{name}.conf", f"value {version}\n".encode()),
        directory("./usr"), directory("./usr/share"),
        entry(f"./usr/share/{name}", f"{version}\n".encode()),
    ], control={
        "conffiles": f"/etc/{name}.conf\n",
        "postinst": f'#!/bin/sh\nset -e\necho "$1 $2" > /var/lib/{name}\n',
    }, Version=version, Maintainer="Test <t@example.invalid>", Description="test")  # fmt: skip


def offered(folder: Path, *packages: tuple[str, str]) -> Repository:
    """A repository with these packages, each a name and a version."""
    repository = Repository(folder)
    for name, version in packages:
        (folder / "pool" / f"{name}_{version}_amd64.deb").write_bytes(package(name, version))
    return repository


def test_apt_changes_packages_of_the_booted_image(
    goldsmith: Any, own_places: Path, tmp_path: Path
) -> None:
    # pytest's own directories are closed to the user as whom APT fetches.
    place = own_places / "changing"
    place.mkdir(mode=0o755)
    first = offered(place / "first", ("shifting", "1"), ("leaving", "1"))
    inside = offered(place / "inside", ("shifting", "2"), ("leaving", "1"), ("newcomer", "1"))
    with signing(place / "gnupg") as signer:
        first.publish("./", signer)
        inside.publish("./", signer)
        shutil.copy(signer.key, place / "key.gpg")
    for name, text in (("local.sources", SOURCES), ("change", CHANGE), ("unit", UNIT)):
        (inside.folder / name).write_text(text)
    shutil.copy(place / "key.gpg", inside.folder / "key.gpg")
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % {
        "suite": os_release(Path("/"))["VERSION_CODENAME"], "repository": str(first.folder),
        "key": str(place / "key.gpg"),
        "provisioners": file(source=f"{inside.folder}/", destination="/srv/packages") + shell(
            "cp /srv/packages/unit /etc/systemd/system/change.service",
            "systemctl enable change.service",
        ),
    })  # fmt: skip
    state = {"GOLDSMITH_CACHE_DIR": str(own_places / "cache")}
    goldsmith("build", "t.pkr.hcl", env=state, check=True)
    log = tmp_path / "serial.log"
    result = goldsmith(
        "boot", "--firmware=bios", "--expect", "PACKAGES CHANGED", "--timeout", "10m",
        "--serial-log", log, tmp_path / "output/changing.qcow2",
    )  # fmt: skip
    console = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", log.read_text(errors="replace"))
    assert result.status == 0, console[-6000:]
