"""Debian from upstream's own elements, end to end: what is in the image, and that it boots."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from goldsmith.packages.mirrors import sources_for

pytestmark = [pytest.mark.root, pytest.mark.network]


def variables(home):
    """What tells upstream's elements to use this host's own APT sources."""
    release = Path("/etc/os-release").read_text()
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE).group(1)
    sources = sources_for(suite, "")
    mirror = next(source.uris[0] for source in sources if suite in source.suites)
    security = next(
        (one.uris[0] for one in sources if f"{suite}-security" in one.suites), mirror
    )  # fmt: skip
    return {
        "DIB_RELEASE": suite, "DIB_DISTRIBUTION_MIRROR": mirror, "HOME": str(home),
        "DIB_DEBIAN_SECURITY_MIRROR": security, "DIB_BOOTLOADER_USE_SERIAL_CONSOLE": "True",
    }  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the one build of all these tests is kept."""
    return {"path": tmp_path_factory.mktemp("dib")}


@pytest.fixture
def debian(kept, goldsmith):
    if "result" not in kept:
        kept["state"] = kept["path"] / "state"
        kept["environment"] = {
            **variables(kept["path"]), "GOLDSMITH_CACHE_DIR": str(kept["state"]),
        }  # fmt: skip
        kept["result"] = goldsmith(
            "disk-image-create", "-o", "debian", "--checksum", "vm", "debian-minimal",
            cwd=kept["path"], env=kept["environment"], timeout_s=1000,
        )  # fmt: skip
    assert kept["result"].status == 0, kept["result"]
    return kept


def test_outputs_have_upstreams_names(debian):
    names = {name for name in os.listdir(debian["path"]) if name.startswith("debian")}
    assert names == {"debian.qcow2", "debian.qcow2.md5", "debian.qcow2.sha256", "debian.d"}
    saved = debian["path"] / "debian.d/dib-manifests"
    assert {"dib_arguments", "dib_environment"} <= set(os.listdir(saved))
    (manifest,) = saved.glob("dib-manifest-dpkg-*")
    packages = {one["package"] for one in json.loads(manifest.read_text())["packages"]}
    assert {"linux-image-amd64", "grub-pc", "systemd-sysv", "sudo"} <= packages


def test_the_initramfs_is_made_once(debian):
    made = re.findall(r"update-initramfs: Generating", debian["result"].stdout)
    assert len(made) <= 1


def test_an_unchanged_image_is_left_alone(debian, goldsmith):
    before = (debian["path"] / "debian.qcow2").stat()
    again = goldsmith(
        "disk-image-create", "-o", "debian", "--checksum", "vm", "debian-minimal",
        cwd=debian["path"], env=debian["environment"], check=True,
    )  # fmt: skip
    lines = again.stdout.splitlines()
    assert all(line.endswith("(cached)") for line in lines[:-1]), again
    assert (debian["path"] / "debian.qcow2").stat() == before


@pytest.mark.boot
def test_it_boots_to_a_login_prompt(debian, goldsmith):
    goldsmith("boot", debian["path"] / "debian.qcow2", "--timeout=10m", check=True)


@pytest.mark.nightly
def test_two_builds_of_one_time_have_the_same_tree(goldsmith, tmp_path):
    """Without any cache, each in a state directory of its own: every file, mode and time."""
    made = []
    for name in ("one", "two"):
        place = tmp_path / name
        place.mkdir()
        given = {**variables(place), "HOME": str(tmp_path), "SOURCE_DATE_EPOCH": "1700000000",
                 "GOLDSMITH_CACHE_DIR": str(tmp_path / f"state-{name}")}  # fmt: skip
        goldsmith("disk-image-create", "-n", "--no-cache", "-o", "x", "-t", "tar",
                  "debian-minimal", cwd=place, env=given, timeout_s=2000, check=True)  # fmt: skip
        made.append(_members(place / "x.tar"))
    assert [name for name in {**made[0], **made[1]} if made[0].get(name) != made[1].get(name)] == []
    assert (tmp_path / "one/x.tar").read_bytes() == (tmp_path / "two/x.tar").read_bytes()


def _members(path):
    """What is in an archive, by name: everything of it that an image would have."""
    with tarfile.open(path) as archive:
        return {
            member.name: (
                member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname,
                hashlib.sha256(archive.extractfile(member).read()).digest() if member.isreg()
                else b"", member.pax_headers.get("SCHILY.xattr.security.capability"),
            )
            for member in archive
        }  # fmt: skip
