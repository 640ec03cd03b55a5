#!/usr/bin/env python3
"""How long goldsmith takes to answer, in units of what Python takes to do nothing.

`--version` and `--help` import none of the libraries; `validate` of the example reads a template,
loads the models of its components and checks them; `build` makes nothing of the source `null`,
which is what every build takes besides its steps. The runs alternate with `python -c pass`, so
that a busy machine disturbs all alike; medians are printed, by the clock and by the processors.

    benchmarks/start_up.py [--runs 21] [--check]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).with_name("goldsmith")
TEMPLATE = ROOT / "examples/debian.pkr.hcl"
NOTHING = """\
source "null" "nothing" {
  communicator = "none"
}
build {
  sources = ["source.null.nothing"]
}
"""

PYTHON = "python -c pass"
COMMANDS = {
    PYTHON: [sys.executable, "-c", "pass"],
    "goldsmith --version": [str(PROGRAM), "--version"],
    "goldsmith --help": [str(PROGRAM), "--help"],
    "goldsmith validate": [str(PROGRAM), "validate", str(TEMPLATE)],
    "goldsmith build": [str(PROGRAM), "build", "nothing.pkr.hcl"],
}
LIMITS = {"goldsmith --version": 4.0, "goldsmith --help": 4.0}
"""The most that each may take, in times of Python's own start."""


@dataclass
class Times:
    """Every run of one command."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def add(self, argv: list[str], place: str) -> None:
        """Run once in a directory, in silence; what it keeps stays there."""
        environment = {**os.environ, "GOLDSMITH_CACHE_DIR": place}
        before, started_s = os.times(), time.perf_counter()
        done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True,
                              cwd=place, env=environment)  # fmt: skip
        self.wall_s.append(time.perf_counter() - started_s)
        after = os.times()
        self.cpu_s.append(
            after.children_user - before.children_user
            + after.children_system - before.children_system
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode()}")


def measure(runs: int) -> dict[str, Times]:
    """Run all in turn; the first round warms the page cache and is not counted."""
    found = {name: Times() for name in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "nothing.pkr.hcl").write_text(NOTHING)
        for argv in COMMANDS.values():
            Times().add(argv, place)
        for _ in range(runs):
            for name, argv in COMMANDS.items():
                found[name].add(argv, place)
    return found


def main() -> int:
    """Measure and print; with --check returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=21, help="runs of each command (21)")
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    given = parser.parse_args()
    found = measure(given.runs)
    python_s = statistics.median(found[PYTHON].wall_s)
    missed = False
    print(f"medians of {given.runs} runs, in turn")
    for name, times in found.items():
        wall_s = statistics.median(times.wall_s)
        limit = LIMITS.get(name)
        missed = missed or (limit is not None and wall_s / python_s > limit)
        wanted = "" if limit is None else f"  (limit {limit:.1f} x)"
        cpu_s = statistics.median(times.cpu_s)
        print(f"{name:20} {wall_s * 1000:6.0f} ms  cpu {cpu_s * 1000:6.0f} ms  "
              f"{wall_s / python_s:5.1f} x{wanted}")  # fmt: skip
    return 1 if missed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
