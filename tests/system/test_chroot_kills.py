"""A `chroot` build killed at any step: the kernel takes its part back, `clean` the files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from old_images import digest, made, shell, unpacked
from test_worker_kills import (
    assert_host_is_clean,
    clean,
    host_mounts,
    loops,
    outer_worker_of,
    read_to,
    run_directories,
)

pytestmark = pytest.mark.root

BOUNDARIES = (
    "Copying old.raw", "Attaching", "Running device setup", "Mounting the root device",
    "Taking the tree", "Provisioning with shell: trap", "Provisioning with shell: echo two",
    "Applying the changes", "Unmounting the root device", "Writing raw",
)  # fmt: skip
STRAY = "trap '' TERM; (setsid sh -c 'trap \"\" TERM HUP; sleep 300' &) ; echo one"


@pytest.fixture(scope="module")
def source(small_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("killed")
    return made(place / "old.raw", "ext4", 64, unpacked(small_tree, place / "tree"))


@pytest.fixture
def before(tmp_path: Path) -> tuple[list[str], list[str]]:
    return host_mounts(), loops(tmp_path.parent)


@contextmanager
def building(directory: Path, source: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a build in a directory of its own; it is not waited for."""
    (directory / "k.pkr.hcl").write_text(
        f'source "chroot" "k" {{\n  source = "{source}"\n  formats = ["raw", "qcow2"]\n'
        '  pre_mount_commands = ["true"]\n}\n'
        f'build {{\n  sources = ["chroot.k"]\n{shell(STRAY)}{shell("echo two > /two")}}}\n'
    )
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


@pytest.mark.parametrize("label", BOUNDARIES)
def test_sigkill_of_the_parent(
    tmp_path: Path, source: Path, before: tuple[list[str], list[str]], label: str
) -> None:
    known = digest(source)
    with building(tmp_path, source) as running:
        read_to(running, label)
        running.kill()
        running.wait()
    assert_host_is_clean(tmp_path, before)
    assert len(run_directories(tmp_path)) == 1
    clean(tmp_path)
    assert run_directories(tmp_path) == []
    assert list(tmp_path.rglob("*.partial")) == []
    assert digest(source) == known


@pytest.mark.parametrize("label", ["Attaching", "Taking the tree", "Applying the changes"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cleans_up(
    tmp_path: Path, source: Path, before: tuple[list[str], list[str]], label: str, number: int
) -> None:
    with building(tmp_path, source) as running:
        read_to(running, label)
        running.send_signal(number)
        assert running.stdout is not None
        text = running.stdout.read()
        status = running.wait()
    assert "Traceback" not in text
    if "Builds finished" not in text:  # it had ended before the signal came
        assert status == 1, text
        assert not (tmp_path / "output").exists()
    assert_host_is_clean(tmp_path, before)
    assert run_directories(tmp_path) == []


def test_sigkill_of_the_worker(
    tmp_path: Path, source: Path, before: tuple[list[str], list[str]]
) -> None:
    with building(tmp_path, source) as running:
        read_to(running, "Provisioning with shell: trap")
        os.kill(outer_worker_of(running.pid), signal.SIGKILL)
        assert running.stdout is not None
        text = running.stdout.read()
        status = running.wait()
    if "Builds finished" not in text:
        assert status == 1
        assert "the build worker died (signal 9)" in text
    assert_host_is_clean(tmp_path, before)


def test_two_at_once(tmp_path: Path, source: Path, before: tuple[list[str], list[str]]) -> None:
    """Both have a file system with one UUID mounted, and take turns only to attach it."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    with building(places[0], source) as one, building(places[1], source) as two:
        for running in (one, two):
            assert running.stdout is not None
            text = running.stdout.read()
            assert running.wait() == 0, text
    for place in places:
        assert (place / "output/k.qcow2").exists()
        assert_host_is_clean(place, before)
