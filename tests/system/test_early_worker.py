"""A worker that starts before its template is read: taken by the build, or gone without a trace."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from goldsmith.events import Asked, Said
from goldsmith.host.worker import spawn_worker, start_early

pytestmark = pytest.mark.root

BODY = """
import sys
from goldsmith.events import Asked, Said
from goldsmith.host.worker import become_worker

def body(link):
    if not link.receive_lock():
        return 3
    link.emit(Said(build="b", text=link.read_start_document()["word"]))
    link.listen()
    link.ask(lambda number: Asked(build="b", id=number, question="go on?"))
    return 0

sys.exit(become_worker(*(int(word) for word in sys.argv[1:]), body))
"""


def is_locked(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def argv(tmp_path: Path, host_unchanged: None) -> list[str]:
    (tmp_path / "body.py").write_text(BODY)
    return [sys.executable, str(tmp_path / "body.py")]


def test_it_is_given_the_lock_and_the_start_document(argv: list[str], tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT)
    with start_early(argv) as early:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with spawn_worker(argv, {"word": "hello"}, lock_fd=fd, early=early) as worker:
            events = worker.events()
            assert isinstance(said := next(events), Said) and said.text == "hello"
            assert isinstance(next(events), Asked)
            os.close(fd)
            # Only the worker has it now.
            assert is_locked(lock)
            worker.answer(1, "yes")
            assert list(events) == [] and worker.running.wait(60) == 0
        assert not is_locked(lock)


def test_one_that_nobody_takes_is_killed(argv: list[str]) -> None:
    with start_early(argv) as early:
        pid = early.worker.running.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_one_that_has_died_is_told_of_by_its_events(tmp_path: Path, host_unchanged: None) -> None:
    argv = [sys.executable, "-c", "pass"]
    with start_early(argv) as early, (tmp_path / "lock").open("wb") as lock:
        assert early.worker.running.wait(60) == 0
        with spawn_worker(argv, {"word": "x"}, lock_fd=lock.fileno(), early=early) as worker:
            assert list(worker.events()) == [] and worker.running.wait(60) == 0


@pytest.mark.parametrize("text", ["", 'source "amazon-chroot" "x" {', "\x00"])
def test_a_wrong_template_is_told_as_ever(
    goldsmith: Any, tmp_path: Path, host_unchanged: None, text: str
) -> None:
    (tmp_path / "t.pkr.hcl").write_text(f'# "amazon-chroot"\n{text}\n')
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 1 and "Traceback" not in str(result)
    assert list((goldsmith.state / "runs").glob("*/journal.jsonl")) == []


LISTED = r"""
# "amazon-chroot"
source "null" "n" {
  communicator = "none"
}
build {
  sources = ["source.null.n"]
  provisioner "shell-local" {
    inline = [
      "p=$PPID",
      "until tr '\\0' ' ' </proc/$p/cmdline | grep -q 'build t.pkr.hcl'; do",
      "  p=$(sed -n 's/^PPid:\\t//p' /proc/$p/status)",
      "done",
      "for c in $(cat /proc/$p/task/*/children); do tr '\\0' ' ' </proc/$c/cmdline; echo; done",
    ]
  }
}
"""


def test_one_that_no_build_needs_does_not_wait_for_their_end(
    goldsmith: Any, tmp_path: Path, host_unchanged: None
) -> None:
    (tmp_path / "t.pkr.hcl").write_text(LISTED)
    result = goldsmith("build", "t.pkr.hcl")
    assert result.status == 0 and "/bin/sh -c" in result.stdout and "_worker" not in str(result)
