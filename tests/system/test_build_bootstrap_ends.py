"""A bootstrap ends with its step: what its programs mount and leave running is gone."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.root

TEMPLATE = """
source "image" "b" {{
  bootstrap {{
    method = "{method}"
    source = "{source}"
  }}
  disk {{
    partition "root" {{
      type       = "root"
      filesystem = "ext4"
      mount      = "/"
    }}
  }}
  firmware = []
  formats  = ["raw"]
}}
build {{
  sources = ["image.b"]
  provisioner "shell-local" {{
    inline = [
      "cat /proc/self/mountinfo > {seen}/mounts",
      "cat /proc/[0-9]*/cmdline | tr '\\\\0' ' ' > {seen}/processes",
    ]
  }}
}}
"""
# A program that behaves as the maintainer scripts of packages may.
WRAPPER = """#!/bin/sh
set -eu
mount -t tmpfs left-by-a-bootstrap {mount_point}
grep left-by-a-bootstrap /proc/self/mountinfo >{seen}/inside
setsid --fork sleep 987654321 >/dev/null 2>&1
cat /proc/[0-9]*/cmdline | tr '\\0' ' ' >>{seen}/inside
exec {program} "$@"
"""


@pytest.mark.parametrize(("method", "program"), [("tar", "tar"), ("directory", "cp")])
def test_mounts_and_daemons_end_with_the_step(goldsmith, small_tree, tmp_path, method, program):
    seen, mount_point, tools = (tmp_path / name for name in ("seen", "mount", "tools"))
    for directory in (seen, mount_point, tools):
        directory.mkdir()
    source = small_tree
    if method == "directory":
        source = tmp_path / "tree"
        source.mkdir()
        subprocess.run(["tar", "-xf", small_tree, "-C", source], check=True)
    wrapper = tools / program
    wrapper.write_text(
        WRAPPER.format(mount_point=mount_point, seen=seen, program=shutil.which(program))
    )
    wrapper.chmod(0o755)
    (tmp_path / "b.pkr.hcl").write_text(TEMPLATE.format(method=method, source=source, seen=seen))
    path = f"{tools}:{os.environ['PATH']}"
    goldsmith("build", "b.pkr.hcl", env={"PATH": path}, check=True)
    inside = (seen / "inside").read_text()
    assert "left-by-a-bootstrap" in inside
    assert "987654321" in inside
    assert "left-by-a-bootstrap" not in (seen / "mounts").read_text()
    processes = (seen / "processes").read_text()
    assert "goldsmith" in processes
    assert "987654321" not in processes
