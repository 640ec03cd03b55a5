#!/usr/bin/env python3
"""`validate` of templates, small and large, beside the real `packer` in one run.

Packer starts a process for every component, so its time grows with the template in a way that ours
must not: a null source with 1,000 `shell-local` provisioners, 200 null sources with 10 each, and
the start-up time with one. The peer is the program that GOLDSMITH_PACKER names, or `packer` on
PATH; without one only ours is measured. `--small` asks the peer for a tenth of the large templates,
and compares equal sizes.

    benchmarks/templates.py [--runs 3] [--small] [--check]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

OURS = [sys.executable, "-P", "-m", "goldsmith", "validate"]
LARGE_LIMIT = 0.02
SINGLE_LIMIT = 2.5
LINEAR_LIMIT = 1.5
"""How much dearer a provisioner may be among 10,000 than among 1,000."""
MEMORY_LIMIT_BYTES = 150 << 20


@dataclass(frozen=True)
class Case:
    """A template of null sources, each with shell-local provisioners."""

    name: str
    sources: int
    provisioners: int
    limit: float

    def text(self) -> str:
        """The template."""
        names = [f"s{number}" for number in range(self.sources)]
        blocks = [f'source "null" "{name}" {{\n  communicator = "none"\n}}\n' for name in names]
        listed = ", ".join(f'"source.null.{name}"' for name in names)
        steps = [
            f'  provisioner "shell-local" {{\n    inline = ["echo {number}"]\n  }}\n'
            for number in range(self.provisioners)
        ]
        return "".join([*blocks, f"build {{\n  sources = [{listed}]\n", *steps, "}\n"])


def cases(scale: int) -> list[Case]:
    """What is measured on both sides; the large ones divided by `scale`."""
    return [
        Case("one source, one provisioner", 1, 1, SINGLE_LIMIT),
        Case(f"one source, {1000 // scale} provisioners", 1, 1000 // scale, LARGE_LIMIT),
        Case(f"{200 // scale} sources, 10 provisioners", 200 // scale, 10, LARGE_LIMIT),
    ]


def timed(argv: list[str], template: Path) -> float:
    """The seconds of one run, which must find the template valid."""
    started_s = time.perf_counter()
    done = subprocess.run(
        [*argv, str(template)], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, "CHECKPOINT_DISABLE": "1"},
    )  # fmt: skip
    took_s = time.perf_counter() - started_s
    if done.returncode:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout[-2000:]}")
    return took_s


def most_memory_bytes(template: Path) -> int:
    """The largest resident set of one of our runs."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *OURS, str(template)], check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return int(done.stdout) * 1024


def cpu_s(template: Path) -> float:
    """The seconds that one of our runs keeps a processor busy: load of others does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    timed(OURS, template)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(place: Path, peer: str | None, runs: int, scale: int) -> list[str]:
    """Both sides in turn, so that a busy machine disturbs both; returns what is over its limit."""
    wrong = []
    for case in cases(scale):
        template = place / "case.pkr.hcl"
        template.write_text(case.text())
        ours_s, theirs_s = [], []
        for _ in range(runs):
            ours_s.append(timed(OURS, template))
            if peer is not None:
                theirs_s.append(timed([peer, "validate"], template))
        line = f"{case.name:32} goldsmith {statistics.median(ours_s):8.2f} s"
        if theirs_s:
            share = statistics.median(ours_s) / statistics.median(theirs_s)
            line += f"  packer {statistics.median(theirs_s):8.2f} s  {share:7.3f} x"
            line += f"  (limit {case.limit} x)" if scale == 1 or case.limit > 1 else ""
            if share > case.limit and (scale == 1 or case.limit > 1):
                wrong.append(case.name)
        print(line, flush=True)
    return wrong


def grow(place: Path, runs: int) -> list[str]:
    """Ours alone at 1,000 and 10,000 provisioners; returns what is over its limit."""
    times = {}
    for count in (1, 1000, 10_000):
        template = place / f"grown-{count}.pkr.hcl"
        template.write_text(Case("", 1, count, 0).text())
        times[count] = statistics.median(cpu_s(template) for _ in range(runs))
    each_s = {count: (times[count] - times[1]) / count for count in (1000, 10_000)}
    growth = each_s[10_000] / each_s[1000]
    memory_bytes = most_memory_bytes(place / "grown-10000.pkr.hcl")
    print(f"{'cpu of start and one':32} {times[1]:8.2f} s")
    for count, one_s in each_s.items():
        print(f"{f'cpu of each of {count}':32} {one_s * 1e6:8.0f} us")
    print(f"{'growth':32} {growth:8.2f} x  (limit {LINEAR_LIMIT} x)")
    print(f"{'memory at 10000':32} {memory_bytes / (1 << 20):8.0f} MiB  "
          f"(limit {MEMORY_LIMIT_BYTES >> 20} MiB)")  # fmt: skip
    wrong = ["growth"] if growth > LINEAR_LIMIT else []
    return wrong + (["memory"] if memory_bytes > MEMORY_LIMIT_BYTES else [])


def main() -> int:
    """Measure, print, and compare with the limits when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--small", action="store_true", help="a tenth of the large templates")
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    given = parser.parse_args()
    peer = os.environ.get("GOLDSMITH_PACKER") or shutil.which("packer")
    if peer is None:
        print("packer is not installed: only goldsmith is measured")
    with tempfile.TemporaryDirectory(prefix="templates.") as directory:
        wrong = compare(Path(directory), peer, given.runs, 10 if given.small else 1)
        wrong += grow(Path(directory), given.runs)
    for name in wrong:
        print(f"over the limit: {name}")
    return 1 if wrong and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
