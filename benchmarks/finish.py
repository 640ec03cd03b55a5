#!/usr/bin/env python3
"""Measures the last step of a build: a file system image into gzip, zstd and qcow2.

Each of goldsmith's ways stands beside the plain tool that people would run. The runs alternate, so
that a busy machine disturbs all alike; printed are the medians by the clock and by the processors,
and the median of the ratios of the runs of one round. What goldsmith does includes the digests of
the raw image, of the file, and of every used block; the zstd to beat has its level and threads.

    benchmarks/finish.py [--size 1844MiB] [--runs 5] [--tree /usr] [--only gzip,zstd,qcow2]

Needs e2fsprogs, qemu-utils, gzip and zstd, and some three times the size in the temporary
directory (TMPDIR).

Where the time goes (2 cores with SHA instructions, image half holes): both processors are busy to
the end of the data, so what counts is the sum. Of some 6 s of processor time zstd takes 3.5 to 4,
SHA-256 of the whole 1.1 (1.7 GB/s, holes included: there is no shorter way over zeros), that of the
used blocks 0.6, that of the file 0.15, reading from the page cache 0.4. The digest of the whole is
one chain: over the holes at the image's end (0.5 s here, next to none in an image of automatic
size) it runs alone. To run ahead of the compressors it would have to read the image a second time,
and then nobody knew that what was hashed is what was compressed. The file is on its way to the disk
while it grows: the fsync at the end, 0.2 s before, has nothing left to wait for.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from goldsmith.disk.formats import write_all
from goldsmith.host.sparse import mapped_bytes, punch_zeros
from goldsmith.units import format_size, parse_size_bytes

OURS = {"gzip": "raw.gz", "zstd": "raw.zst", "qcow2": "qcow2"}
PLAIN = {
    "gzip": {"gzip -9": ["gzip", "-9", "-c", "-n"]},
    "zstd": {"zstd": ["zstd", "-q", "-c"], "zstd -T0": ["zstd", "-q", "-c", "-T0"]},
    "qcow2": {"qemu-img convert -c": ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"]},
}
WANTED = {"gzip": ("gzip -9", 0.2), "zstd": ("zstd -T0", 1.2)}
"""The ratios that must hold: ours to this tool."""


def make_image(path: Path, tree: Path, size_bytes: int) -> None:
    """An ext4 of that size with files of the tree, about half full, its free blocks holes."""
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        staged = Path(name)
        left = size_bytes // 2
        for source in sorted(tree.rglob("*")):
            if source.is_symlink() or not source.is_file():
                continue
            left -= source.stat().st_size
            if left < 0:
                break
            target = staged / source.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        path.touch()
        os.truncate(path, size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", staged, path], check=True)
    punch_zeros(path)


def run_ours(image: Path, target: Path, format: str) -> None:
    """One of goldsmith's ways."""
    write_all(image, {format: target}, epoch_s=0)


def run_plain(image: Path, target: Path, argv: list[str]) -> None:
    """The plain tool, its file fsynced as ours is."""
    if argv[0] == "qemu-img":
        subprocess.run([*argv, image, target], check=True)
    else:
        with open(image, "rb") as reading, open(target, "wb") as writing:
            subprocess.run(argv, stdin=reading, stdout=writing, check=True)
    with open(target, "rb") as written:
        os.fsync(written.fileno())


def hash_alone(image: Path) -> float:
    """How long one processor takes for the digest of the whole; the page cache is warm then."""
    with open(image, "rb", buffering=0) as stream:
        started_s = time.perf_counter()
        hashlib.file_digest(stream, "sha256")
        return time.perf_counter() - started_s


@dataclass(frozen=True)
class Measured:
    """One run: by the clock, by the processors, and how large the file became."""

    duration_s: float
    cpu_s: float
    size_bytes: int


def measure(work: Callable[[Path], None], target: Path) -> Measured:
    """Run once; the file is removed."""
    cpu_before_s, started_s = sum(os.times()[:4]), time.perf_counter()
    work(target)
    duration_s = time.perf_counter() - started_s
    cpu_s = sum(os.times()[:4]) - cpu_before_s
    size_bytes = target.stat().st_size
    target.unlink()
    return Measured(duration_s, cpu_s, size_bytes)


def compare(image: Path, kind: str, runs: int) -> bool:
    """Print the table of one kind; returns whether the wanted ratio holds."""
    ours = f"goldsmith {OURS[kind]}"
    ways: dict[str, Callable[[Path], None]] = {
        ours: lambda target: run_ours(image, target, OURS[kind]),
        **{
            name: lambda target, argv=argv: run_plain(image, target, argv)  # type: ignore[misc]
            for name, argv in PLAIN[kind].items()
        },
    }
    made: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            made[name].append(measure(work, image.with_name("target")))
    ratios = {
        name: statistics.median(
            mine.duration_s / run.duration_s
            for mine, run in zip(made[ours], made[name], strict=True)
        )
        for name in ways
    }
    for name, measured in made.items():
        duration_s = statistics.median(run.duration_s for run in measured)
        cpu_s = statistics.median(run.cpu_s for run in measured)
        size = format_size(measured[0].size_bytes)
        ratio = "" if name == ours else f"  ratio {ratios[name]:.2f}"
        print(f"{name:22} {duration_s:8.2f} s  cpu {cpu_s:7.2f} s  {size:>10}{ratio}", flush=True)
    if kind not in WANTED:
        return True
    plain, largest = WANTED[kind]
    print(f"{'':22} {ratios[plain]:.2f} of {plain}, wanted at most {largest}", flush=True)
    return ratios[plain] <= largest


def main() -> int:
    """Make the image, compare, and clean up; returns 1 when a wanted ratio does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="1844MiB", help="of the file system image")
    parser.add_argument("--runs", type=int, default=5, help="of each way (5)")
    parser.add_argument("--tree", type=Path, default=Path("/usr"), help="where files come from")
    parser.add_argument("--only", default=",".join(OURS), help="which of gzip,zstd,qcow2")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="goldsmith-finish-") as directory:
        image = Path(directory, "image.raw")
        make_image(image, given.tree, parse_size_bytes(given.size))
        os.sync()
        size, data = format_size(image.stat().st_size), format_size(mapped_bytes(image))
        print(f"ext4 of {size}, {data} of it data, medians of {given.runs} runs")
        digest_s = hash_alone(image)
        print(f"sha256 of its bytes alone {digest_s:.2f} s")
        for kind in given.only.split(","):
            good = compare(image, kind, given.runs) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
