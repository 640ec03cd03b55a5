#!/usr/bin/env python3
"""Rebuilds from the step cache against the cold build of the same image, in one run.

The example image with its boot test: cold, unchanged, with another last provisioner, with a package
more, each from a cache of its own that the cold build has filled. With `--peer` diskimage-builder
does the same with its caches on: its downloads and its base image are kept, as its users have it.

    benchmarks/rebuild.py [--runs 3] [--peer] [--check]

Needs root. Limits: unchanged 1 s and 1 % of cold, last provisioner (without boot test) 25 % of it.
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
from pathlib import Path

from other_builders import DiskImageBuilder, disk_image_builder

from goldsmith.packages.mirrors import sources_for

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TEMPLATE = "debian.pkr.hcl"
SUITE = "bookworm"
UNCHANGED_LIMIT_S = 1.0
UNCHANGED_LIMIT = 0.01
PROVISIONER_LIMIT = 0.25


def timed(argv: list[str], cwd: Path, environment: dict[str, str]) -> float:
    """The seconds that a program takes; its output is shown when it fails."""
    started_s = time.monotonic()
    done = subprocess.run(
        argv, check=False, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    took_s = time.monotonic() - started_s
    if done.returncode != 0:
        print(done.stdout[-4000:])
        sys.exit(f"{' '.join(argv)[:200]} ended with status {done.returncode}")
    return took_s


def with_another_provisioner(text: str) -> str:
    """The template with one more line in a provisioner at the end of its build."""
    addition = '\n  provisioner "shell" {\n    inline = ["date >/etc/built-once"]\n  }\n'
    at = text.index("  post-processor ")
    return text[:at] + addition.lstrip("\n") + "\n" + text[at:]


def with_another_package(text: str) -> str:
    """The template with one small package more."""
    at = text.index("packages")
    end = text.index("]", at)
    return text[:end].rstrip().rstrip(",") + ',\n      "tmux",\n    ' + text[end:]


def measure_goldsmith(place: Path) -> dict[str, float]:
    """The four builds, one after the other."""
    build = [sys.executable, "-m", "goldsmith", "build"]
    environment = {"GOLDSMITH_CACHE_DIR": str(place / "cache")}
    work = place / "work"
    shutil.copytree(EXAMPLES, work)
    template, text = work / TEMPLATE, (work / TEMPLATE).read_text()
    times = {"cold": timed([*build, TEMPLATE], work, environment)}
    times["unchanged"] = timed([*build, TEMPLATE], work, environment)
    template.write_text(with_another_provisioner(text))
    times["last provisioner"] = timed([*build, "-except=boot-test", TEMPLATE], work, environment)
    template.write_text(with_another_package(text))
    times["one package more"] = timed([*build, "-except=boot-test", TEMPLATE], work, environment)
    return times


def measure_peer(place: Path, peer: DiskImageBuilder) -> dict[str, float]:
    """diskimage-builder: cold, then thrice with what it keeps. It tells no step from another."""
    sources = sources_for(SUITE, "")

    def build(*words: str) -> float:
        with tempfile.TemporaryDirectory(prefix="work.", dir=place) as directory:
            environment = peer.environment(Path(directory), SUITE, sources)
            environment["DIB_IMAGE_CACHE"] = str(place / "cache")
            return timed([*peer.command(Path(directory, "image")), *words], place, environment)

    return {
        "cold": build(), "unchanged": build(), "last provisioner": build(),
        "one package more": build("-p", "tmux"),
    }  # fmt: skip


def main() -> int:
    """Measure, print, and compare with the limits when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this needs root")
    rows: dict[str, dict[str, list[float]]] = {"goldsmith": {}}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="rebuild.", dir="/var/tmp") as directory:
            Path(directory).chmod(0o755)
            for name, took_s in measure_goldsmith(Path(directory)).items():
                rows["goldsmith"].setdefault(name, []).append(took_s)
    if options.peer:
        with disk_image_builder(Path("/var/tmp")) as peer:
            for _ in range(options.runs if peer is not None else 0):
                with tempfile.TemporaryDirectory(prefix="rebuild.", dir="/var/tmp") as directory:
                    assert peer is not None
                    for name, took_s in measure_peer(Path(directory), peer).items():
                        rows.setdefault("diskimage-builder", {}).setdefault(name, []).append(took_s)
    return report(rows, check=options.check)


def report(rows: dict[str, dict[str, list[float]]], *, check: bool) -> int:
    """Print the medians; 1 when a limit is passed and `check` is set."""
    for side, times in rows.items():
        cold_s = statistics.median(times["cold"])
        print(f"{side}:")
        for name, all_s in times.items():
            median_s = statistics.median(all_s)
            print(f"  {name:<18} {median_s:8.2f} s  {median_s / cold_s:7.2%} of cold"
                  f"  (all: {', '.join(f'{one:.2f}' for one in all_s)})")  # fmt: skip
    ours = {name: statistics.median(times) for name, times in rows["goldsmith"].items()}
    wrong = []
    if ours["unchanged"] > min(UNCHANGED_LIMIT_S, UNCHANGED_LIMIT * ours["cold"]):
        wrong.append("unchanged")
    if ours["last provisioner"] > PROVISIONER_LIMIT * ours["cold"]:
        wrong.append("last provisioner")
    for name in wrong:
        print(f"over the limit: {name}")
    return 1 if wrong and check else 0


if __name__ == "__main__":
    sys.exit(main())
