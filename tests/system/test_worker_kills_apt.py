"""Killed while a tree is made of packages: nothing stays on the host but the run directory.

What a bootstrap writes may hold the passwords of APT's sources, so it must be where `clean` finds
it: never in TMPDIR.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_worker_kills import (
    clean,
    host_mounts,
    loops,
    outer_worker_of,
    processes_naming,
    run_directories,
    wait_until,
)

from goldsmith.packages.installed import os_release

pytestmark = [pytest.mark.root, pytest.mark.network]

TEMPLATE = """
source "image" "a" {{
  bootstrap {{
    method = "apt"
    suite  = "{suite}"
    engine = "{engine}"
  }}
  disk {{
    partition "root" {{
      type       = "root"
      filesystem = "ext4"
      mount      = "/"
    }}
  }}
  firmware = []
}}
build {{
  sources = ["image.a"]
}}
"""
STAGE_LIMIT_S = 300.0


def in_layers(build: Path, pattern: str) -> list[Path]:
    """What matches in the layers of the store, which lies beside the runs."""
    return list((build.parents[2] / "store/layers").glob(f"*/tree/{pattern}"))


STAGES: dict[tuple[str, str], Callable[[Path], object]] = {
    ("mmdebstrap", "lists"): lambda build: in_layers(build, "var/lib/apt/lists/*Release"),
    ("mmdebstrap", "installing"): lambda build: in_layers(build, "var/lib/dpkg/info/*.list"),
    ("store", "started"): lambda build: list(build.glob("scratch/bootstrap.*/apt")),
    ("store", "packages"): lambda build: list(build.parents[2].glob("unpacked/partial/*/*/root")),
    ("store", "laid"): lambda build: in_layers(build, "var/lib/dpkg/goldsmith-unpacked.json"),
    ("store", "configuring"): lambda build: in_layers(build, "etc/passwd"),
}
"""How each stage of a bootstrap shows in the directory of a build, in its layers or its stores."""


@contextmanager
def building(directory: Path, temporary: Path, engine: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a build whose TMPDIR is `temporary`; it is not waited for."""
    suite = os_release(Path("/")).get("VERSION_CODENAME", "")
    (directory / "a.pkr.hcl").write_text(TEMPLATE.format(suite=suite, engine=engine))
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache"),
                   "TMPDIR": str(temporary)}  # fmt: skip
    argv = [sys.executable, "-P", "-m", "goldsmith", "build", "-color=false", "a.pkr.hcl"]
    with open(directory / "log", "wb") as log, subprocess.Popen(
        argv, cwd=directory, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=log, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def wait_for_stage(
    running: subprocess.Popen[bytes], directory: Path, stage: tuple[str, str]
) -> None:
    """Wait until the build's directory shows a stage."""
    deadline_s = time.monotonic() + STAGE_LIMIT_S
    while True:
        assert running.poll() is None, (directory / "log").read_text()
        if any(STAGES[stage](build) for build in directory.glob("cache/runs/*/build-1")):
            return
        assert time.monotonic() < deadline_s, (directory / "log").read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("engine", "stage", "victim"),
    [
        ("mmdebstrap", "lists", "worker"), ("mmdebstrap", "installing", "parent"),
        ("store", "started", "parent"), ("store", "packages", "worker"),
        ("store", "laid", "parent"), ("store", "configuring", "worker"),
    ],
)  # fmt: skip
def test_sigkill_leaves_nothing_but_the_run_directory(
    tmp_path: Path, engine: str, stage: str, victim: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    before = host_mounts(), loops(tmp_path.parent)
    with building(tmp_path, temporary, engine) as running:
        wait_for_stage(running, tmp_path, (engine, stage))
        if victim == "parent":
            running.kill()
        else:
            os.kill(outer_worker_of(running.pid), signal.SIGKILL)
        running.wait()
    wait_until(lambda: not processes_naming(str(tmp_path)), "processes are left")
    assert (host_mounts(), loops(tmp_path.parent)) == before
    assert os.listdir(temporary) == []
    assert not (tmp_path / "output").exists()
    # A parent that lives finishes the run of its dead worker at once.
    assert len(run_directories(tmp_path)) == (1 if victim == "parent" else 0)
    left = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert left == {"a.pkr.hcl", "cache", "log", "tmp"}
    clean(tmp_path)
    assert run_directories(tmp_path) == []
