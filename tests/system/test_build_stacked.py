"""Images with arrays and volume groups, as a template asks for them: small ones of a tiny tree."""

from __future__ import annotations

import json

import pytest
from small_image import Project, look_into, shell

from goldsmith.machine.guest_image import host_recipe, open_guest_image
from goldsmith.units import MIB

pytestmark = [pytest.mark.root, pytest.mark.boot, pytest.mark.network]

STACKED = """\
    partition "first" {
      type = "data"
    }
    partition "second" {
      type = "data"
    }
    raid "md0" {
      level   = "1"
      members = ["first", "second"]
    }
    volume_group "vg" {
      physical_volumes = ["md0"]
    }
    logical_volume "swap" {
      volume_group = "vg"
      size         = "4MiB"
      filesystem   = "swap"
    }
    logical_volume "root" {
      volume_group = "vg"
      filesystem   = "ext4"
      mount        = "/"
    }
"""


@pytest.fixture
def project(tmp_path, small_tree, goldsmith):
    """A project in a directory of its own."""
    path = tmp_path / "project"
    path.mkdir()
    return Project(path, small_tree, goldsmith)


def test_a_root_on_lvm_on_a_mirror(project):
    kept = open_guest_image().kernel.parents[1]
    project.state.mkdir(exist_ok=True)
    (project.state / "guest").symlink_to(kept)
    project.write(shell("echo here >/etc/marker"), disk=STACKED)
    project.built()
    disk = project.manifest()["disk"]
    assert [(v["name"], v["kind"], v["mount"]) for v in disk["volumes"]] == [
        ("md0", "raid", None), ("vg/swap", "logical_volume", None),
        ("vg/root", "logical_volume", "/"),
    ]  # fmt: skip
    # Two members; the array's data, LVM's own MiB and the extent of swap come before the root.
    for member in disk["partitions"]:
        offset = member["offset_bytes"] + MIB + MIB + 4 * MIB
        (files, fstab, config) = look_into(
            project.image(), offset,
            lambda root: [(root / name).read_text() for name in
                          ("etc/marker", "etc/fstab", "etc/mdadm/mdadm.conf")],
        )  # fmt: skip
        assert files == "here\n"
        assert disk["volumes"][2]["filesystem_uuid"] in fstab
        assert disk["volumes"][0]["uuid"] in config.replace(":", "")


def test_a_guest_that_does_not_start_ends_the_build(project):
    """A kept guest whose kernel is damaged: the sizes are right, the bytes are not."""
    place = project.state / "guest" / host_recipe().digest()
    place.mkdir(parents=True)
    sizes = {}
    for name in ("kernel", "initramfs.cpio"):
        (place / name).write_bytes(b"none" * 5000)
        sizes[name] = 20000
    manifest = {"sizes": sizes, "digest": "none", "packages": {}}
    (place / "manifest.json").write_text(json.dumps(manifest))
    project.write(disk=STACKED)
    text = project.failed()
    assert "Assembling the disk: the guest's QEMU exited with status 1" in text
    assert "the next use makes a new guest" in text
