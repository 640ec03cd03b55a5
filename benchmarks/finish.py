#!/usr/bin/env python3
"""Measures the last step of a build: a file system image into gzip, zstd and qcow2.

Each of goldsmith's ways stands beside the plain tool that people would run. The runs alternate, so
that a busy machine disturbs all alike; medians and their ratios are printed. What goldsmith does
includes the digests of the raw image, of the file, and of every used block.

    benchmarks/finish.py [--size 1844MiB] [--runs 3] [--tree /usr] [--only gzip,zstd,qcow2]

Needs e2fsprogs, qemu-utils, gzip and zstd, and some three times the size in the temporary
directory (TMPDIR).
"""

from __future__ import annotations

import argparse
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
WANTED = {"gzip": ("gzip -9", 0.2), "zstd": ("zstd", 1.2)}
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
    medians = {name: statistics.median(run.duration_s for run in made[name]) for name in ways}
    for name, median_s in medians.items():
        cpu_s = statistics.median(run.cpu_s for run in made[name])
        size = format_size(made[name][0].size_bytes)
        ratio = medians[ours] / median_s
        print(f"{name:22} {median_s:8.2f} s  cpu {cpu_s:7.2f} s  {size:>10}  ratio {ratio:.2f}")
    if kind not in WANTED:
        return True
    plain, largest = WANTED[kind]
    ratio = medians[ours] / medians[plain]
    print(f"{'':22} {ratio:.2f} of {plain}, wanted at most {largest}")
    return ratio <= largest


def main() -> int:
    """Make the image, compare, and clean up; returns 1 when a wanted ratio does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="1844MiB", help="of the file system image")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tree", type=Path, default=Path("/usr"), help="where files come from")
    parser.add_argument("--only", default=",".join(OURS), help="which of gzip,zstd,qcow2")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="goldsmith-finish-") as directory:
        image = Path(directory, "image.raw")
        make_image(image, given.tree, parse_size_bytes(given.size))
        size, data = format_size(image.stat().st_size), format_size(mapped_bytes(image))
        print(f"ext4 of {size}, {data} of it data, medians of {given.runs} runs")
        for kind in given.only.split(","):
            good = compare(image, kind, given.runs) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
