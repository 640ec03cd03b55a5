#!/usr/bin/env python3
"""`disk-image-create vm debian-minimal`: goldsmith against diskimage-builder, in the same run.

Both use this host's APT sources, upstream's elements unchanged, and `--checksum`. Measured are a
cold build (nothing kept of any earlier one, all packages downloaded), the same again, and one more
with an element of which a hook in the tree has changed; diskimage-builder keeps nothing between
builds, so one of its builds stands for all three. Package lists are compared. diskimage-builder is
the one that the extra `elements` has installed, with stand-ins for what this host lacks (see
`other_builders`). Printed are elapsed seconds, which the limits are about, and those of the
processors in all programs that a build has run: on a host that does other things at the same time
they tell more. Needs root.

    benchmarks/elements.py [--runs 1] [--without diskimage-builder] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from other_builders import NEEDED, DiskImageBuilder, detach_loops

from goldsmith.packages.mirrors import sources_for

LIMITS = {"cold": 0.5, "unchanged": 0.05, "one hook changed": 0.3}
"""The most that goldsmith may take, in times of diskimage-builder's cold build."""
ELEMENTS = ("vm", "debian-minimal", "benchmark")
UPSTREAM = "diskimage-builder"
_HOOK = "#!/bin/bash\nset -eu\nset -o pipefail\necho %s > /etc/benchmark\n"


def say(text: str = "") -> None:
    """Print at once: the next line may be a minute away."""
    print(text, flush=True)


@dataclass
class Side:
    """The times of one side by what was measured, in seconds, and what it installed.

    `times_s` are by the clock, `cpu_s` those of the processors.
    """

    name: str
    times_s: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)
    packages: set[tuple[str, str]] = field(default_factory=set)
    image_bytes: int = 0

    def median_s(self, measured: str) -> float:
        """The time that counts."""
        return statistics.median(self.times_s[measured])

    def median_cpu_s(self, measured: str) -> float:
        """The same of the processors' time."""
        return statistics.median(self.cpu_s[measured])


@contextmanager
def place_of(parent: Path, name: str) -> Iterator[Path]:
    """A directory that goes away with everything in it; written data is on the disk before."""
    with tempfile.TemporaryDirectory(prefix=f"elements-{name}.", dir=parent) as directory:
        # APT drops its privileges to a user who must be able to come here.
        Path(directory).chmod(0o755)
        write_hook(Path(directory), "first")
        os.sync()
        yield Path(directory)
    os.sync()


def write_hook(directory: Path, text: str) -> None:
    """Write the element with the hook that is changed: late in the tree, as people's own are."""
    hook = directory / "elements/benchmark/install.d/90-benchmark"
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(_HOOK % text)
    hook.chmod(0o755)


def timed(side: Side, measured: str, argv: list[str], directory: Path, env: dict[str, str]) -> None:
    """Run a build and keep its time; what it says is shown only when it fails."""
    started_s, started_cpu_s = time.monotonic(), cpu_of_children_s()
    done = subprocess.run(
        argv, check=False, cwd=directory, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    took_s, cpu_s = time.monotonic() - started_s, cpu_of_children_s() - started_cpu_s
    if done.returncode != 0:
        say(done.stdout[-4000:])
        sys.exit(f"{side.name} ended with status {done.returncode}")
    side.times_s.setdefault(measured, []).append(took_s)
    side.cpu_s.setdefault(measured, []).append(cpu_s)
    load = os.getloadavg()[0]
    say(f"{side.name:18} {measured:18} {took_s:6.1f} s   cpu {cpu_s:6.1f} s   load {load:.1f}")


def cpu_of_children_s() -> float:
    """What all programs have taken of the processors that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def look(side: Side, directory: Path) -> None:
    """Read what was installed from the manifest that upstream's element writes."""
    manifest = directory / "disk.d/dib-manifests/dib-manifest-dpkg-disk"
    entries = json.loads(manifest.read_text())["packages"]
    side.packages = {(entry["package"], entry["version"]) for entry in entries}
    side.image_bytes = (directory / "disk.qcow2").stat().st_size


def environment(builder: DiskImageBuilder, directory: Path, suite: str) -> dict[str, str]:
    """The same for both sides but for the stand-ins: sources, caches, elements."""
    own = builder.environment(directory, suite, sources_for(suite, ""))
    inherited = {name: text for name, text in os.environ.items()
                 if name != "TMPDIR" and not name.startswith("DIB_")}  # fmt: skip
    return {**inherited, **own, "ELEMENTS_PATH": str(directory / "elements")}


def run_goldsmith(side: Side, builder: DiskImageBuilder, suite: str, place: Path) -> None:
    """Cold, unchanged, and with one hook changed."""
    words = [sys.executable, "-P", "-m", "goldsmith", "disk-image-create", "--checksum", "-o",
             "disk", *ELEMENTS]  # fmt: skip
    with place_of(place, "goldsmith") as directory:
        env = {**environment(builder, directory, suite), "PATH": os.environ["PATH"],
               "GOLDSMITH_CACHE_DIR": str(directory / "state")}  # fmt: skip
        timed(side, "cold", words, directory, env)
        look(side, directory)
        timed(side, "unchanged", words, directory, env)
        write_hook(directory, "second")
        timed(side, "one hook changed", words, directory, env)


def run_upstream(side: Side, builder: DiskImageBuilder, suite: str, place: Path) -> None:
    """One cold build: every build of its is one."""
    words = [*builder.command(Path("disk"))[:-2], "--checksum", *ELEMENTS]
    with place_of(place, "dib") as directory:
        try:
            timed(side, "cold", words, directory, environment(builder, directory, suite))
        finally:
            detach_loops(directory)
        look(side, directory)


def report(ours: Side, theirs: Side | None) -> bool:
    """Print the comparison; returns whether a limit is missed."""
    missed = False
    say()
    say(f"goldsmith's image: {ours.image_bytes >> 20} MiB, {len(ours.packages)} packages")
    for measured, limit in LIMITS.items():
        took_s, cpu_s = ours.median_s(measured), ours.median_cpu_s(measured)
        line = f"{measured:18} {took_s:6.1f} s   cpu {cpu_s:6.1f} s"
        if theirs is not None:
            ratio = took_s / theirs.median_s("cold")
            missed = missed or ratio > limit
            line += (f"   {ratio:.3f} x {UPSTREAM} (limit {limit} x)"
                     f"   cpu {cpu_s / theirs.median_cpu_s('cold'):.3f} x")  # fmt: skip
        say(line)
    if theirs is not None:
        say(f"{UPSTREAM}: cold {theirs.median_s('cold'):.1f} s, cpu "
            f"{theirs.median_cpu_s('cold'):.1f} s, {theirs.image_bytes >> 20} MiB")  # fmt: skip
        different = sorted(ours.packages ^ theirs.packages)
        missed = missed or bool(different)
        say(f"DIFFERENT PACKAGES: {different}" if different else "the same packages, every version")
    return missed


def main() -> None:
    """Measure, print, and with --check end with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="runs of each side (1)")
    parser.add_argument("--suite", default="bookworm", help="the Debian release (bookworm)")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()),
                        help="where to build; needs 8 GiB")  # fmt: skip
    parser.add_argument("--without", default="", choices=["", UPSTREAM], help="measure one side")
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("elements.py needs root: both sides make trees")
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing and not given.without:
        sys.exit(f"{UPSTREAM} needs {', '.join(missing)}; --without {UPSTREAM} leaves it out")
    ours, theirs = Side("goldsmith"), Side(UPSTREAM)
    with tempfile.TemporaryDirectory(prefix="stand-ins.", dir=given.directory) as directory:
        builder = DiskImageBuilder(Path(directory))
        builder.use_installed(Path(sys.executable).parent)
        say(f"{UPSTREAM} {builder.version}, {builder.remark}")
        for _ in range(given.runs):
            run_goldsmith(ours, builder, given.suite, given.directory)
            if not given.without:
                run_upstream(theirs, builder, given.suite, given.directory)
    sys.exit(1 if report(ours, None if given.without else theirs) and given.check else 0)


if __name__ == "__main__":
    main()
