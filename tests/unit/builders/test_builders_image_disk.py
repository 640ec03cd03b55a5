"""The disk of the image source as the one layout model, and findings at what they are about."""

from fractions import Fraction

import pytest
from pydantic import ValidationError

from goldsmith.builders.image.options import Disk, ImageOptions
from goldsmith.disk import layout
from goldsmith.units import GIB, MIB

MEMBERS = [{"name": name, "type": "data", "size": "1GiB"} for name in ("a", "b")]
RAID = {"name": "md0", "level": "1", "members": ["a", "b"]}
GROUP = {"name": "vg", "physical_volumes": ["md0"]}
ROOT = {
    "name": "root", "volume_group": "vg", "size": "40%", "filesystem": "xfs", "mount": "/",
    "label": "top", "filesystem_options": ["-m", "reflink=0"], "mount_options": ["noatime"],
}  # fmt: skip
SWAP = {"name": "swap", "volume_group": "vg", "size": "64MiB", "filesystem": "swap"}


def image(firmware=(), **disk):
    return ImageOptions.model_validate(
        {"bootstrap": {"method": "tar", "source": "t"}, "disk": disk, "firmware": firmware}
    )


def paths(options):
    return {finding.path for finding in options.findings()}


def test_arrays_groups_and_volumes_reach_the_layout():
    options = image(
        partition=MEMBERS, raid=[RAID], volume_group=[GROUP], logical_volume=[ROOT, SWAP]
    )
    assert list(options.findings()) == []
    made = options.disk.to_layout()
    assert made.raids == (layout.Raid("md0", "1", ("a", "b")),)
    root = layout.LogicalVolume(
        "root", layout.ShareSize(Fraction(40)),
        layout.FileSystem("xfs", "top", ("-m", "reflink=0")), "/", ("noatime",),
    )  # fmt: skip
    swap = layout.LogicalVolume("swap", layout.ExactSize(64 * MIB), layout.FileSystem("swap"))
    assert made.volume_groups == (layout.VolumeGroup("vg", ("md0",), (root, swap)),)
    assert made.partitions[0] == layout.Partition("a", "data", layout.ExactSize(GIB))


def test_a_raid_can_have_a_file_system_itself():
    raid = {**RAID, "filesystem": "ext4", "mount": "/", "mount_options": ["noatime"]}
    (made,) = image(partition=MEMBERS, raid=[raid]).disk.to_layout().raids
    assert made.filesystem == layout.FileSystem("ext4")
    assert (made.mount, made.mount_options) == ("/", ("noatime",))


def test_swap_needs_no_file_system_to_be_named():
    swap = {"name": "s", "type": "swap", "size": "1GiB", "label": "paging"}
    (made,) = Disk.model_validate({"partition": [swap]}).to_layout().partitions
    assert made.filesystem == layout.FileSystem("swap", "paging")


@pytest.mark.parametrize("extra", [{"label": "x"}, {"filesystem_options": ["-q"]}])
def test_what_describes_a_file_system_needs_one(extra):
    with pytest.raises(ValidationError, match="belong to a filesystem"):
        image(partition=[{"name": "a", "type": "data", **extra}])


def test_findings_lead_to_their_blocks():
    nowhere = {**SWAP, "volume_group": "other"}
    options = image(
        partition=MEMBERS, raid=[{**RAID, "level": "7"}],
        volume_group=[GROUP, {"name": "-x", "physical_volumes": ["nothing"]}],
        logical_volume=[SWAP, nowhere, {**ROOT, "filesystem_options": ["-p"]}],
    )  # fmt: skip
    assert paths(options) == {
        ("disk", "raid", 0, "level"),
        ("disk", "volume_group", 1),
        ("disk", "volume_group", 1, "physical_volumes"),
        ("disk", "logical_volume", 1, "volume_group"),
        ("disk", "logical_volume", 2, "filesystem_options"),
    }


def test_every_label_of_a_disk():
    root = {"name": "root", "type": "root", "size": "100%", "filesystem": "ext4", "mount": "/"}
    for label in ("gpt", "mbr", "none"):
        assert paths(image(label=label, partition=[root])) == set()
    assert paths(image(label="none", partition=[root], firmware=["bios"])) == {("firmware",)}
    assert paths(image(label="mbr", partition=[root], firmware=["bios"])) == set()
