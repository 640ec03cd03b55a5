"""A copy of a process: it has the modules, and nothing else that is its parent's."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import json, os, signal, sys, threading, time
from goldsmith.host import process

def shown(name):
    return open(f"/proc/self/{name}", "rb").read().decode()
"""
"""Each case is a program of its own: to fork is for processes of one thread."""


def run(body: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program with a secret in its environment."""
    done = subprocess.run([sys.executable, "-c", HEAD + body, *words], capture_output=True,
                          text=True, env={**os.environ, "SECRET": "hunter2"}, check=False,
                          stdin=subprocess.DEVNULL, timeout=60)  # fmt: skip
    assert done.returncode == status, done
    return done


def told(body: str, *words: str) -> Any:
    """What a program says on standard error, as JSON."""
    return json.loads(run(body, *words).stderr)


def test_it_has_a_session_descriptors_and_an_environment_of_its_own() -> None:
    found = told("""
kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY)
os.set_inheritable(other, True)

def body():
    fds = {int(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
           if os.path.exists(f"/proc/self/fd/{fd}")}
    print(json.dumps({
        "environ": shown("environ"), "cmdline": shown("cmdline"), "environment": dict(os.environ),
        "argv": sys.argv, "leads": os.getsid(0) == os.getpid(), "stdin": fds[0],
        "out_is_err": fds[1] == fds[2], "fds": sorted(fds), "kept": kept,
    }), flush=True)
    return 7

with process.copy(body, env={"NAME": "value"}, fds=(kept,)) as running:
    assert running.popen.wait() == 7 and running.status == 7
""", "-var", "password=hunter3")  # fmt: skip
    assert found["environ"].strip("\0") == "" and found["environment"] == {"NAME": "value"}
    assert found["cmdline"].rstrip("\0") == "goldsmith\0_worker\0early"
    assert found["argv"] == ["goldsmith", "_worker", "early"]
    assert found["leads"] and found["out_is_err"] and found["stdin"] == os.devnull
    assert found["fds"] == sorted({0, 1, 2, found["kept"]})


def test_programs_of_it_get_what_it_has_now() -> None:
    found = told("""
import subprocess
def body():
    subprocess.run([sys.executable, "-c", "import json, os, sys;"
                    "print(json.dumps(dict(os.environ)), file=sys.stderr)"], check=True)
    return 0
with process.copy(body, env={"NAME": "value"}, fds=()) as running:
    assert running.wait() == 0
""")
    assert found["NAME"] == "value" and "SECRET" not in found


def test_signals_do_there_what_they_usually_do() -> None:
    found = told("""
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)

def body():
    print(json.dumps({
        "term": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "hup": signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }), flush=True)
    return 0
with process.copy(body, env={}, fds=()) as running:
    assert running.wait() == 0
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
""")
    assert found == {"term": True, "int": True, "hup": True, "blocked": 0}


def test_it_can_start_programs_and_its_parent_too() -> None:
    run("""
observed = []
class Observer:
    def started(self, pgid): observed.append(pgid)
    def ended(self, pgid): observed.append(-pgid)
process.observe_groups(Observer())
def body():
    return 0 if process.run(["true"]).status == 0 and not observed else 1
with process.copy(body, env={"PATH": os.environ["PATH"]}, fds=()) as running:
    assert running.wait() == 0 and observed == [running.pid]
assert observed == [running.pid, -running.pid]
assert process.run(["true"]).status == 0
""")


def test_leaving_the_block_ends_it_and_its_children() -> None:
    run("""
reader, writer = os.pipe()
def body():
    if not os.fork():
        os.write(writer, b"x")
    time.sleep(600)
with process.copy(body, env={}, fds=(writer,)) as running:
    os.close(writer)
    assert os.read(reader, 1) == b"x" and running.wait(0.01) is None
assert os.read(reader, 1) == b"" and running.status == 130
""")


def test_it_begins_when_its_session_was_seen_to() -> None:
    run("""
reader, writer = os.pipe()
os.set_blocking(reader, False)
def see_to(session):
    assert os.getsid(session) == session
    time.sleep(0.05)
    try:
        sys.exit(f"it has begun: {os.read(reader, 1)}")
    except BlockingIOError:
        seen.append(session)
seen = []
with process.copy(lambda: os.write(writer, b"x"), env={}, fds=(writer,),
                  on_session=see_to) as running:
    assert running.wait() == 1 and seen == [running.pid] and os.read(reader, 1) == b"x"
""")


def test_what_is_printed_before_is_printed_once() -> None:
    done = run("""
print("once")
with process.copy(lambda: 0, env={}, fds=()) as running:
    assert running.wait() == 0
""")
    assert done.stdout == "once\n"


def test_an_error_of_it_is_told_and_stays_there() -> None:
    done = run("""
def body():
    raise ValueError("what went wrong")
with process.copy(body, env={}, fds=()) as running:
    assert running.wait() == 1
print("the parent goes on")
""")
    assert "ValueError: what went wrong" in done.stderr and done.stdout == "the parent goes on\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_its_end_by_a_signal_is_its_status(signum: signal.Signals) -> None:
    done = run(f"""
def body():
    signal.raise_signal({int(signum)})
    time.sleep(600)
with process.copy(body, env={{}}, fds=()) as running:
    print(running.wait())
""")
    assert int(done.stdout) == (130 if signum == signal.SIGINT else -signum) and not done.stderr


def test_a_host_without_room_for_it_is_an_error() -> None:
    run("""
from goldsmith.errors import GoldsmithError
def fork():
    raise BlockingIOError(11, "no room")
before, os.fork = os.listdir("/proc/self/fd"), fork
try:
    process.copy(lambda: 0, env={}, fds=()).__enter__()
except GoldsmithError as e:
    assert str(e) == "a copy of this process cannot start: no room", e
else:
    sys.exit("it started")
assert os.listdir("/proc/self/fd") == before
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert process.run(["true"]).status == 0
""")


def test_an_interrupt_while_it_is_made_is_ours_and_it_ends() -> None:
    run("""
real, made = os.fork, []
def fork():
    signal.raise_signal(signal.SIGINT)
    made.append(real())
    return made[0]
before, os.fork = os.listdir("/proc/self/fd"), fork
try:
    process.copy(lambda: time.sleep(600), env={}, fds=()).__enter__()
except KeyboardInterrupt:
    pass
else:
    sys.exit("no interrupt came")
assert os.listdir("/proc/self/fd") == before
assert not os.path.exists(f"/proc/{made[0]}")
""")


def test_interrupts_at_its_end_lead_nowhere_else() -> None:
    """Whatever comes between the last word of the body and the end, no parent's code runs in it."""
    done = run("""
class Stubborn:
    def __init__(self, stream):
        self.stream = stream
    def flush(self):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        raise KeyboardInterrupt
    def write(self, text):
        return self.stream.write(text)

def body():
    sys.stderr = Stubborn(sys.stderr)
    return 5
with process.copy(body, env={}, fds=()) as running:
    assert running.wait() == 5
print("once")
""")
    assert done.stdout == "once\n"


@pytest.mark.parametrize("entry", [b"=x=y", b"no equals sign", b"=", b"NAME=one\0NAME=two"])
def test_any_environment_can_be_shed(entry: bytes) -> None:
    """Also one with an entry without a name, which unsetenv(3) refuses."""
    body = (
        HEAD
        + """
def body():
    os.environ.clear()
    return len(shown("environ").strip(chr(0)))
with process.copy(body, env={"NAME": "value"}, fds=()) as running:
    sys.exit(running.wait())
"""
    )
    libc, words = ctypes.CDLL(None), [sys.executable.encode(), b"-c", body.encode()]
    argv = (ctypes.c_char_p * 4)(*words, None)
    entries = [b"PATH=/usr/bin:/bin", *entry.split(b"\0")]
    env = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
    pid = os.fork()
    if pid == 0:
        libc.execve(words[0], argv, env)
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_end_of_which_somebody_else_has_heard_is_one() -> None:
    run("""
with process.copy(lambda: 3, env={}, fds=()) as running:
    os.waitpid(running.pid, 0)
    assert running.popen.wait() == 0 and running.status == 0
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
reader, writer = os.pipe()
with process.copy(lambda: len(os.read(reader, 1)), env={}, fds=(reader,)) as running:
    os.write(writer, b"x")
    assert running.wait(30) == 0
""")


def test_no_copy_is_made_beside_other_threads() -> None:
    run("""
def elsewhere():
    try:
        process.copy(lambda: 0, env={}, fds=()).__enter__()
    except RuntimeError:
        found.append("refused")
found, over = [], threading.Event()
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
threading.Thread(target=over.wait, daemon=True).start()
elsewhere()
assert found == ["refused", "refused"]
""")


@pytest.mark.parametrize("words", [[], ["a" * 5000], ["", "two"]])
def test_the_command_line_is_cut_to_the_room_there_is(words: list[str], tmp_path: Path) -> None:
    body = (
        "import sys\nfrom goldsmith.host import kernel\n"
        f"kernel.show_command_line({words!r})\n"
        "sys.stdout.write(open('/proc/self/cmdline').read())"
    )
    argv = [sys.executable, "-c", body, "x" * 100]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    room = sum(len(word) + 1 for word in argv)
    assert done.stdout == "\0".join(words)[: room - 1].ljust(room, "\0")
