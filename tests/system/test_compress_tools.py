"""What `compress` makes, taken apart by the programs that everybody has; the memory it takes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from peak_memory import peak_bytes

SIZE_BYTES = 192 << 20
MEMORY_BYTES = 150 << 20

UNPACKED = {
    "gz": ["gzip", "-dc"], "bgzf": ["gzip", "-dc"], "xz": ["xz", "-dc"], "bzip2": ["bzip2", "-dc"],
    "zst": ["zstd", "-dcq"], "lz4": ["lz4", "-dcq"], "tar": ["tar", "-xOf"],
    "tar.gz": ["tar", "-xzOf"], "tar.xz": ["tar", "-xJOf"], "tar.bzip2": ["tar", "-xjOf"],
    "tar.zst": ["tar", "--zstd", "-xOf"], "tar.bgzf": ["tar", "-xzOf"],
    "tar.lz4": ["tar", "--use-compress-program=lz4", "-xOf"],
}  # fmt: skip


def template(size: str, *blocks: str) -> str:
    body = "".join(blocks)
    return f"""\
source "file" "data" {{
  source = "{size}"
  target = "data.bin"
}}
build {{
  sources = ["source.file.data"]
{body}}}
"""


def compress(output: str, level: int | None = None) -> str:
    more = "" if level is None else f"\n    compression_level = {level}"
    return f"""\
  post-processor "compress" {{
    output              = "{output}"
    keep_input_artifact = true{more}
  }}
"""


@pytest.mark.parametrize("level", [None, 1, 9])
def test_the_system_s_programs_read_every_kind(goldsmith, tmp_path, level):
    content = b"".join(hashlib.sha256(b"%d" % (n // 8)).digest() for n in range(100_000))
    (tmp_path / "given").write_bytes(content)
    kinds = {kind: argv for kind, argv in UNPACKED.items() if "lz4" not in kind or _has_lz4()}
    blocks = [compress(f"made.{kind}", level) for kind in (*kinds, "zip", "unknown")]
    (tmp_path / "t.pkr.hcl").write_text(template("given", *blocks))
    goldsmith("build", "t.pkr.hcl", check=True)
    for kind, argv in kinds.items():
        made = tmp_path / f"made.{kind}"
        if argv[0] == "tar":
            done = subprocess.run([*argv, str(made)], check=True, capture_output=True)
        else:
            with made.open("rb") as stream:
                done = subprocess.run(argv, check=True, capture_output=True, stdin=stream)
        assert done.stdout == content, kind
    with zipfile.ZipFile(tmp_path / "made.zip") as box:
        assert box.testzip() is None
        assert box.read("data.bin") == content
    done = subprocess.run(["tar", "-xzOf", str(tmp_path / "made.unknown")], check=True,
                          capture_output=True)  # fmt: skip
    assert done.stdout == content


def _has_lz4() -> bool:
    return shutil.which("lz4") is not None


def test_a_large_file_takes_no_more_memory_than_a_small_one(tmp_path):
    with open(tmp_path / "given", "wb") as file:
        file.truncate(SIZE_BYTES)
    kinds = ("gz", "bgzf", "zst", "tar", "zip", "tar.zst")
    blocks = [compress(f"made.{kind}", 1) for kind in kinds]
    (tmp_path / "t.pkr.hcl").write_text(template("given", *blocks))
    words = [sys.executable, "-P", "-m", "goldsmith", "build", "t.pkr.hcl"]
    environment = {"GOLDSMITH_CACHE_DIR": str(tmp_path / "state")}
    assert peak_bytes(words, tmp_path, environment=environment) < MEMORY_BYTES
    with zipfile.ZipFile(tmp_path / "made.zip") as box:
        assert box.getinfo("data.bin").file_size == SIZE_BYTES
