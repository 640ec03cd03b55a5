#!/usr/bin/env python3
"""Plugins: how long a handshake takes, and transfers through brokered streams beside real Packer.

The handshake is from the start of the process to the first answer. For the transfers one builder,
written in Python, serves a directory as its machine; Packer's own `file` provisioner uploads and
downloads a file of that size, once in a build of the real packer 1.6 and once in one of goldsmith,
in turns. In both the data crosses two connections: provisioner, host, builder.

    benchmarks/plugins.py [--runs 3] [--size-mib 100]
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
from pathlib import Path

from goldsmith.plugin.client import Client, ClientConfig

COMPONENTS = (
    ("builder", "null"), ("builder", "qemu"), ("builder", "amazon-ebs"), ("provisioner", "shell"),
)  # fmt: skip
BUILDER = """\
#!{python}
from pathlib import Path

from goldsmith.plugin import Artifact, Builder, Options, PluginSet, this_host


class Place(Options):
    directory: str


class PlaceBuilder(Builder[Place]):
    def run(self, ui, hooks):
        hooks.provision(this_host(Path(self.options.directory)), {{}})
        return Artifact(builder_id="place", id="place", string="a directory")


PluginSet(builders={{"": PlaceBuilder}}).serve()
"""
TEMPLATE = """\
{{"builders": [{{"type": "place", "directory": "{directory}/machine"}}],
 "provisioners": [
  {{"type": "file", "source": "{directory}/given", "destination": "there"}},
  {{"type": "file", "source": "there", "destination": "{directory}/back",
   "direction": "download"}}]}}
"""


def handshake_s(argv: tuple[str, ...]) -> float:
    """From the start of a plugin to the first answer."""
    started_s = time.monotonic()
    kind = argv[-1].split("-")[1]
    with Client(ClientConfig(command=argv)) as client:
        component = client.builder() if kind == "builder" else client.provisioner()
        component.config_spec()
        return time.monotonic() - started_s


def timed(argv: list[str], directory: Path, environment: dict[str, str]) -> float:
    """How long a build takes; its file must come back as it went."""
    (directory / "back").unlink(missing_ok=True)
    started_s = time.monotonic()
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    took_s = time.monotonic() - started_s
    if done.returncode != 0:
        sys.exit(f"{argv[0]} failed:\n{done.stdout}{done.stderr}")
    if (directory / "back").read_bytes() != (directory / "given").read_bytes():
        sys.exit(f"{argv[0]}: what came back is not what was sent")
    return took_s


def program(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)


def transfers(packer: str, directory: Path, size_mib: int, runs: int) -> dict[str, list[float]]:
    """The builds of both, without and with the file, in turns."""
    plugins = directory / "plugins"
    plugins.mkdir()
    (directory / "machine").mkdir()
    program(plugins / "packer-builder-place", BUILDER.format(python=sys.executable))
    lent = f'#!/bin/sh\nexec "{packer}" plugin packer-provisioner-file\n'
    (directory / "t.json").write_text(TEMPLATE.format(directory=directory))
    environment = {
        **os.environ, "PACKER_PLUGIN_PATH": str(plugins), "CHECKPOINT_DISABLE": "1",
        "GOLDSMITH_CACHE_DIR": str(directory / "state"),
    }  # fmt: skip
    goldsmith = [sys.executable, "-P", "-m", "goldsmith", "build", "t.json"]
    took: dict[str, list[float]] = {}
    for size in (0, size_mib):
        (directory / "given").write_bytes(os.urandom(max(1, size << 20)))
        for _ in range(runs):
            (plugins / "packer-provisioner-file").unlink(missing_ok=True)
            spent_s = timed([packer, "build", "t.json"], directory, environment)
            took.setdefault(f"packer {size}", []).append(spent_s)
            program(plugins / "packer-provisioner-file", lent)
            spent_s = timed(goldsmith, directory, environment)
            took.setdefault(f"goldsmith {size}", []).append(spent_s)
    return took


def main(tell: Callable[[str], None] = print) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=100)
    given = parser.parse_args()
    packer = os.environ.get("GOLDSMITH_PACKER") or shutil.which("packer")
    if packer is None:
        sys.exit("packer 1.6 is not installed: apt-get install packer")
    tell("handshake (median)")
    for kind, name in COMPONENTS:
        argv = (packer, "plugin", f"packer-{kind}-{name}")
        spent_s = statistics.median(handshake_s(argv) for _ in range(given.runs))
        tell(f"  {kind} {name:12} {spent_s * 1000:7.0f} ms")
    with tempfile.TemporaryDirectory(prefix="goldsmith-benchmark.") as place:
        took = transfers(packer, Path(place), given.size_mib, given.runs)
    tell(f"{given.size_mib} MiB up and down through a plugin's communicator (median of builds)")
    for who in ("packer", "goldsmith"):
        empty_s, full_s = (statistics.median(took[f"{who} {n}"]) for n in (0, given.size_mib))
        moved_s = max(full_s - empty_s, 0.001)
        speed = 2 * given.size_mib / moved_s
        tell(f"  {who:10} {moved_s:6.2f} s, {speed:6.0f} MiB/s; a build without {empty_s:5.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
