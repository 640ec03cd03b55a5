"""Builds on threads of the command: whatever ends them, nothing of them goes on."""

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

POLL_S = 60.0
NULL = 'source "null" "{name}" {{\n  communicator = "none"\n}}\n'
STUBBORN = "trap '' INT TERM; (trap '' INT TERM; sleep 300) & echo ready; sleep 300; sleep 300"
WILLING = "sleep 300 & echo ready; sleep 300"


def template(command: str, *, names: str = "a", more: str = "") -> str:
    """A template of null sources that run a command."""
    sources = "".join(NULL.format(name=name) for name in names)
    listed = ", ".join(f'"null.{name}"' for name in names)
    return (
        f"{sources}build {{\n  sources = [{listed}]\n"
        f'  provisioner "shell-local" {{\n    inline = ["{command}"]\n{more}  }}\n}}\n'
    )


def wait_until(true: Callable[[], object], what: str) -> None:
    """Poll a condition: a killed process is gone a moment later."""
    deadline_s = time.monotonic() + POLL_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def processes_in(directory: Path) -> list[str]:
    """The command lines of living processes whose working directory this is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(entry / "cwd") == str(directory):
                    found.append((entry / "cmdline").read_bytes().decode())
            except OSError:
                continue
    return found


@contextmanager
def building(directory: Path, text: str, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start a build in a directory; it is not waited for."""
    (directory / "t.pkr.hcl").write_text(text)
    (directory / "tmp").mkdir(exist_ok=True)
    environment = {
        **os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache"),
        "TMPDIR": str(directory / "tmp"),
    }  # fmt: skip
    argv = [sys.executable, "-m", "goldsmith", "build", "-color=false", *flags, "t.pkr.hcl"]
    with subprocess.Popen(
        argv, cwd=directory, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def read_until(running: subprocess.Popen[str], text: str, count: int = 1) -> str:
    """Read the output up to the line that holds a text for the count-th time."""
    assert running.stdout is not None
    seen = ""
    for line in running.stdout:
        seen += line
        count -= text in line
        if not count:
            return seen
    raise AssertionError(f"{text!r} never came:\n{seen}")


def assert_nothing_is_left(directory: Path) -> None:
    wait_until(lambda: not processes_in(directory), "processes are left")
    assert list((directory / "tmp").iterdir()) == []
    assert [p for p in (directory / "cache/runs").iterdir() if p.name != ".lock"] == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_every_build(tmp_path: Path, signum: signal.Signals) -> None:
    with building(tmp_path, template(WILLING, names="abcdef")) as running:
        read_until(running, "ready", 6)
        running.send_signal(signum)
        assert running.stdout is not None
        rest = running.stdout.read()
        assert running.wait() == 1
    assert rest.count(f"interrupted by {signum.name}") == 6
    assert "Cleanly cancelled builds after being interrupted." in rest
    assert "Traceback" not in rest
    assert_nothing_is_left(tmp_path)


def test_programs_that_ignore_it_are_killed(tmp_path: Path) -> None:
    with building(tmp_path, template(STUBBORN, names="ab")) as running:
        read_until(running, "ready", 2)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGINT)
        assert running.stdout is not None
        running.stdout.read()
        assert running.wait() == 1
    assert_nothing_is_left(tmp_path)


def test_builds_that_wait_do_not_start_after_a_signal(tmp_path: Path) -> None:
    with building(tmp_path, template(WILLING, names="abc"), "-parallel-builds=1") as running:
        read_until(running, "ready")
        running.send_signal(signal.SIGTERM)
        assert running.stdout is not None
        rest = running.stdout.read()
        assert running.wait() == 1
    assert "null.b" not in rest
    assert_nothing_is_left(tmp_path)


def test_a_pause_ends_at_once(tmp_path: Path) -> None:
    text = template("echo never", more='    pause_before = "1h"\n')
    with building(tmp_path, text) as running:
        read_until(running, "Pausing 1h0m0s before the next provisioner...")
        running.send_signal(signal.SIGINT)
        assert running.stdout is not None
        rest = running.stdout.read()
        assert running.wait() == 1
    assert "never" not in rest
    assert_nothing_is_left(tmp_path)


def test_a_post_processor_ends_too(tmp_path: Path) -> None:
    text = (
        'source "file" "f" {\n  target = "o"\n  content = "x"\n}\nbuild {\n'
        '  sources = ["file.f"]\n  post-processor "shell-local" {\n'
        f'    inline = ["{WILLING}"]\n  }}\n}}\n'
    )
    with building(tmp_path, text) as running:
        read_until(running, "ready")
        running.send_signal(signal.SIGINT)
        assert running.stdout is not None
        running.stdout.read()
        assert running.wait() == 1
    assert_nothing_is_left(tmp_path)
    assert (tmp_path / "o").read_text() == "x"


def test_a_timeout_kills_all_that_the_provisioner_started(tmp_path: Path) -> None:
    text = template(STUBBORN, more='    timeout = "500ms"\n')
    with building(tmp_path, text) as running:
        assert running.stdout is not None
        said = running.stdout.read()
        assert running.wait() == 1
    assert "did not end within its timeout of 0.5 s" in said
    assert_nothing_is_left(tmp_path)


def test_each_try_has_a_fresh_clock_and_the_last_error_counts(tmp_path: Path) -> None:
    command = "echo try; [ -e m ] && exit 7; touch m; sleep 300"
    text = template(command, more='    timeout = "10s"\n    max_retries = 1\n')
    with building(tmp_path, text) as running:
        assert running.stdout is not None
        said = running.stdout.read()
        assert running.wait() == 1
    assert said.count("==> null.a: try\n") == 2
    assert "exit status: 7" in said.partition("Wait completed")[2]


def test_what_a_script_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    with building(tmp_path, template("sleep 300 & echo done")) as running:
        assert running.stdout is not None
        assert running.stdout.read()
        assert running.wait() == 0
    assert_nothing_is_left(tmp_path)


def test_a_killed_command_leaves_no_program_and_clean_takes_its_files(tmp_path: Path) -> None:
    with building(tmp_path, template(STUBBORN, names="ab")) as running:
        read_until(running, "ready", 2)
        running.kill()
        running.wait()
    wait_until(lambda: not processes_in(tmp_path), "processes are left")
    assert len(list((tmp_path / "tmp").iterdir())) == 2
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(tmp_path / "cache")}
    argv = [sys.executable, "-m", "goldsmith", "clean"]
    subprocess.run(argv, env=environment, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    assert_nothing_is_left(tmp_path)


def test_many_builds_at_once(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(150)]
    sources = "".join(NULL.format(name=name) for name in names)
    listed = ", ".join(f'"null.{name}"' for name in names)
    text = (
        f"{sources}build {{\n  sources = [{listed}]\n  provisioner \"shell-local\" {{\n"
        '    inline = ["echo from ${source.name}"]\n  }\n}\n'
    )  # fmt: skip
    with building(tmp_path, text) as running:
        assert running.stdout is not None
        said = running.stdout.read()
        assert running.wait() == 0, said
    for name in names:
        assert f"==> null.{name}: from {name}\n" in said
    assert said.count("--> null.n") == 150
    assert_nothing_is_left(tmp_path)


def test_one_that_fails_does_not_disturb_the_others(tmp_path: Path) -> None:
    command = "[ ${source.name} != b ]"
    with building(tmp_path, template(command, names="abc")) as running:
        assert running.stdout is not None
        said = running.stdout.read()
        assert running.wait() == 1
    assert "Build 'null.b' errored" in said
    assert said.count("--> null.") == 3
    assert said.count("Did not export anything") == 2


@pytest.mark.root
def test_an_ordinary_user_needs_no_root(tmp_path: Path) -> None:
    nobody = 65534
    place = tmp_path / "place"
    for directory in (place, place / "tmp"):
        directory.mkdir()
        os.chown(directory, nobody, nobody)
    (place / "t.pkr.hcl").write_text(
        'source "file" "f" {\n  target = "o"\n  content = "x"\n}\nbuild {\n  sources = ["file.f"]\n'
        '  provisioner "shell-local" {\n    inline = ["id -u"]\n  }\n'
        '  post-processor "compress" {\n    output = "o.tar.gz"\n  }\n}\n'
    )
    # Reading all files is what lets it use a Python in root's home; it is no root's right to write.
    argv = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
            sys.executable, "-m", "goldsmith", "build", "t.pkr.hcl"]  # fmt: skip
    done = subprocess.run(
        argv, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place / "tmp")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "==> file.f: 65534\n" in done.stdout
    assert (place / "o.tar.gz").stat().st_uid == nobody
