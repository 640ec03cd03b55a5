#!/usr/bin/env python3
"""A cold build against the bare pipeline and other builders, on one machine, in one run.

The bare pipeline is what one would write by hand: mmdebstrap, `mkfs.ext4 -d`, `qemu-img convert`.
It installs goldsmith's packages, makes no partitions and no boot loader, and nothing of it boots.
diskimage-builder makes its own smallest Debian that boots, `vm debian-minimal`; mkosi (where it is
installed) a disk with goldsmith's packages. All use the APT sources of this host and download all
packages each time. They take turns. Needs root, and pip's package index for diskimage-builder.

    benchmarks/cold_build.py [--runs 3] [--without bare,diskimage-builder,mkosi] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from other_builders import DiskImageBuilder, detach_loops, disk_image_builder, mkosi_command

from goldsmith.builders.image.builder import ImageBuilder
from goldsmith.cli.components import builtin_registry
from goldsmith.core.prepare import prepare
from goldsmith.packages.apt_request import implied_packages
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.installed import installed_packages
from goldsmith.packages.mirrors import sources_for
from goldsmith.template.load import load
from goldsmith.units import format_size
from goldsmith.values.world import LiveWorld, RecordingWorld

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "examples/debian.pkr.hcl"
SAMPLE_EVERY_S = 0.2
START_RUNS = 21

LIMITS = {"bare": 1.0, "diskimage-builder": 0.15}
"""The most that goldsmith may take, in times of each other."""
MEMORY_LIMIT_BYTES = 200 << 20
START_LIMIT = 4.0


@dataclass(frozen=True)
class PackageSet:
    """What both sides install."""

    suite: str
    variant: str
    names: tuple[str, ...]


def read_package_set(template: Path) -> PackageSet:
    """The packages of the template's first source, with those that goldsmith adds."""
    loaded = load(str(template), world=RecordingWorld(LiveWorld()))
    (build, *_) = prepare(loaded, builtin_registry(), Path.cwd(), loaded.builds)
    assert isinstance(build.builder, ImageBuilder)
    options, bootstrap = build.builder.options, build.builder.options.bootstrap
    named = options.tree_packages()
    names = tuple(dict.fromkeys((*named, *implied_packages(named))))
    return PackageSet(bootstrap.suite or "", bootstrap.variant, names)


def say(text: str = "") -> None:
    """Print at once: the next line may be a minute away."""
    print(text, flush=True)


def run(
    argv: list[str], cwd: Path, env: dict[str, str] | None = None, without: Sequence[str] = ()
) -> None:
    """Run a program; its output is shown only when it fails."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(
        argv, check=False, cwd=cwd, env={**inherited, **(env or {})}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode != 0:
        say(done.stdout[-4000:])
        sys.exit(f"{' '.join(argv)[:200]} ended with status {done.returncode}")


@contextmanager
def scratch(place: Path, name: str) -> Iterator[Path]:
    """A directory that goes away with everything in it; written data is on the disk before."""
    with tempfile.TemporaryDirectory(prefix=f"cold-build-{name}.", dir=place) as directory:
        # APT drops its privileges to a user who must be able to come here.
        Path(directory).chmod(0o755)
        os.sync()
        yield Path(directory)
    os.sync()


class Memory:
    """Watches what goldsmith's own Python processes hold: the sum of their PSS, at its highest."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.peak_processes = 0
        self._end = threading.Event()

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Sample the processes at and below `pid` for the length of a block."""
        self._end.clear()
        thread = threading.Thread(target=self._watch, args=(pid,))
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def _watch(self, top: int) -> None:
        while not self._end.wait(SAMPLE_EVERY_S):
            sizes = [pss_bytes(pid) for pid in own_python_processes(top)]
            if sum(sizes) > self.peak_bytes:
                self.peak_bytes, self.peak_processes = sum(sizes), len(sizes)


def own_python_processes(top: int) -> list[int]:
    """Processes at and below `top` that run goldsmith in this interpreter, forks included."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2]
            except OSError:
                continue
            parents[int(entry.name)] = int(after_name.split()[1])
    interpreter = os.path.realpath(sys.executable)
    found = []
    for pid in parents:
        above = pid
        while above not in (0, top):
            above = parents.get(above, 0)
        if above == top and _runs_goldsmith(pid, interpreter):
            found.append(pid)
    return found


def _runs_goldsmith(pid: int, interpreter: str) -> bool:
    base = Path("/proc", str(pid))
    try:
        same = os.readlink(base / "exe") == interpreter
        return same and b"goldsmith" in (base / "cmdline").read_bytes()
    except OSError:
        return False


def pss_bytes(pid: int) -> int:
    """The proportional set size of a process; 0 once it has gone. proc(5), smaps_rollup."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line[:4] == "Pss:"), 0)


@dataclass(eq=False)
class Side:
    """The times of one side, and what it installed."""

    name: str
    times_s: list[float] = field(default_factory=list)
    packages: set[tuple[str, str]] = field(default_factory=set)
    image_bytes: int = 0

    @property
    def median_s(self) -> float:
        """The time that counts."""
        return statistics.median(self.times_s)


def build_with_goldsmith(side: Side, template: Path, place: Path, memory: Memory) -> None:
    """One cold build without the boot test."""
    with scratch(place, "goldsmith") as directory:
        log = directory / "log"
        argv = [sys.executable, "-m", "goldsmith", "build", "-except=boot-test", str(template)]
        environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache")}
        started_s = time.monotonic()
        with (
            log.open("w") as output,
            subprocess.Popen(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                             stdout=output, stderr=subprocess.STDOUT) as running,
            memory.watching(running.pid),
        ):  # fmt: skip
            status = running.wait()
            side.times_s.append(time.monotonic() - started_s)
        if status != 0:
            say(log.read_text()[-4000:])
            sys.exit(f"goldsmith ended with status {status}")
        (manifest_path,) = directory.glob("output/*.manifest.json")
        manifest = json.loads(manifest_path.read_text())
        side.packages = {(p["name"], p["version"]) for p in manifest["packages"]}
        side.image_bytes = max(entry["size_bytes"] for entry in manifest["files"].values())


def build_bare(side: Side, wanted: PackageSet, place: Path) -> None:
    """One run of the bare pipeline."""
    with scratch(place, "bare") as directory:
        sources, settings = directory / "host.sources", directory / "apt.conf"
        sources.write_text(render_sources(sources_for(wanted.suite, "")))
        settings.write_text(read_apt_settings().bootstrap_text())
        tree, raw, image = (directory / name for name in ("tree", "disk.raw", "disk.qcow2"))
        started_s = time.monotonic()
        run(
            # In a mount namespace of its own: what mmdebstrap mounts goes with it, always.
            ["unshare", "--mount", "mmdebstrap", "--mode=root", "--format=directory",
             f"--variant={wanted.variant}", f"--aptopt={settings}",
             # No suite, as goldsmith does it: with one, essential packages would be older.
             f"--include={','.join(wanted.names)}", "", str(tree), str(sources)],
            directory,
            {"TMPDIR": str(directory)},
        )  # fmt: skip
        used = subprocess.run(["du", "--summarize", "--block-size=1", "--one-file-system", tree],
                              check=True, capture_output=True, text=True).stdout  # fmt: skip
        with raw.open("wb") as file:
            file.truncate(int(used.split()[0]) * 5 // 4 + (64 << 20))
        run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(raw)], directory)
        run(["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", str(raw),
             str(image)], directory)  # fmt: skip
        side.times_s.append(time.monotonic() - started_s)
        side.packages = {(p.name, p.version) for p in installed_packages(tree)}
        side.image_bytes = image.stat().st_size


def build_with_disk_image_builder(
    side: Side, builder: DiskImageBuilder, suite: str, place: Path
) -> None:
    """One cold run of its `vm debian-minimal`."""
    with scratch(place, "dib") as directory:
        environment = builder.environment(directory, suite, sources_for(suite, ""))
        started_s = time.monotonic()
        try:
            run(builder.command(directory / "disk"), directory, environment, without=("TMPDIR",))
        finally:
            detach_loops(directory)
        side.times_s.append(time.monotonic() - started_s)
        side.image_bytes = (directory / "disk.qcow2").stat().st_size


def build_with_mkosi(side: Side, wanted: PackageSet, place: Path) -> None:
    """One cold run of mkosi."""
    with scratch(place, "mkosi") as directory:
        argv = mkosi_command(directory, wanted.suite, wanted.names)
        assert argv is not None
        started_s = time.monotonic()
        run(argv, directory, {"XDG_CACHE_HOME": str(directory / "cache")})
        side.times_s.append(time.monotonic() - started_s)
        side.image_bytes = sum(
            path.stat().st_size for path in directory.glob("image*") if path.is_file()
        )


def time_start() -> tuple[float, float]:
    """Median times of `goldsmith --version` and of Python with nothing to do."""
    program = Path(sys.executable).with_name("goldsmith")
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(START_RUNS):
        for argv, times in (([str(program), "--version"], ours),
                            ([sys.executable, "-c", "pass"], bare)):  # fmt: skip
            started_s = time.monotonic()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            times.append(time.monotonic() - started_s)
    return statistics.median(ours), statistics.median(bare)


def main() -> None:
    """Measure, print, and with --check end with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="what to build")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()),
                        help="where to build; needs 5 GiB")  # fmt: skip
    parser.add_argument("--without", default="", help="of bare,diskimage-builder,mkosi")
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("cold_build needs root: all sides make trees")
    with ExitStack() as stack:
        sys.exit(1 if compare(given, stack) and given.check else 0)


def compare(given: argparse.Namespace, stack: ExitStack) -> bool:
    """Run every side in turn and report; returns whether a limit is missed."""
    template, place, left_out = given.template.resolve(), given.directory, given.without.split(",")
    wanted = read_package_set(template)
    say(f"packages: {' '.join(wanted.names)}")
    ours, memory = Side("goldsmith"), Memory()
    sides: dict[Side, Callable[[Side], None]] = {
        ours: lambda side: build_with_goldsmith(side, template, place, memory)
    }
    if "bare" not in left_out:
        sides[Side("bare")] = lambda side: build_bare(side, wanted, place)
    builder = None
    if "diskimage-builder" not in left_out:
        builder = stack.enter_context(disk_image_builder(place))
    if builder is not None:
        say(f"diskimage-builder {builder.version}, {builder.remark}")
        sides[Side("diskimage-builder")] = lambda side: build_with_disk_image_builder(
            side, builder, wanted.suite, place
        )
    if "mkosi" not in left_out and shutil.which("mkosi"):
        sides[Side("mkosi")] = lambda side: build_with_mkosi(side, wanted, place)
    order = list(sides)
    for number in range(1, given.runs + 1):
        for side in order:
            sides[side](side)
            say(f"run {number}: {side.name:18} {side.times_s[-1]:6.1f} s   load "
                f"{os.getloadavg()[0]:.1f}")  # fmt: skip
        # Who goes first changes, so that nobody always finds what another has warmed.
        order = [*order[1:], order[0]]
    return report(ours, [side for side in sides if side is not ours], memory, *time_start())


def report(
    ours: Side, others: Sequence[Side], memory: Memory, start_s: float, python_s: float
) -> bool:
    """Print the comparison; returns whether a limit is missed."""
    missed = False
    say()
    say(f"{'':18} {'median':>8}  {'image':>9}  goldsmith takes")
    say(f"{ours.name:18} {ours.median_s:6.1f} s  {format_size(ours.image_bytes):>9}")
    for side in others:
        ratio, limit = ours.median_s / side.median_s, LIMITS.get(side.name)
        missed = missed or (limit is not None and ratio > limit)
        wanted = "" if limit is None else f" (limit {limit:.2f} x)"
        say(f"{side.name:18} {side.median_s:6.1f} s  {format_size(side.image_bytes):>9}  "
            f"{ratio:.2f} x{wanted}")  # fmt: skip
        if side.packages and side.packages != ours.packages:
            missed = True
            difference = sorted(ours.packages ^ side.packages)
            say(f"NOT COMPARABLE, different packages: {difference}")
    start_ratio = start_s / python_s
    say(f"packages of goldsmith's image: {len(ours.packages)}")
    say(f"memory of goldsmith  {format_size(memory.peak_bytes)} PSS in {memory.peak_processes} "
        f"processes (limit {format_size(MEMORY_LIMIT_BYTES)})")  # fmt: skip
    say(f"goldsmith --version  {start_s * 1000:.0f} ms, python -c pass {python_s * 1000:.0f} ms: "
        f"{start_ratio:.1f} x (limit {START_LIMIT:.1f} x)")  # fmt: skip
    return missed or memory.peak_bytes > MEMORY_LIMIT_BYTES or start_ratio > START_LIMIT


if __name__ == "__main__":
    main()
