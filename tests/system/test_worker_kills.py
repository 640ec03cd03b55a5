"""Whatever is killed at whatever step: the kernel takes its part back, `clean` the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

TEMPLATE = """
source "image" "k" {{
  bootstrap {{
    method = "tar"
    source = "{tree}"
  }}
  disk {{
    partition "root" {{
      type       = "root"
      filesystem = "ext4"
      mount      = "/"
    }}
  }}
  firmware         = []
  formats          = ["raw", "qcow2"]
  output_directory = "{output}"
}}
build {{
  sources = ["image.k"]
  provisioner "shell" {{
    inline = ["trap '' TERM; (setsid sh -c 'trap \\"\\" TERM HUP; sleep 300' &) ; echo one"]
  }}
  provisioner "shell" {{
    inline = ["echo two > /two"]
  }}
  post-processor "checksum" {{
    output = "{output}/sums"
  }}
}}
"""
BOUNDARIES = (
    "Taking the tree", "Configuring", "Provisioning with shell: trap",
    "Provisioning with shell: echo two", "Finishing", "Assembling", "Writing raw",
    "Running post-processor",
)  # fmt: skip
POLL_S = 30.0


def wait_until(true: Callable[[], object], what: str, limit_s: float = POLL_S) -> None:
    """Poll a condition; the kernel needs some milliseconds to end a namespace."""
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def host_mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def loops(tests: Path) -> list[str]:
    """The files behind loop devices, of all that lies in the directory of these tests."""
    listed = subprocess.run(["losetup", "--list", "--json"], capture_output=True, check=True)
    files = [d["back-file"] for d in json.loads(listed.stdout or b"{}").get("loopdevices", [])]
    return [file for file in files if file.startswith(f"{tests}/")]


def processes_naming(text: str) -> list[str]:
    """The command lines and working directories of living processes that name a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if text in line or text in cwd or text.encode() in environment:
                found.append(f"{entry.name} {line}")
    return found


@contextmanager
def building(directory: Path, tree: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a build in a directory of its own; it is not waited for."""
    output = directory / "output"
    (directory / "k.pkr.hcl").write_text(TEMPLATE.format(tree=tree, output=output))
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache")}
    argv = [sys.executable, "-m", "goldsmith", "build", "-color=false", "k.pkr.hcl"]
    with subprocess.Popen(
        argv, cwd=directory, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def read_to(running: subprocess.Popen[str], label: str) -> str:
    """Read the build's output up to the line with which a step begins."""
    assert running.stdout is not None
    seen = ""
    for line in running.stdout:
        seen += line
        if label in line:
            return seen
    raise AssertionError(f"{label!r} never came:\n{seen}")


def outer_worker_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        if b"_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("there is no worker")


def assert_host_is_clean(directory: Path, before: tuple[list[str], list[str]]) -> None:
    wait_until(lambda: not processes_naming(str(directory)), "processes are left")
    wait_until(lambda: host_mounts() == before[0], "mounts are left")
    wait_until(lambda: loops(directory.parent) == before[1], "loop devices are left")


def run_directories(directory: Path) -> list[Path]:
    runs = directory / "cache" / "runs"
    return [path for path in runs.iterdir() if not path.name.startswith(".")]


def clean(directory: Path, *words: str) -> str:
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache")}
    argv = [sys.executable, "-m", "goldsmith", "clean", *words]
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def before(tmp_path: Path) -> tuple[list[str], list[str]]:
    return host_mounts(), loops(tmp_path.parent)


@pytest.mark.parametrize("label", BOUNDARIES)
def test_sigkill_of_the_parent_leaves_only_the_run_directory(
    tmp_path: Path, small_tree: Path, before: tuple[list[str], list[str]], label: str
) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, label)
        running.kill()
        running.wait()
    assert_host_is_clean(tmp_path, before)
    outside = {p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "cache")}
    published = {tmp_path / "k.pkr.hcl", tmp_path / "output"}
    if label == "Running post-processor":
        published |= {tmp_path / "output" / name for name in ("k.raw", "k.qcow2",
                                                              "k.manifest.json")}  # fmt: skip
    partial = {p for p in outside - published if p.name.endswith(".partial")}
    assert outside - published == partial
    assert len(run_directories(tmp_path)) == 1
    listed = clean(tmp_path, "--dry-run")
    assert "goldsmith build" in listed
    for path in partial:
        assert str(path) in listed
    clean(tmp_path)
    assert run_directories(tmp_path) == []
    assert [p for p in partial if p.exists()] == []
    assert "Nothing is left" in clean(tmp_path)


@pytest.mark.parametrize("label", BOUNDARIES[:-1])
def test_sigkill_of_the_worker_is_one_clear_error(
    tmp_path: Path, small_tree: Path, before: tuple[list[str], list[str]], label: str
) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, label)
        os.kill(outer_worker_of(running.pid), signal.SIGKILL)
        assert running.stdout is not None
        rest = running.stdout.read()
        status = running.wait()
    if "Builds finished" not in rest:  # it had ended before the signal came
        assert status == 1
        assert "the build worker died (signal 9)" in rest
        assert not (tmp_path / "output").exists() or not list((tmp_path / "output").iterdir())
    assert_host_is_clean(tmp_path, before)
    clean(tmp_path)
    assert run_directories(tmp_path) == []
    assert [p for p in tmp_path.rglob("*.partial")] == []


SIGNALS = [
    *((signal.SIGTERM, label) for label in BOUNDARIES),
    *((signum, label) for signum in (signal.SIGINT, signal.SIGHUP) for label in BOUNDARIES[2:6:3]),
]


@pytest.mark.parametrize(("signum", "label"), SIGNALS)
def test_a_signal_to_the_parent_cleans_up_at_once(
    tmp_path: Path,
    small_tree: Path,
    before: tuple[list[str], list[str]],
    label: str,
    signum: signal.Signals,
) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, label)
        running.send_signal(signum)
        assert running.stdout is not None
        rest = running.stdout.read()
        status = running.wait()
    if "Builds finished" not in rest:
        assert status == 1, rest
        assert "Cleanly cancelled builds after being interrupted." in rest
    assert "Traceback" not in rest
    assert_host_is_clean(tmp_path, before)
    assert run_directories(tmp_path) == []
    assert [p for p in tmp_path.rglob("*.partial")] == []


@pytest.mark.parametrize("label", ["Provisioning with shell: trap", "Assembling"])
def test_sigterm_to_the_worker_unwinds_the_build(
    tmp_path: Path, small_tree: Path, before: tuple[list[str], list[str]], label: str
) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, label)
        os.kill(outer_worker_of(running.pid), signal.SIGTERM)
        assert running.stdout is not None
        rest = running.stdout.read()
        assert running.wait() == 1
    assert "interrupted by SIGTERM" in rest
    assert_host_is_clean(tmp_path, before)
    assert run_directories(tmp_path) == []


def test_the_next_build_cleans_up_after_a_killed_one(tmp_path: Path, small_tree: Path) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, "Writing raw")
        running.kill()
        running.wait()
    wait_until(lambda: not processes_naming(str(tmp_path)), "processes are left")
    with building(tmp_path, small_tree) as running:
        assert running.stdout is not None
        text = running.stdout.read()
        assert running.wait() == 0, text
    assert "Cleaned up after a build that was killed" in text
    assert run_directories(tmp_path) == []
    names = {p.name for p in (tmp_path / "output").iterdir()}
    assert names == {"k.raw", "k.qcow2", "k.manifest.json", "sums"}


def test_clean_never_touches_a_living_build(tmp_path: Path, small_tree: Path) -> None:
    with building(tmp_path, small_tree) as running:
        read_to(running, "Taking the tree")
        assert "Nothing is left" in clean(tmp_path)
        assert len(run_directories(tmp_path)) == 1
        assert running.stdout is not None
        text = running.stdout.read()
        assert running.wait() == 0, text
