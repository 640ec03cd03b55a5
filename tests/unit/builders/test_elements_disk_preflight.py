"""What a host lacks for the disk of an image of elements, told before anything is built."""

import pytest

from goldsmith.builders.elements import disk_preflight
from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.errors import MissingToolError

TOOLS = {
    ("block-device-mbr", "ext4"): {"sfdisk", "mkfs.ext4", "partx", "fstrim", "nsenter", "mount"},
    ("block-device-mbr", "xfs"): {"sfdisk", "mkfs.xfs", "partx", "fstrim", "nsenter", "mount"},
    ("block-device-efi", "ext4"): {"sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy", "partx"},
}


def recipe(layout, root, **environment):
    given = {"FS_TYPE": root, **environment}
    return Recipe(
        ElementsOptions(elements=("vm", "debian-minimal", layout), root_filesystem=root,
                        environment=given), "image",
    )  # fmt: skip


def found(made):
    return [str(one) for one in disk_preflight.disk_findings(made, made.wishes).found]


@pytest.fixture
def bare_host(monkeypatch):
    """A host without programs, whose kernel mounts what any mounts."""

    def missing(tool):
        raise MissingToolError(tool, "its-package")

    monkeypatch.setattr(disk_preflight, "get_tool", missing)
    monkeypatch.setattr(disk_preflight.attached, "why_not", lambda kind: None)


@pytest.mark.parametrize("image", TOOLS, ids=" ".join)
def test_every_program_that_will_be_run_is_asked_for(bare_host, image):
    told = found(recipe(*image))
    for tool in TOOLS[image]:
        assert any(line.startswith(f"{tool} is not installed") for line in told), (tool, told)


def test_a_host_with_all_of_them_has_no_findings(monkeypatch):
    monkeypatch.setattr(disk_preflight, "get_tool", lambda tool: f"/usr/bin/{tool}")
    for image in list(TOOLS)[:2]:
        assert found(recipe(*image)) == []


def test_a_root_that_this_kernel_cannot_mount_is_refused(bare_host, monkeypatch):
    monkeypatch.setattr(disk_preflight.attached, "why_not", {"xfs": "no xfs here"}.get)
    assert any("the root cannot be xfs: no xfs here" in line
               for line in found(recipe("block-device-mbr", "xfs")))  # fmt: skip


def test_a_disk_that_is_too_small_is_refused(monkeypatch):
    monkeypatch.setattr(disk_preflight, "get_tool", lambda tool: f"/usr/bin/{tool}")
    told = found(recipe("block-device-mbr", "ext4", DIB_IMAGE_SIZE="0.0001"))
    assert told
    assert "DIB_IMAGE_SIZE" in told[0]
