"""A whole build whose tree comes from the image of another machine."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.root

TEMPLATE = """
source "image" "b" {
  bootstrap {
    method = "image"
    source = "old.qcow2"
  }
  disk {
    partition "root" {
      type       = "root"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware = []
  formats  = ["raw"]
}
build {
  sources = ["image.b"]
  provisioner "shell" {
    inline = ["test -e /from-the-image", "echo new > /made"]
  }
}
"""


def test_an_image_made_of_an_image(goldsmith, small_tree, tmp_path):
    tree, raw = tmp_path / "tree", tmp_path / "old.raw"
    tree.mkdir()
    subprocess.run(["tar", "-xf", small_tree, "-C", tree], check=True)
    (tree / "from-the-image").write_text("old")
    with raw.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, raw], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "old.qcow2"], check=True)
    (tmp_path / "b.pkr.hcl").write_text(TEMPLATE)
    goldsmith("build", "b.pkr.hcl", check=True)
    manifest = json.loads((tmp_path / "output/b.manifest.json").read_text())
    (root,) = manifest["disk"]["partitions"]
    shown = subprocess.run(
        ["debugfs", "-R", "cat /made", f"{tmp_path}/output/b.raw?offset={root['offset_bytes']}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout == "new\n"
