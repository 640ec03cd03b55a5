"""What an image build refuses at once, rather than after minutes of work."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.root

TEMPLATE = """
source "image" "p" {{
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
  firmware         = []
  formats          = ["{format}"]
  output_directory = "{output}"
}}
build {{
  sources = ["image.p"]
{post}
}}
"""
BOOT_TEST = 'post-processor "boot-test" {}'
ON_BIOS = 'post-processor "boot-test" {\n  firmware = ["bios"]\n}'
CASES = {
    "format": ({"format": "vmdk", "post": ON_BIOS}, "found no image that it can boot"),
    "firmware": ({"post": BOOT_TEST}, "has no firmware to boot on"),
    "archive": (
        {"post": f'post-processors {{\npost-processor "compress" {{}}\n{ON_BIOS}\n}}'},
        "found no image that it can boot",
    ),
    "output": ({"output": "p.pkr.hcl/output"}, "cannot write to the output directory"),
    "output in /proc": ({"output": "/proc/below"}, "cannot write to the output directory"),
    "output in /sys": ({"output": "/sys/fs/below/it"}, "cannot write to the output directory"),
    "directory for tar": ({"source": "."}, "is a directory, not an archive"),
    "file for directory": ({"method": "directory"}, "is a file, not a directory"),
    "no tree": ({"method": "directory", "source": "."}, "is not a root file system"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_before_anything_is_made(goldsmith, small_tree, tmp_path, case):
    changes, message = CASES[case]
    given = {"method": "tar", "source": small_tree, "format": "raw", "output": "output",
             "post": "", **changes}  # fmt: skip
    (tmp_path / "p.pkr.hcl").write_text(TEMPLATE.format(**given))
    result = goldsmith("build", "p.pkr.hcl")
    assert result.status == 1, result
    assert message in result.stdout, result
    assert "Taking the tree" not in result.stdout
    assert not (tmp_path / "output").exists()
    runs = goldsmith.state / "runs"
    assert not runs.exists() or [n for n in os.listdir(runs) if not n.startswith(".")] == []
