#!/usr/bin/env python3
"""Measures what becomes of a filled ext4 in a gzip set: shrunk, packed, and all its digests.

Goldsmith's way stands beside fuel-agent's, done here by the same calls: one pass of resize2fs -M,
the whole raw image read for its MD5, read again into gzip of level 9 on one thread, the gzip file
read for its MD5. Goldsmith's includes SHA-256 of both, a digest of each used block, and the block
map. Both begin with a copy of the same image; the copies are not part of the times.

    benchmarks/image_set.py [--size 2GiB] [--runs 1] [--tree /usr]

Needs e2fsprogs, and some three times the size in the temporary directory (TMPDIR).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finish import make_image

from goldsmith.disk.block_map import render_bmap
from goldsmith.disk.containers import pack
from goldsmith.disk.shrink import shrink
from goldsmith.host.sparse import copy_sparse
from goldsmith.units import format_size, parse_size_bytes

WANTED = 0.2
"""The most that goldsmith may take of fuel-agent's time."""
CHUNK_BYTES = 1 << 20


def run_ours(image: Path) -> Path:
    """Shrink, then one pass."""
    shrink(image, "ext4")
    target = image.with_suffix(".ours.gz")
    packed = pack(image, target, "gzip", with_md5=True)
    image.with_suffix(".bmap").write_text(render_bmap(packed.raw.block_map))
    return target


def run_original(image: Path) -> Path:
    """Shrink, then three passes."""
    subprocess.run(["e2fsck", "-y", "-f", image], capture_output=True, check=False)
    subprocess.run(["resize2fs", "-M", image], capture_output=True, check=True)
    facts = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True)
    numbers = dict(re.findall(r"(?m)^(Block count|Block size): +(\d+)$", facts.stdout))
    os.truncate(image, int(numbers["Block count"]) * int(numbers["Block size"]))
    md5_of(image)
    target = image.with_suffix(".original.gz")
    with open(image, "rb") as reading, gzip.open(target, "wb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            writing.write(chunk)
    md5_of(target)
    return target


def md5_of(path: Path) -> str:
    """The digest, read in pieces."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


WAYS: dict[str, Callable[[Path], Path]] = {
    "goldsmith": run_ours,
    "fuel-agent's way": run_original,
}


def measure(work: Callable[[Path], Path], image: Path) -> tuple[float, int]:
    """Seconds by the clock, and the size of the packed file in bytes; nothing is left."""
    copy = image.with_name("copy.raw")
    copy_sparse(image, copy)
    os.sync()
    started_s = time.perf_counter()
    packed = work(copy)
    duration_s = time.perf_counter() - started_s
    size_bytes = packed.stat().st_size
    for path in image.parent.glob("copy*"):
        path.unlink()
    return duration_s, size_bytes


def main() -> int:
    """Make the image, compare, and clean up; returns 1 when the wanted ratio does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="2GiB", help="of the file system (2GiB)")
    parser.add_argument("--runs", type=int, default=1, help="of each way (1)")
    parser.add_argument("--tree", type=Path, default=Path("/usr"), help="where files come from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="goldsmith-image-set-") as directory:
        image = Path(directory, "image.raw")
        make_image(image, given.tree, parse_size_bytes(given.size))
        print(f"ext4 of {given.size}, half full, medians of {given.runs} runs", flush=True)
        made: dict[str, list[tuple[float, int]]] = {name: [] for name in WAYS}
        for _ in range(given.runs):
            for name, work in WAYS.items():
                made[name].append(measure(work, image))
    for name, runs in made.items():
        median_s = statistics.median(duration_s for duration_s, _ in runs)
        print(f"{name:18} {median_s:8.2f} s  {format_size(runs[0][1]):>10}")
    ours, original = made.values()
    ratio = statistics.median(
        mine / theirs for (mine, _), (theirs, _) in zip(ours, original, strict=True)
    )
    print(f"{ratio:.3f} of fuel-agent's way, wanted at most {WANTED}")
    return 0 if ratio <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
