#!/usr/bin/env python3
"""Measures a deployment's copy: a file system image onto a loop device, and a set's one image.

goldsmith copies by the block map, as it does for an image of a set: the map is compared with the
digest of its contents, every range with the map before it is written. Beside it stand `dd` and the
MD5 of what is then read back from the device (fuel-agent's way), and bmaptool with the same image
and map; for `set`, fuel-agent's three passes (MD5, gzip of level 9 on one thread, MD5). The runs
alternate, so that a busy machine disturbs all alike; printed are the medians by the clock and by
the processors (of all processes, also of the decompressor that bmaptool does not wait for), and the
medians of the ratios of the runs of one round, by both. What was written is compared with the image
after each run.

    benchmarks/deploy.py [--size 2GiB] [--runs 5] [--tree /usr] [--only raw,zstd,gzip,set]

Needs root, e2fsprogs, bmap-tools, and some five times the size in the temporary directory (TMPDIR).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finish import make_image

from goldsmith.deploy.copying.copy import copy_image
from goldsmith.deploy.copying.images import ImageToCopy
from goldsmith.disk.block_map import BLOCK_BYTES, render_bmap
from goldsmith.disk.containers import RawContents, describe, pack
from goldsmith.events import Emitter
from goldsmith.host.loop import attached
from goldsmith.host.sparse import mapped_bytes
from goldsmith.units import format_size, parse_size_bytes

WANTED = {"dd, then md5 of the device": 0.4, "bmaptool": 1.3, "md5, gzip -9, md5": 0.2}
"""The largest ratio of ours to each; that to dd counts for the raw image, as dd reads it."""
PACKED = {"zstd": "zst", "gzip": "gz"}
CHUNK_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Files:
    """The image, what was made of it, and what is known of it."""

    image: Path
    device: Path
    contents: RawContents

    def packed(self, kind: str) -> Path:
        """The image in a container."""
        return self.image if kind == "raw" else self.image.with_suffix(f".{PACKED[kind]}")

    @property
    def bmap(self) -> Path:
        """The block map in bmaptool's form."""
        return self.image.with_suffix(".bmap")


def by_goldsmith(files: Files, kind: str) -> None:
    """Our copy: map, range digests and the digest of the whole."""
    image = ImageToCopy(
        uris=(str(files.packed(kind)),), container=kind, size_bytes=files.contents.size_bytes,
        digests={"sha256": files.contents.sha256}, block_map=files.contents.block_map,
        contents_sha256=files.contents.block_map.contents_sha256,
    )  # fmt: skip
    copy_image(image, files.device, emit=Emitter("deploy", lambda event: None))


def by_dd(files: Files, kind: str) -> None:
    """All bytes written, then the checksum of what the device gives back."""
    command = ["dd", f"of={files.device}", "bs=1M", "conv=fsync", "status=none"]
    if kind == "raw":
        subprocess.run([*command, f"if={files.image}"], check=True)
    else:
        unpack = {"gzip": "gzip", "zstd": "zstd"}[kind]
        argv = [unpack, "-dc", files.packed(kind)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as unpacking:
            subprocess.run(command, stdin=unpacking.stdout, check=True)
    subprocess.run(["blockdev", "--flushbufs", files.device], check=True)
    read_digest(files.device, files.contents.size_bytes, "md5")


def by_bmaptool(files: Files, kind: str) -> None:
    """The same image and map."""
    subprocess.run(
        ["bmaptool", "--quiet", "copy", "--bmap", files.bmap, files.packed(kind), files.device],
        check=True,
    )


def read_digest(path: Path, size_bytes: int, algorithm: str) -> str:
    """The digest of the first bytes of a file or device."""
    digest, left = hashlib.new(algorithm, usedforsecurity=False), size_bytes
    with open(path, "rb", buffering=0) as stream:
        while left and (data := stream.read(min(left, CHUNK_BYTES))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


def set_by_goldsmith(files: Files, kind: str) -> None:
    """One pass: sizes, digests (both MD5 among them), the map, and gzip."""
    pack(files.image, files.image.with_name("set.gz"), "gzip", with_md5=True)


def set_by_three_passes(files: Files, kind: str) -> None:
    """What fuel-agent does with a finished raw image."""
    target = files.image.with_name("set.gz")
    read_digest(files.image, files.contents.size_bytes, "md5")
    with open(files.image, "rb") as reading, gzip.open(target, "wb", compresslevel=9) as writing:
        shutil.copyfileobj(reading, writing, CHUNK_BYTES)
    read_digest(target, target.stat().st_size, "md5")


Way = Callable[[Files, str], None]
COPIES: Mapping[str, Way] = {
    "goldsmith": by_goldsmith, "dd, then md5 of the device": by_dd, "bmaptool": by_bmaptool,
}  # fmt: skip
SETS: Mapping[str, Way] = {"goldsmith": set_by_goldsmith, "md5, gzip -9, md5": set_by_three_passes}


def measure(way: Way, files: Files, kind: str) -> tuple[float, float]:
    """Seconds by the clock and by the processors."""
    cpu_before_s, started_s = sum(os.times()[:4]), time.perf_counter()
    way(files, kind)
    duration_s = time.perf_counter() - started_s
    # bmaptool ends without a look at its decompressor: its time belongs to it all the same.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return duration_s, sum(os.times()[:4]) - cpu_before_s


def compare(files: Files, kind: str, runs: int) -> bool:
    """Print the table of one kind; returns whether the wanted ratios hold."""
    ways = dict(SETS if kind == "set" else COPIES)
    if shutil.which("bmaptool") is None and ways.pop("bmaptool", None):
        print("LEFT OUT: bmaptool is not installed (apt-get install bmap-tools)", flush=True)
    made: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            os.sync()
            made[name].append(measure(way, files, kind))
            if kind == "set":
                files.image.with_name("set.gz").unlink()
            else:
                require_copied(files)
    good = True
    for name, runs_of in made.items():
        ratio, cpu_ratio = (
            statistics.median(
                ours[at] / theirs[at]
                for ours, theirs in zip(made["goldsmith"], runs_of, strict=True)
            )
            for at in (0, 1)
        )
        clock_s, cpu_s = (statistics.median(run[at] for run in runs_of) for at in (0, 1))
        line = f"{kind:5} {name:27} {clock_s:8.2f} s  cpu {cpu_s:7.2f} s"
        wanted = WANTED.get(name)
        if wanted is not None and (kind == "raw" or not name.startswith("dd")):
            good = good and ratio <= wanted
            line += f"  ratio {ratio:.2f}, wanted at most {wanted}; cpu {cpu_ratio:.2f}"
        elif name != "goldsmith":
            line += f"  ratio {ratio:.2f}; cpu {cpu_ratio:.2f}"
        print(line, flush=True)
    return good


def require_copied(files: Files) -> None:
    """Fail unless the device has the image; then its first block, which is used, is another.

    bmaptool leaves what is in the blocks that the map does not have.
    """
    found = read_digest(files.device, files.contents.size_bytes, "sha256")
    assert found == files.contents.sha256, "the device has not the image"
    with open(files.device, "r+b", buffering=0) as device:
        device.write(b"\xa5" * BLOCK_BYTES)


def become_subreaper() -> None:
    """Inherit the children that other programs leave behind (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def main() -> int:
    """Make the image, compare, and clean up; returns 1 when a wanted ratio does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="2GiB", help="of the file system image")
    parser.add_argument("--runs", type=int, default=5, help="of each way (5)")
    parser.add_argument("--tree", type=Path, default=Path("/usr"), help="where files come from")
    parser.add_argument("--only", default="raw,zstd,gzip,set", help="which of raw,zstd,gzip,set")
    given = parser.parse_args()
    kinds = given.only.split(",")
    become_subreaper()
    good = True
    with tempfile.TemporaryDirectory(prefix="goldsmith-deploy-") as directory:
        image, disk = Path(directory, "image.raw"), Path(directory, "disk")
        make_image(image, given.tree, parse_size_bytes(given.size))
        contents = describe(image)
        image.with_suffix(".bmap").write_text(render_bmap(contents.block_map))
        for kind, ending in PACKED.items():
            if kind in kinds:
                pack(image, image.with_suffix(f".{ending}"), kind)
        with open(disk, "xb") as stream:
            stream.truncate(contents.size_bytes)
        size, data = format_size(contents.size_bytes), format_size(mapped_bytes(image))
        print(f"ext4 of {size}, {data} of it data, medians of {given.runs} runs", flush=True)
        with attached(disk) as device:
            files = Files(image, device.path, contents)
            for kind in kinds:
                good = compare(files, kind, given.runs) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
