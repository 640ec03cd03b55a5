#!/usr/bin/env python3
"""How close unpacking and configuring come to what they cannot do without, in the same run.

`ingest`: all packages into an empty store, against dpkg-deb, which decompresses the same files, as
many at once, and throws away what comes out. `configure`: the scripts of the packages and dpkg's
own passes as a build runs them, against one shell in the tree that does the same with nothing
around it; both in an overlay that syncs nothing, on the same tree that was laid. They take turns;
printed are the medians and their ratios. Needs root and the APT sources of this host.

    benchmarks/floors.py [--runs 3] [--template examples/debian.pkr.hcl] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cold_build import TEMPLATE, Side, say, scratch
from fast_trees import build

from goldsmith.host.chroot import CLEAN_ENVIRONMENT
from goldsmith.host.process import run
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.unpacked.configuring import configure
from goldsmith.packages.unpacked.dpkg_state import DATABASE
from goldsmith.packages.unpacked.ingest import unpack_all
from goldsmith.packages.unpacked.sealed import unsealed
from goldsmith.packages.unpacked.unpacking import ARCHIVES, STATE_FILE

LIMIT = 1.3
PAIRS = {"ingest": "dpkg-deb", "configure": "one shell"}
"""What is measured, and beside what."""
_MOUNTS = """
layers=lowerdir={lower},upperdir={work}/upper,workdir={work}/work
mount -t overlay overlay -o $layers,volatile {tree}
for name in proc sys dev run tmp; do mkdir -p {tree}/$name; done
mount -t proc proc {tree}/proc
mount -t tmpfs tmpfs {tree}/run
mount -t tmpfs tmpfs {tree}/tmp
mount --rbind /dev {tree}/dev
exec "$@"
"""


class Packages:
    """The package files of one build and the tree that it has laid of them."""

    def __init__(self, place: Path, template: Path) -> None:
        self.place = place
        cache = place / "cache"
        cache.mkdir(mode=0o700)
        with scratch(place, "first") as directory:
            build(template, directory, cache)
        (answer,) = (cache / "resolutions").glob("*/answer.json")
        listed = json.loads(unsealed(answer.read_text()))
        store = PackageStore(cache / "packages")
        archives = [Archive(**one) for one in listed["archives"]]
        largest_first = sorted(archives, key=lambda one: -one.size_bytes)
        self.files = [(one, store.path(one.sha256)) for one in largest_first]
        # The layer above has a whiteout of that name.
        states = (cache / "store/layers").glob(f"*/tree{STATE_FILE}")
        (state,) = (path for path in states if path.is_file())
        self.laid = state.parents[len(Path(STATE_FILE).parts) - 2]

    def ingest(self) -> None:
        """Unpack everything into an empty store."""
        with scratch(self.place, "ingest") as directory:
            unpack_all(self.files, directory, len(os.sched_getaffinity(0)))

    def decompress(self) -> None:
        """Have dpkg-deb do the part of it that nobody can leave out."""

        def unpacked(file: Path) -> None:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", file], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(unpacked, [file for _, file in self.files]))

    def configured(self, words: Sequence[str]) -> float:
        """Run a program on an overlay over the laid tree; returns its own seconds."""
        with scratch(self.place, "configure") as work:
            for name in ("upper", "work", "tree"):
                (work / name).mkdir()
            script = _MOUNTS.format(lower=self.laid, work=work, tree=work / "tree")
            done = subprocess.run(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh",
                 sys.executable, __file__, *words, str(work / "tree")],
                check=False, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            if done.returncode != 0:
                sys.exit(f"{words[0]} failed")
            return float(done.stdout.splitlines()[-1])


def timed(work: Callable[[], None]) -> float:
    """The seconds that some work takes."""
    started_s = time.monotonic()
    work()
    return time.monotonic() - started_s


def as_a_build_does(tree: Path) -> None:
    """Configure by goldsmith."""
    told: list[str] = []
    if not configure(tree, None, run_tool=run, on_line=lambda _, line: told.append(line)):
        sys.exit("\n".join(told[-20:]))


def in_one_shell(tree: Path) -> None:
    """The same programs in the same order, started by nothing but a shell."""
    state = json.loads((tree / STATE_FILE.lstrip("/")).read_text())
    dpkg = ["dpkg", "--force-unsafe-io"]
    first = [one["info"] for one in state["first"]]
    passes = [[*dpkg, "--force-depends", "--configure", *first]]
    for name, needed in state["slow"]:
        if needed:
            passes.append([*dpkg, "--force-depends", "--no-triggers", "--configure", *needed])
        passes.append([*dpkg, "--force-depends", "--unpack", f"{ARCHIVES}/{name}"])
    passes.append([*dpkg, "--configure", "--pending"])
    lines = [line for one in state["first"] for line in _preinst(tree, one)]
    lines.append(shlex.join(passes[0]))
    lines += [line for one in state["rest"] for line in _preinst(tree, one)]
    lines += map(shlex.join, passes[1:])
    environment = {**CLEAN_ENVIRONMENT, "DEBCONF_NONINTERACTIVE_SEEN": "true"}
    subprocess.run(["chroot", tree, "sh", "-ec", "\n".join(lines)], check=True, env=environment,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def _preinst(tree: Path, package: dict[str, Any]) -> list[str]:
    info = tree / DATABASE / "info"
    if not (info / f"{package['info']}.preinst").exists():
        return []
    names = [path.name.removeprefix(f"{package['info']}.")
             for path in sorted(info.glob(f"{package['info']}.*"))]  # fmt: skip
    own = [name for name in names if name != "list" and "." not in name]
    here = f"/{DATABASE}/tmp.ci"
    variables = {
        "MAINTSCRIPT_PACKAGE": package["name"], "MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
        "MAINTSCRIPT_ARCH": package["architecture"], "MAINTSCRIPT_NAME": "preinst",
        "ROOT": "", "ADMINDIR": f"/{DATABASE}", "MAINTSCRIPT_DEBUG": "0",
    }  # fmt: skip
    assigned = " ".join(f"DPKG_{name}={shlex.quote(text)}" for name, text in variables.items())
    copies = [f"cp /{DATABASE}/info/{shlex.quote(package['info'])}.{name} {here}/{name}"
              for name in own]  # fmt: skip
    return [f"mkdir {here}", *copies, f"{assigned} {here}/preinst install", f"rm -r {here}"]


def main() -> None:
    """Measure, print, and with --check end with 1 where the limit is missed."""
    sides = {"goldsmith": as_a_build_does, "shell": in_one_shell}
    if sys.argv[1:2] and sys.argv[1] in sides:
        print(timed(lambda: sides[sys.argv[1]](Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="what to build")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()),
                        help="where to work; needs 3 GiB")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="fail where the limit is missed")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("floors needs root: it unpacks packages as they are")
    measured = {name: Side(name) for pair in PAIRS.items() for name in pair}
    place = Path(tempfile.mkdtemp(prefix="floors.", dir=given.directory))
    try:
        packages = Packages(place, given.template.resolve())
        ways: dict[str, Callable[[], float]] = {
            "ingest": lambda: timed(packages.ingest),
            "dpkg-deb": lambda: timed(packages.decompress),
            "configure": lambda: packages.configured(["goldsmith"]),
            "one shell": lambda: packages.configured(["shell"]),
        }  # fmt: skip
        for number in range(1, given.runs + 1):
            for name, way in ways.items():
                measured[name].times_s.append(way())
                say(f"run {number}: {name:10} {measured[name].times_s[-1]:6.2f} s   load "
                    f"{os.getloadavg()[0]:.1f}")  # fmt: skip
    finally:
        shutil.rmtree(place)
    missed = report(measured)
    sys.exit(1 if missed and given.check else 0)


def report(measured: dict[str, Side]) -> bool:
    """Print the comparison; returns whether the limit is missed."""
    missed = False
    say()
    for name, floor in PAIRS.items():
        took_s, least_s = measured[name].median_s, measured[floor].median_s
        missed = missed or took_s > LIMIT * least_s
        say(f"{name:10} {took_s:6.2f} s   {floor:10} {least_s:6.2f} s   {took_s / least_s:.2f} x "
            f"(limit {LIMIT} x)")  # fmt: skip
    return missed


if __name__ == "__main__":
    main()
