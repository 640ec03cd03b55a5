"""A worker that starts before its template is read: taken by the build, or gone without a trace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_image import Project, shell

from goldsmith.events import Asked, Said
from goldsmith.host.priority import give_way, take_turns
from goldsmith.host.worker import Link, become_worker, spawn_worker, start_early

pytestmark = pytest.mark.root

NOBODY = ["false"]
"""The command line of another worker: there is one already."""


def body(link: Link) -> int:
    if not link.receive_lock():
        return 3
    link.emit(Said(build="b", text=link.read_start_document()["word"]))
    link.listen()
    link.ask(lambda number: Asked(build="b", id=number, question="go on?"))
    return 0


def become(control: int, events: int, parent_pid: int) -> int:
    return become_worker(control, events, parent_pid, body)


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def with_children(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from with_children(int(child))


def nice_values(pid: int) -> set[int]:
    """Those of a process and all below it; one that tries what is allowed may end meanwhile."""
    found = set()
    for one in with_children(pid):
        with contextlib.suppress(ProcessLookupError):
            found.add(os.getpriority(os.PRIO_PROCESS, one))
    return found


def autogroup_of(pid: int) -> str:
    """The nice value of a session; none, where the kernel has no groups of that kind."""
    path = Path(f"/proc/{pid}/autogroup")
    return path.read_text().split()[-1] if path.exists() else ""


def test_it_is_given_the_lock_and_the_start_document(tmp_path: Path, host_unchanged: None) -> None:
    lock = tmp_path / "lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT)
    with start_early(become) as early:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with spawn_worker(NOBODY, {"word": "hello"}, lock_fd=fd, early=early) as worker:
            events = worker.events()
            assert isinstance(said := next(events), Said) and said.text == "hello"
            assert isinstance(next(events), Asked)
            os.close(fd)
            # Only the worker has it now.
            assert is_locked(lock)
            worker.answer(1, "yes")
            assert list(events) == [] and worker.running.wait(60) == 0
        assert not is_locked(lock)


def test_one_that_nobody_takes_is_killed(host_unchanged: None) -> None:
    with start_early(become) as early:
        pid = early.worker.running.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_one_that_gives_way_does_so_until_it_is_taken(tmp_path: Path, host_unchanged: None) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with (tmp_path / "lock").open("wb") as lock, start_early(become, gives_way=True) as early:
        pid = early.worker.running.pid
        assert nice_values(pid) == {19} and autogroup_of(pid) in ("19", "")
        with spawn_worker(NOBODY, {"word": "x"}, lock_fd=lock.fileno(), early=early) as worker:
            events = worker.events()
            assert isinstance(next(events), Said)
            assert len(list(with_children(pid))) == 3
            assert nice_values(pid) == {usual} and autogroup_of(pid) in ("0", "")
            worker.answer(1, "yes")
            assert len(list(events)) == 1 and worker.running.wait(60) == 0


def test_a_process_that_was_left_behind_rises_too() -> None:
    body = (
        "import os, sys\nfrom goldsmith.host.priority import rise_together\n"
        "if not (child := os.fork()):\n    sys.stdin.read()\n    os._exit(0)\n"
        "os.setpriority(os.PRIO_PROCESS, child, 19)\nrise_together()\n"
        "own, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, child))\n"
        "os.kill(child, 9)\nos.waitpid(child, 0)\nsys.exit(own != its)"
    )
    subprocess.run([sys.executable, "-c", body], stdin=subprocess.PIPE, check=True,
                   start_new_session=True, timeout=60)  # fmt: skip


def test_none_gives_way_that_could_not_come_back() -> None:
    body = (
        "import os, subprocess, sys\nfrom goldsmith.host.priority import give_way\n"
        "with subprocess.Popen(['sleep', '60'], start_new_session=True) as other:\n"
        "    give_way(other.pid)\n    found = os.getpriority(os.PRIO_PROCESS, other.pid)\n"
        "    other.kill()\nsys.exit(found != os.getpriority(os.PRIO_PROCESS, 0))"
    )
    # As in a container that has CAP_SYS_ADMIN alone.
    subprocess.run(["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", sys.executable,
                    "-c", body], check=True, timeout=60)  # fmt: skip


def test_who_has_gone_is_left_alone() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as gone:
        gone.wait()
    give_way(gone.pid)
    take_turns(gone.pid)


def test_one_that_has_died_is_told_of_by_its_events(tmp_path: Path, host_unchanged: None) -> None:
    with start_early(lambda *_: 0) as early, (tmp_path / "lock").open("wb") as lock:
        assert early.worker.running.wait(60) == 0
        with spawn_worker(NOBODY, {"word": "x"}, lock_fd=lock.fileno(), early=early) as worker:
            assert list(worker.events()) == [] and worker.running.wait(60) == 0


@pytest.mark.parametrize("source_type", ["amazon-chroot", "image"])
@pytest.mark.parametrize("text", ["", 'source "{}" "x" {{', "\x00"])
def test_a_wrong_template_is_told_as_ever(
    goldsmith: Any, tmp_path: Path, host_unchanged: None, text: str, source_type: str
) -> None:
    named = f'/*\nsource "{source_type}"\n*/\n{text.format(source_type)}\n'
    (tmp_path / "t.pkr.hcl").write_text(named)
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 1 and "Traceback" not in str(result)
    assert list((goldsmith.state / "runs").glob("*/journal.jsonl")) == []


NULL = 'source "null" "n" {\n  communicator = "none"\n}\n'
LISTING = r"""
  provisioner "shell-local" {
    only   = ["null.n"]
    inline = [
      "p=$PPID",
      "until tr '\\0' ' ' </proc/$p/cmdline | grep -q 'build t.pkr.hcl'; do",
      "  p=$(sed -n 's/^PPid:\\t//p' /proc/$p/status)",
      "done",
      "for c in $(cat /proc/$p/task/*/children); do tr '\\0' ' ' </proc/$c/cmdline; echo; done",
    ]
  }
"""
"""Tells which programs the build has started, and still run."""


def test_one_that_no_build_needs_does_not_wait_for_their_end(
    goldsmith: Any, tmp_path: Path, host_unchanged: None
) -> None:
    (tmp_path / "t.pkr.hcl").write_text(
        f'/*\nsource "amazon-chroot"\n*/\n{NULL}'
        f'build {{\n  sources = ["source.null.n"]\n{LISTING}}}\n'
    )
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 0 and "/bin/sh -c" in result.stdout and "_worker" not in str(result)


@pytest.fixture
def project(tmp_path: Path, goldsmith: Any, small_tree: Path) -> Project:
    """A template of an image."""
    return Project(tmp_path, small_tree, goldsmith)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it takes two processors")
def test_the_build_of_an_image_takes_it(project: Project, goldsmith: Any) -> None:
    project.write(shell("echo begun", "sleep 600"))
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path) as running:
        lines = iter(running.stdout.readline, "")
        assert any("begun" in line for line in lines)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in map(int, children)}
        (worker,) = [pid for pid, command in commands.items() if b"_worker" in command]
        assert commands[worker].startswith(b"goldsmith\0_worker\0early\0")
        assert nice_values(worker) == {os.getpriority(os.PRIO_PROCESS, running.pid)}
        assert autogroup_of(worker) in ("0", "")
        running.terminate()
        running.wait(60)
    assert project.leftovers() == []


def test_an_image_that_is_there_needs_none(project: Project) -> None:
    project.write()
    project.built()
    # Nor does it wait for the end of other builds.
    text = (project.path / "t.pkr.hcl").read_text()
    (project.path / "t.pkr.hcl").write_text(
        NULL + text.replace('"source.image.small"]', f'"source.image.small", "null.n"]{LISTING}')
    )
    result = project.built()
    assert "Making the image (cached)" in result.stdout, result
    assert "/bin/sh -c" in result.stdout and "_worker" not in str(result)
