#!/usr/bin/env python3
"""What the build engine itself costs: sources without a machine, provisioners that do nothing.

Two templates, each built by goldsmith and, where it is installed, by packer in the same run: one
null source with 1,000 shell-local provisioners, and 200 null sources with 10 each. Printed are the
time by the clock, the most memory that the command itself took (its programs not counted), and by
how much it grew from the second quarter of its time to the last.

    benchmarks/engine.py [--provisioners 1000] [--sources 200] [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("goldsmith")
MOST_OF_PACKER = 0.1
MOST_MEMORY_MIB = 150.0
MOST_GROWTH_MIB = 10.0
PER_SOURCE = 10
POLL_S = 0.05


@dataclass(frozen=True)
class Measured:
    """One run of one program."""

    wall_s: float
    memory_mib: float
    growth_mib: float


def template(sources: int, provisioners: int) -> str:
    """A template of null sources, every one with so many provisioners."""
    names = [f"s{number}" for number in range(sources)]
    blocks = [f'source "null" "{name}" {{\n  communicator = "none"\n}}\n' for name in names]
    listed = ", ".join(f'"null.{name}"' for name in names)
    once = '  provisioner "shell-local" {\n    inline = ["true"]\n  }\n'
    return "".join(blocks) + f"build {{\n  sources = [{listed}]\n{once * provisioners}}}\n"


def memory_mib(pid: int) -> tuple[float, float]:
    """The most memory that a process, or packer's own child, has taken so far, and what it has."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    most, now = 0.0, 0.0
    for number in (str(pid), *children):
        with open(f"/proc/{number}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        if fields["Name"].strip() in ("packer", "goldsmith", "python3", "python"):
            most = max(most, int(fields.get("VmHWM", "0 kB").split()[0]) / 1024)
            now = max(now, int(fields.get("VmRSS", "0 kB").split()[0]) / 1024)
    return most, now


def growth_mib(samples: list[float]) -> float:
    """How much more there was in the last quarter of a run than in its second one."""
    quarter = len(samples) // 4
    if not quarter:
        return 0.0
    return max(0.0, max(samples[-quarter:]) - max(samples[quarter : 2 * quarter]))


def measured(argv: list[str], directory: Path) -> Measured:
    """Run once, in silence; raises CalledProcessError for a status other than 0."""
    environment = {
        **os.environ, "HOME": str(directory), "TMPDIR": str(directory), "CHECKPOINT_DISABLE": "1",
        "PACKER_NO_COLOR": "1", "GOLDSMITH_CACHE_DIR": str(directory / "cache"),
    }  # fmt: skip
    started_s, most = time.perf_counter(), 0.0
    samples: list[float] = []
    with subprocess.Popen(
        argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as running:
        while running.poll() is None:
            # A process may just have ended.
            with contextlib.suppress(OSError, KeyError, ValueError):
                so_far, now = memory_mib(running.pid)
                most = max(most, so_far)
                samples.append(now)
            time.sleep(POLL_S)
        wall_s = time.perf_counter() - started_s
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, argv)
    return Measured(wall_s, most, growth_mib(samples))


def run(label: str, text: str, directory: Path) -> list[str]:
    """Measure and print one template; returns what is worse than it may be."""
    (directory / "t.pkr.hcl").write_text(text)
    words = ["build", "-color=false", "t.pkr.hcl"]
    ours = measured([str(PROGRAM), *words], directory)
    print(f"{label}: goldsmith {ours.wall_s:.1f} s, {ours.memory_mib:.0f} MiB, "
          f"grown by {ours.growth_mib:.1f} MiB", flush=True)  # fmt: skip
    wrong = []
    if ours.memory_mib > MOST_MEMORY_MIB:
        wrong.append(f"{label}: {ours.memory_mib:.0f} MiB, not {MOST_MEMORY_MIB:.0f}")
    if ours.growth_mib > MOST_GROWTH_MIB:
        wrong.append(f"{label}: grew by {ours.growth_mib:.0f} MiB, not {MOST_GROWTH_MIB:.0f}")
    packer = shutil.which("packer")
    if packer is None:
        print(f"{label}: packer is not installed")
        return wrong
    try:
        theirs = measured([packer, *words], directory)
    except subprocess.CalledProcessError as e:
        print(f"{label}: packer failed with status {e.returncode}: a busy host is too slow for it")
        return wrong
    part = ours.wall_s / theirs.wall_s
    print(f"{label}: packer {theirs.wall_s:.1f} s, {theirs.memory_mib:.0f} MiB; "
          f"goldsmith takes {part:.3f} of its time", flush=True)  # fmt: skip
    if part > MOST_OF_PACKER:
        wrong.append(f"{label}: {part:.3f} of packer's time, not {MOST_OF_PACKER}")
    return wrong


def main() -> int:
    """Measure; with --check 1 when something is worse than it may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--provisioners", type=int, default=1000)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        directory = Path(name)
        wrong = run(f"1 x {given.provisioners}", template(1, given.provisioners), directory)
        wrong += run(f"{given.sources} x {PER_SOURCE}", template(given.sources, PER_SOURCE),
                     directory)  # fmt: skip
    for text in wrong:
        print(f"too much: {text}")
    return 1 if wrong and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
