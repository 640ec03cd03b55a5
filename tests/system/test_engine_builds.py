"""The build engine as a whole: many builds at once, and provisioners that misbehave."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WAIT_S = 30.0
MIB = 1 << 20


def build(name: str, *provisioners: str) -> str:
    """A null source with a build of its own; each provisioner is the body of a shell-local."""
    bodies = "".join(f'  provisioner "shell-local" {{\n{body}\n  }}\n' for body in provisioners)
    return (
        f'source "null" "{name}" {{\n  communicator = "none"\n}}\n'
        f'build {{\n  sources = ["null.{name}"]\n{bodies}}}\n'
    )


def inline(*commands: str) -> str:
    """A provisioner's body; the commands have no double quotes."""
    return "    inline = [" + ", ".join(f'"{command}"' for command in commands) + "]"


class Running:
    """A build command in a directory of its own; a context manager."""

    def __init__(self, directory: Path, text: str, *flags: str) -> None:
        self.directory = directory
        (directory / "t.pkr.hcl").write_text(text)
        (directory / "tmp").mkdir()
        environment = {
            **os.environ, "GOLDSMITH_CACHE_DIR": str(directory / "cache"),
            "TMPDIR": str(directory / "tmp"),
        }  # fmt: skip
        argv = [sys.executable, "-m", "goldsmith", "build", "-color=false", *flags, "t.pkr.hcl"]
        self.popen = subprocess.Popen(
            argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()

    def end(self) -> tuple[int, str]:
        """Its status and all that it said."""
        said, _ = self.popen.communicate()
        return self.popen.returncode, said.decode()


def run(directory: Path, text: str, *flags: str) -> tuple[int, str]:
    with Running(directory, text, *flags) as running:
        return running.end()


def wait_for(true: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def alive_in(directory: Path) -> list[str]:
    """The programs whose working directory this is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory):
                found.append((entry / "comm").read_text().strip())
        except OSError:
            continue
    return found


def assert_nothing_is_left(directory: Path) -> None:
    wait_for(lambda: not alive_in(directory), "processes are left")
    assert list((directory / "tmp").iterdir()) == []
    assert [p for p in (directory / "cache/runs").iterdir() if p.name != ".lock"] == []


def test_builds_that_fail_do_not_disturb_the_others(tmp_path: Path) -> None:
    good = "acefh"
    parts = [build(name, inline(f"echo one >> out-{name}"), inline(f"echo two >> out-{name}"))
             for name in good]  # fmt: skip
    parts += [
        build("b", inline("exit 3"), inline("echo never > out-b")),
        build("d", inline("sleep 300") + '\n    timeout = "500ms"', inline("echo > out-d")),
        build("g", inline("echo $$ > g.part; mv g.part g.pid; sleep 300"), inline("echo > out-g")),
    ]
    with Running(tmp_path, "".join(parts)) as running:
        wait_for((tmp_path / "g.pid").exists, "the build to kill never began")
        os.kill(int((tmp_path / "g.pid").read_text()), signal.SIGKILL)
        status, said = running.end()
    assert status == 1
    assert {p.name: p.read_text() for p in tmp_path.glob("out-*")} == {
        f"out-{name}": "one\ntwo\n" for name in good
    }
    errors = {
        name: text for name, text in re.findall(r"^--> null\.(\w): (.*)$", said, re.MULTILINE)
    }
    assert sorted(name for name, text in errors.items() if "Did not export" in text) == list(good)
    assert "non-zero exit status: 3." in errors["b"]
    assert "timeout of 0.5 s" in errors["d"]
    assert "non-zero exit status: 137." in errors["g"]
    assert "death by signal 9" in said
    assert "Traceback" not in said
    assert_nothing_is_left(tmp_path)


def test_a_script_that_vanishes_while_the_build_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("#!/bin/sh\necho never\n")
    (tmp_path / "s.sh").chmod(0o755)
    text = build("a", inline("rm s.sh"), '    script = "s.sh"')
    status, said = run(tmp_path, text)
    assert status == 1
    assert re.search(r"errored after .*s\.sh", said)
    assert "127 usually means that a command was not found" in said
    assert "Traceback" not in said and "never" not in said


@pytest.mark.parametrize("kind", ["directory", "no interpreter", "not executable"])
def test_a_script_that_cannot_run_is_named(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "s.sh"
    if kind == "directory":
        script.mkdir()
    else:
        script.write_text("#!/no/such/interpreter\n" if kind == "no interpreter" else "true\n")
        script.chmod(0o755 if kind == "no interpreter" else 0o644)
    status, said = run(tmp_path, build("a", '    script = "s.sh"'))
    assert status == 1
    assert "s.sh" in said and "Traceback" not in said


def test_output_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    octal = r"printf 'a\\377\\376b\\nlast\\n'"
    status, said = run(tmp_path, build("a", inline(octal)))
    assert status == 0
    assert "==> null.a: a\ufffd\ufffdb\n==> null.a: last\n" in said


def test_a_provisioner_that_closes_its_pipes_and_lives_on_is_waited_for(tmp_path: Path) -> None:
    quiet = "exec >&- 2>&- <&-; sleep 1; echo done > out-1"
    status, _ = run(tmp_path, build("a", inline(quiet), inline("cat out-1")))
    assert status == 0
    assert_nothing_is_left(tmp_path)


def test_what_a_provisioner_leaves_running_with_closed_pipes_ends_with_it(tmp_path: Path) -> None:
    status, _ = run(tmp_path, build("a", inline("sleep 300 >&- 2>&- <&- &"), inline("true")))
    assert status == 0
    assert_nothing_is_left(tmp_path)


def _most_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


ONE_LINE = r"head -c 1073741824 /dev/zero | tr '\\0' x"
LONG_LINES = r"yes $(head -c 4000 /dev/zero | tr '\\0' x) | head -c 1073741824"


@pytest.mark.parametrize("command", [ONE_LINE, LONG_LINES], ids=["one line", "lines"])
@pytest.mark.nightly
def test_a_gibibyte_of_output_takes_no_memory(tmp_path: Path, command: str) -> None:
    most: list[int] = []
    with Running(tmp_path, build("a", inline(command), inline("echo the end"))) as running:
        said = running.popen.stdout
        assert isinstance(said, io.BufferedReader)
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                most.append(_most_memory(running.popen.pid))

        watching = threading.Thread(target=watch)
        watching.start()
        last = b""
        for piece in iter(lambda: said.read1(MIB), b""):
            last = (last + piece)[-4096:]
        stop.set()
        watching.join()
        assert running.popen.wait() == 0
    assert b"==> null.a: the end" in last
    assert max(most) < 150 * MIB
