"""A build that writes every format: its files, and what the manifest says of them."""

import json
import os

import pytest
from disk_trees import tool
from small_image import Project

from goldsmith.disk.block_map import BlockMap, check_image
from goldsmith.disk.container_reader import open_container
from goldsmith.disk.formats import FORMATS
from goldsmith.host.digests import file_digest

pytestmark = pytest.mark.root


@pytest.fixture
def project(tmp_path, small_tree, goldsmith):
    return Project(tmp_path, small_tree, goldsmith)


def test_one_build_writes_every_format_and_describes_them(project):
    names = ", ".join(f'"{name}"' for name in FORMATS)
    project.write(options=f"formats = [{names}]")
    project.built()
    manifest = project.manifest()
    raw = manifest["raw"]
    assert len(manifest["files"]) == len(FORMATS)
    for name, found in FORMATS.items():
        entry = manifest["files"][f"small.{found.extension}"]
        path = project.image(f"small.{found.extension}")
        assert entry == {
            "format": name, "size_bytes": path.stat().st_size, "sha256": file_digest(path),
            "raw_sha256": raw["sha256"],
        }  # fmt: skip
    assert raw["sha256"] == file_digest(project.image())
    assert raw["size_bytes"] == manifest["disk"]["size_bytes"] == os.stat(project.image()).st_size
    check_image(project.image(), BlockMap.from_json(raw["block_map"]))
    for ending in ("gz", "zst"):
        packed = project.image(f"small.raw.{ending}")
        pieces = open_container(packed, size_bytes=raw["size_bytes"], sha256=raw["sha256"])
        assert sum(map(len, pieces)) == raw["size_bytes"]


def test_without_a_raw_file_the_manifest_knows_the_raw_image(project):
    project.write(options='formats = ["raw.zst"]')
    project.built()
    assert {path.name for path in project.output.iterdir()} == {
        "small.raw.zst", "small.manifest.json",
    }  # fmt: skip
    raw = project.manifest()["raw"]
    for _ in open_container(
        project.image("small.raw.zst"), size_bytes=raw["size_bytes"], sha256=raw["sha256"]
    ):
        pass


@pytest.mark.parametrize("compression", ["zstd", "zlib"])
def test_the_clusters_of_qcow2_are_compressed_as_the_template_says(project, compression):
    project.write(options=f'formats = ["qcow2"]\n  compression = "{compression}"')
    project.built()
    said = tool("qemu-img", "info", "--output=json", project.image("small.qcow2"))
    assert json.loads(said)["format-specific"]["data"]["compression-type"] == compression


def test_compression_without_qcow2_is_refused_with_its_place(project):
    project.write(options='formats = ["raw"]\n  compression = "zlib"')
    said = project.failed()
    assert '"qcow2" is not among the formats' in said
    assert "on t.pkr.hcl:16:" in said
