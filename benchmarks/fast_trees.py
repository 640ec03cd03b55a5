#!/usr/bin/env python3
"""Trees from the store of unpacked packages against the bare pipeline, on one machine, in one run.

The bare pipeline is mmdebstrap, `mkfs.ext4 -d` and `qemu-img convert` with zstd, as in cold_build.
All sides have the package files on the disk already, and make everything else: with an empty store
of unpacked packages, with a full one but no result of any step, and with one package more than a
build before. They take turns. Needs root and the APT sources of this host.

    benchmarks/fast_trees.py [--runs 3] [--check]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cold_build import TEMPLATE, PackageSet, Side, read_package_set, run, say, scratch

from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.unpacked.content_store import STORE_NAME as UNPACKED
from goldsmith.packages.unpacked.resolution import STORE_NAME as ANSWERS

LIMITS = {"empty store": 0.5, "full store": 0.3, "one package more": 0.3}
"""The most that goldsmith may take, in times of the bare pipeline."""
MORE = "tmux"
STEPS = ("store", "results")


def build(template: Path, directory: Path, cache: Path) -> float:
    """Build without the boot test; returns the seconds."""
    environment = {"GOLDSMITH_CACHE_DIR": str(cache)}
    started_s = time.monotonic()
    run([sys.executable, "-m", "goldsmith", "build", "-except=boot-test,checksum", str(template)],
        directory, environment)  # fmt: skip
    return time.monotonic() - started_s


def with_more(template: Path, directory: Path) -> Path:
    """The template with one package more, beside what it names."""
    text = template.read_text()
    changed = re.sub(r"packages = \[", f'packages = ["{MORE}", ', text, count=1)
    if changed == text:
        sys.exit(f"{template} has no list of packages")
    for file in template.parent.iterdir():
        if file.is_file() and file != template:
            shutil.copy(file, directory)
    more = directory / template.name
    more.write_text(changed)
    return more


def keep_only(cache: Path, *names: str) -> None:
    """Remove everything else from a cache, and let the disk come to rest."""
    for path in cache.iterdir():
        if path.name not in names and path.is_dir():
            shutil.rmtree(path)
    os.sync()


class Sides:
    """The ways to make the image, with the package files in one cache."""

    def __init__(self, place: Path, template: Path, cache: Path) -> None:
        self.place, self.template, self.cache = place, template, cache
        self.wanted: PackageSet = read_package_set(template)

    def bare(self, side: Side) -> None:
        """The bare pipeline, which finds its packages in APT's archives."""
        with scratch(self.place, "bare") as directory:
            sources, settings = directory / "host.sources", directory / "apt.conf"
            sources.write_text(render_sources(sources_for(self.wanted.suite, "")))
            settings.write_text(read_apt_settings().bootstrap_text())
            archives = self.place / "archives"
            tree, raw, image = (directory / name for name in ("tree", "disk.raw", "disk.qcow2"))
            started_s = time.monotonic()
            run(
                ["unshare", "--mount", "mmdebstrap", "--mode=root", "--format=directory",
                 f"--variant={self.wanted.variant}", f"--aptopt={settings}",
                 '--setup-hook=mkdir -p "$1"/var/cache/apt/archives/',
                 f"--setup-hook=sync-in {archives} /var/cache/apt/archives",
                 f"--include={','.join(self.wanted.names)}", "", str(tree), str(sources)],
                directory, {"TMPDIR": str(directory)},
            )  # fmt: skip
            used = int(disk_bytes(tree))
            with raw.open("wb") as file:
                file.truncate(used * 5 // 4 + (64 << 20))
            run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(raw)], directory)
            run(["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd",
                 str(raw), str(image)], directory)  # fmt: skip
            side.times_s.append(time.monotonic() - started_s)

    def keep_archives(self) -> None:
        """Fetch all packages once, for both sides: under APT's names for the bare pipeline."""
        archives = self.place / "archives"
        archives.mkdir()
        with scratch(self.place, "first") as directory:
            sources, settings = directory / "host.sources", directory / "apt.conf"
            sources.write_text(render_sources(sources_for(self.wanted.suite, "")))
            settings.write_text(read_apt_settings().bootstrap_text())
            run(
                ["unshare", "--mount", "mmdebstrap", "--mode=root", "--format=directory",
                 f"--variant={self.wanted.variant}", f"--aptopt={settings}",
                 '--aptopt=APT::Keep-Downloaded-Packages "true"',
                 "--skip=essential/unlink,cleanup/apt",
                 f"--customize-hook=sync-out /var/cache/apt/archives {archives}",
                 f"--include={','.join(self.wanted.names)}", "", str(directory / "tree"),
                 str(sources)],
                directory, {"TMPDIR": str(directory)},
            )  # fmt: skip
            for path in archives.iterdir():
                if path.suffix != ".deb":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            build(self.template, directory, self.cache)

    def empty(self, side: Side) -> None:
        """Nothing but package files."""
        keep_only(self.cache, "packages")
        with scratch(self.place, "empty") as directory:
            side.times_s.append(build(self.template, directory, self.cache))

    def full(self, side: Side) -> None:
        """Unpacked packages and APT's answer, but no step."""
        keep_only(self.cache, "packages", UNPACKED, ANSWERS, "releases")
        with scratch(self.place, "full") as directory:
            build(self.template, directory, self.cache)
            keep_only(self.cache, "packages", UNPACKED, ANSWERS, "releases")
            side.times_s.append(build(self.template, directory, self.cache))

    def one_more(self, side: Side) -> None:
        """Everything of a build, and then one with another package; its file is there."""
        with scratch(self.place, "more") as directory:
            other = with_more(self.template, directory)
            build(other, directory, self.cache)
            keep_only(self.cache, "packages")
            build(self.template, directory, self.cache)
            os.sync()
            side.times_s.append(build(other, directory, self.cache))


def disk_bytes(tree: Path) -> int:
    """What a tree takes on its disk, in bytes, a file with several names counted once."""
    sizes = {}
    for directory, folders, files in os.walk(tree):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(directory, name))
            sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def main() -> None:
    """Measure, print, and with --check end with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="what to build")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()),
                        help="where to build; needs 5 GiB")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("fast_trees needs root: all sides make trees")
    with scratch(given.directory, "fast-trees") as place:
        cache = place / "cache"
        cache.mkdir(mode=0o700)
        sides = Sides(place, given.template.resolve(), cache)
        sides.keep_archives()
        ways: dict[str, Callable[[Side], None]] = {
            "bare": sides.bare, "empty store": sides.empty, "full store": sides.full,
            "one package more": sides.one_more,
        }  # fmt: skip
        measured = {name: Side(name) for name in ways}
        for number in range(1, given.runs + 1):
            for name, way in ways.items():
                way(measured[name])
                say(f"run {number}: {name:18} {measured[name].times_s[-1]:6.1f} s   load "
                    f"{os.getloadavg()[0]:.1f}")  # fmt: skip
        missed = report(measured)
    sys.exit(1 if missed and given.check else 0)


def report(measured: dict[str, Side]) -> bool:
    """Print the comparison; returns whether a limit is missed."""
    missed = False
    bare_s = measured["bare"].median_s
    say()
    say(f"{'bare':18} {bare_s:6.1f} s")
    for name, limit in LIMITS.items():
        took_s = statistics.median(measured[name].times_s)
        missed = missed or took_s > limit * bare_s
        say(f"{name:18} {took_s:6.1f} s  {took_s / bare_s:.2f} x (limit {limit} x)")
    return missed


if __name__ == "__main__":
    main()
