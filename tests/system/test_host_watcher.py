"""A goldsmith that is killed leaves no program of its own behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goldsmith.host import process
from goldsmith.host.watcher import PROCESS_NAME, start_watcher, watch

GONE_WITHIN_S = 60.0

PARENT = """
import os, sys, time
from goldsmith.host import process
from goldsmith.host.watcher import start_watcher

with start_watcher() as watcher:
    process.run(["true"])
    with (
        process.start(["sh", "-c", "sleep 300 & echo $!; exec sleep 300"]) as family,
        process.start(["sleep", "300"]) as single,
    ):
        grandchild = int(family.popen.stdout.readline())
        forked = os.fork() if "fork" in sys.argv else 0
        if "fork" in sys.argv and forked == 0:
            os.setsid()
            time.sleep(300)
        print(watcher.pid, forked, family.pid, grandchild, single.pid, flush=True)
        time.sleep(300)
"""


def _state(pid):
    """The letter of the process's state, "" once it is gone; a zombie (Z) runs no more."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""


def _gone(pids):
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while alive := [pid for pid in pids if _state(pid) not in ("", "Z")]:
        if time.monotonic() > deadline_s:
            return alive
        time.sleep(0.01)
    return []


@contextlib.contextmanager
def _parent(*arguments):
    """A goldsmith with three programs, and the pids of its watcher, fork and programs."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True
    )
    pids = []
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 5
        yield parent, pids[0], pids[1], pids[2:]
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _sleeper():
    sleeper = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        yield sleeper
    finally:
        sleeper.kill()
        sleeper.wait()


def test_programs_of_a_killed_parent_die_and_no_others():
    with _sleeper() as bystander, _parent() as (parent, watcher_pid, _, programs):
        assert all(_state(pid) not in ("", "Z") for pid in (watcher_pid, *programs))
        parent.kill()
        assert _gone([*programs, watcher_pid]) == []
        assert bystander.poll() is None


def test_a_forked_child_does_not_hold_the_watcher_back():
    with _parent("fork") as (parent, watcher_pid, forked, programs):
        parent.kill()
        assert _gone([*programs, watcher_pid]) == []
        assert _state(forked) not in ("", "Z")


def test_signals_of_a_terminal_do_not_end_the_watcher():
    with _parent() as (parent, watcher_pid, _, programs):
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(watcher_pid, signum)
        parent.kill()
        assert _gone([*programs, watcher_pid]) == []


def test_the_watcher_keeps_nothing_of_its_parent():
    with _parent() as (_, watcher_pid, _, _):
        proc = Path(f"/proc/{watcher_pid}")
        assert (proc / "comm").read_text() == PROCESS_NAME + "\n"
        assert [fd.name for fd in (proc / "fd").iterdir()] == ["0"]
        assert os.getsid(watcher_pid) == watcher_pid
        assert os.readlink(proc / "cwd") == "/"


def test_a_stopped_watcher_leaves_no_zombie_and_observes_no_more():
    descriptors = os.listdir("/proc/self/fd")
    with start_watcher() as watcher:
        assert _state(watcher.pid) not in ("", "Z")
    assert _state(watcher.pid) == ""
    assert os.listdir("/proc/self/fd") == descriptors
    assert process.run(["true"]).status == 0
    watcher.started(os.getpid())


def test_stopping_kills_what_is_still_registered():
    with _sleeper() as registered, _sleeper() as unregistered:
        with start_watcher() as watcher:
            watcher.started(registered.pid)
            watcher.started(unregistered.pid)
            watcher.ended(unregistered.pid)
        assert registered.wait(GONE_WITHIN_S) == -signal.SIGKILL
        assert unregistered.poll() is None


def test_a_killed_watcher_disturbs_nothing():
    with start_watcher() as watcher:
        os.kill(watcher.pid, signal.SIGKILL)
        assert _gone([watcher.pid]) == []
        assert process.run(["true"]).status == 0


@pytest.mark.parametrize(("shift", "survives"), [(0, False), (1, True)])
def test_a_reused_number_is_not_killed(shift, survives):
    with _sleeper() as sleeper:
        start_time = int(Path(f"/proc/{sleeper.pid}/stat").read_text().split()[21])
        read_end, write_end = os.pipe()
        os.write(write_end, b"+%d %d\n" % (sleeper.pid, start_time + shift))
        os.close(write_end)
        try:
            watch(read_end)
        finally:
            os.close(read_end)
        if survives:
            assert sleeper.poll() is None
        else:
            assert sleeper.wait(GONE_WITHIN_S) == -signal.SIGKILL


UNREGISTERED = """
import os, sys, time
from goldsmith.host import process
from goldsmith.host.watcher import Watcher, start_watcher

Watcher.started = lambda self, pgid: None  # killed before it came to that
SCRIPT = "setsid sleep 300 & echo $!; wait"
with start_watcher() as watcher, process.start(["sh", "-c", SCRIPT]) as p:
    print(watcher.pid, p.pid, int(p.popen.stdout.readline()), flush=True)
    time.sleep(300)
"""


def test_a_program_that_was_not_registered_yet_is_found():
    parent = subprocess.Popen(
        [sys.executable, "-c", UNREGISTERED], stdout=subprocess.PIPE, text=True
    )
    pids = []
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        parent.kill()
        parent.wait()
        assert _gone(pids) == []
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
