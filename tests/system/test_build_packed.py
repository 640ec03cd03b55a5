"""A build of a compressed root of automatic size: as long as its files take, and readable."""

from pathlib import Path

import pytest
from disk_trees import tool
from private_namespace import run_privately
from small_image import Project

from goldsmith.host.digests import file_digest
from goldsmith.host.process import find_tool

pytestmark = pytest.mark.root

ROOT = """\
    partition "root" {
      type       = "root"
      filesystem = "%s"
      mount      = "/"
    }
"""


@pytest.fixture
def project(tmp_path, small_tree, goldsmith):
    """A directory for images of a tree that is a directory itself."""
    tree = tmp_path / "tree"
    tree.mkdir()
    tool("tar", "--extract", "--file", small_tree, "--directory", tree)
    # A plan by the files' size would give all of it its place.
    (tree / "etc/long").write_bytes(b"compresses well\n" * (2 << 20))
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, tree, goldsmith)


def require(*tools):
    missing = [name for name in tools if find_tool(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def from_directory(text):
    return text.replace('method = "tar"', 'method = "directory"')


def write(project, type, before):
    text = project.write(disk=before + ROOT % type)
    (project.path / "t.pkr.hcl").write_text(from_directory(text))


@pytest.mark.parametrize("type", ["squashfs", "erofs"])
def test_a_bare_image_is_as_long_as_its_compressed_files(project, type):
    require(f"mk{type}" if type == "squashfs" else "mkfs.erofs")
    write(project, type, '    label = "none"\n')
    dated = {"SOURCE_DATE_EPOCH": "1700000000"}
    project.built(env=dated)
    image, disk = project.image(), project.manifest()["disk"]
    length = image.stat().st_size
    assert disk["size_bytes"] == length == disk["partitions"][0]["size_bytes"]
    assert length < 20 << 20
    contents = read(project, image, 0, type)
    assert contents == (project.tree / "etc/long").read_bytes()
    digest = file_digest(image)
    project.built("-force", env=dated)
    assert file_digest(image) == digest


def test_a_compressed_partition_is_rounded_up_to_the_next_mebibyte(project):
    require("mksquashfs")
    write(project, "squashfs", "")
    project.built()
    (root,) = project.manifest()["disk"]["partitions"]
    assert root["size_bytes"] < 20 << 20
    said = tool("unsquashfs", "-s", "-o", str(root["offset_bytes"]), project.image())
    (used,) = [line.split()[2] for line in said.splitlines() if "Filesystem size" in line]
    assert 0 <= root["size_bytes"] - int(used) < 2 << 20
    assert read(project, project.image(), root["offset_bytes"], "squashfs")


def test_a_partition_that_is_too_small_is_refused_with_the_size_that_it_needs(project):
    require("mksquashfs")
    small = (ROOT % "squashfs").replace('type       = "root"', 'type = "root"\n      size = "1MiB"')
    text = project.write(disk=small)
    (project.path / "t.pkr.hcl").write_text(from_directory(text))
    assert 'partition "root" gets 1 MiB and needs ' in project.failed()


def read(project, image, offset_bytes, type):
    """The file of the tree, by the kernel's own driver or by what unpacks it."""
    if type in Path("/proc/filesystems").read_text().split():
        place = project.path / "mounted"
        place.mkdir()

        def look():
            tool("mount", "-t", type, "-o", f"ro,loop,offset={offset_bytes}", image, place)
            try:
                return (place / "etc/long").read_bytes()
            finally:
                tool("umount", place)

        try:
            return run_privately(look)
        finally:
            place.rmdir()
    if type == "squashfs":
        tool("unsquashfs", "-q", "-n", "-o", str(offset_bytes), "-d", project.path / "out", image)
        return (project.path / "out/etc/long").read_bytes()
    pytest.skip("this kernel has no erofs to read the image with")
