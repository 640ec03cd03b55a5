#!/usr/bin/env python3
"""How long the step cache thinks: the key of a large upload, and each of many cached steps.

The key of a `file` provisioner of many files is measured in times of `sha256sum` over the same
files; both run in turn, so that a busy machine disturbs both. The time per step of a build of
many steps that are all there is shown for the first and the last quarter: it must not grow.

    benchmarks/keys.py [--files 50000] [--steps 500] [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from goldsmith.core.step import StepTraits
from goldsmith.core.step_cache import StepCache
from goldsmith.host.kernel import allow_many_descriptors
from goldsmith.host.tree_digests import tree_digests
from goldsmith.layers.keys import StepKey
from goldsmith.layers.store import Store

WANTED_RATIO = 1.0
FILES_IN_DIRECTORY = 200
FILE_BYTES = 4096


@dataclass(frozen=True)
class Step(StepTraits):
    """A step without network; nothing of it is run."""

    name: str
    label: str = "a step"
    network: bool = False
    enters: bool = True

    def key(self) -> StepKey:
        """Its name."""
        return StepKey({"type": "benchmark/1", "config:name": self.name})


def make_files(top: Path, count: int) -> None:
    """So many small files, in directories as large as those of packages."""
    for number in range(count):
        directory = top / f"{number // FILES_IN_DIRECTORY:04}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(number.to_bytes(4, "big") * (FILE_BYTES // 4))


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


def sha256sum(top: Path) -> None:
    """Find all files and hash them with as few programs as possible."""
    argv = ["find", top, "-type", "f", "-exec", "sha256sum", "{}", "+"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def measure_keys(top: Path, count: int, runs: int) -> None:
    """Print the ratio."""
    make_files(top, count)
    ours, theirs = [], []
    for _ in range(runs):
        theirs.append(seconds(lambda: sha256sum(top)))
        ours.append(seconds(lambda: tree_digests(top)))
    key_s, sum_s = statistics.median(ours), statistics.median(theirs)
    print(f"key of {count} files   {key_s:8.3f} s")
    print(f"sha256sum of them  {sum_s:8.3f} s")
    print(f"ratio              {key_s / sum_s:8.2f}   wanted at most {WANTED_RATIO}")


def fill(store: Store, count: int) -> None:
    """Publish so many small layers on each other."""
    cache, parent = StepCache(store), ""
    for number in range(count):
        question = cache.question(Step(f"step-{number}"), {}, "")
        with store.draft() as draft:
            draft.tree.mkdir()
            (draft.tree / f"file-{number}").write_text(f"{number}\n")
            parent = draft.publish(cache.made(question, parent, "overlay", 1.0)).id


def times_of_cached_steps(store: Store, count: int) -> list[float]:
    """What a build does for each step that is there: key, record, lock, listing."""
    cache, parent, times = StepCache(store), "", []
    with ExitStack() as pins:
        for number in range(count):
            started_s = time.perf_counter()
            question = cache.question(Step(f"step-{number}"), {}, "")
            record = cache.answer(question, parent).record
            assert record is not None
            pins.enter_context(store.pin(record))
            parent = record.id
            times.append(time.perf_counter() - started_s)
    return times


def measure_steps(top: Path, count: int) -> None:
    """Print the time of a cached step at the beginning and at the end of a long build."""
    store = Store.open(top / "store")
    fill(store, count)
    times = times_of_cached_steps(store, count)
    quarter = max(1, count // 4)
    first, last = statistics.median(times[:quarter]), statistics.median(times[-quarter:])
    print(f"cached step, first quarter of {count}  {1000 * first:8.3f} ms")
    print(f"cached step, last quarter          {1000 * last:8.3f} ms")
    print(f"ratio                              {last / first:8.2f}   wanted at most 1.5")


def main() -> None:
    """Measure in a temporary directory (TMPDIR says where)."""
    parser = argparse.ArgumentParser(description="Measures what the step cache costs.")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    allow_many_descriptors()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "files").mkdir()
        measure_keys(top / "files", options.files, options.runs)
        measure_steps(top, options.steps)
    print(f"on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
