"""`goldsmith doctor` and `goldsmith boot` as users run them: exit codes, streams, nothing left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goldsmith.host.process import find_tool

WITHIN_S = 20.0

# Polls the line status register and sends the bytes at 0x7c40 to COM1, up to a zero; then halts.
SAY = bytes.fromhex(
    "fc31c08ed8be407cac84c0741188c4bafd03eca82074fb88e0b2f8eeebeaf4ebfd"
)  # fmt: skip


def doctor_by(launcher, goldsmith):
    """Run doctor by another program, which changes what it sees of this host."""
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(goldsmith.state)}
    argv = [*launcher, sys.executable, "-P", "-m", "goldsmith", "doctor"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def image(tmp_path):
    """A raw disk whose whole software is a boot sector that says "tiny login:"."""
    path = tmp_path / "tiny.raw"
    sector = (SAY.ljust(0x40, b"\0") + b"\r\none\r\ntiny login: ").ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(1 << 20, b"\0"))
    return path


def machines_of(directory):
    """The programs that have a path below the directory among their words."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(directory) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def wait_for(look, wanted):
    deadline_s = time.monotonic() + WITHIN_S
    while bool(look()) != wanted:
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.02)


def verdicts(text):
    return {check["name"]: check for check in json.loads(text)["checks"]}


# --- doctor


@pytest.mark.root
def test_doctor_tries_the_kernel_and_leaves_nothing(goldsmith):
    done = goldsmith("doctor", "--json")
    found = verdicts(done.stdout)
    assert (done.status in (0, 6), done.stderr) == (True, "")
    assert [found[name]["outcome"] for name in ("root", "namespaces", "overlay")] == ["ok"] * 3
    assert all({"outcome", "finding", "remedy"} <= check.keys() for check in found.values())
    assert all(check["remedy"] for check in found.values() if check["outcome"] != "ok")
    assert not goldsmith.state.exists()


@pytest.mark.root
def test_doctor_works_without_root_and_says_what_it_cannot_see(goldsmith):
    # It may read everything, so that it finds its own code wherever that lies, and no more.
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]  # fmt: skip
    done = doctor_by(user, goldsmith)
    lines = {line[9:].split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert (done.returncode in (0, 6), done.stderr) == (True, "")
    assert lines["root"].endswith("images are built in a user namespace")
    for name in ("namespaces", "overlay", "loop devices"):
        assert lines[name].startswith("warning  ")
        assert lines[name].endswith("  cannot be checked without root")


@pytest.mark.root
def test_a_hidden_tool_is_missing_and_the_last_line_installs_it(goldsmith):
    tool = find_tool("sfdisk")
    assert tool is not None
    # The tool is covered for this process only, in a mount namespace that ends with it.
    covered = 'mount --bind /dev/null "$1" && shift && exec "$@"'
    hidden = ["unshare", "--mount", "sh", "-c", covered, "sh", os.path.realpath(tool)]
    done = doctor_by(hidden, goldsmith)
    lines = done.stdout.splitlines()
    assert done.returncode == 6
    assert lines[-1].startswith("apt-get install ")
    assert "fdisk" in lines[-1].split()
    assert any(line.startswith("missing") and "sfdisk" in line for line in lines)


@pytest.mark.root
def test_a_state_directory_that_cannot_be_is_missing_something(goldsmith):
    done = goldsmith("doctor", "--json", env={"GOLDSMITH_CACHE_DIR": "/proc/goldsmith"})
    overlay = verdicts(done.stdout)["overlay"]
    assert done.status == 6
    assert (overlay["outcome"], "GOLDSMITH_CACHE_DIR" in overlay["remedy"]) == ("missing", True)


def test_doctor_refuses_unknown_flags(goldsmith):
    done = goldsmith("doctor", "--jsn")
    assert (done.status, done.stdout) == (2, "")
    assert 'unknown flag -jsn. Did you mean "json"?' in done.stderr


def test_doctor_says_where_the_guest_comes_from(goldsmith):
    guest = verdicts(goldsmith("doctor", "--json").stdout)["guest"]
    assert (guest["outcome"], "when it is first needed" in guest["finding"]) == ("ok", True)


def test_clean_removes_a_guest_that_was_never_finished(goldsmith):
    half = goldsmith.state / "guest/0123456789abcdef.new"
    (half / "tree").mkdir(parents=True)
    (half.parent / ".lock").touch()
    listed = goldsmith("clean", "--dry-run", check=True)
    assert f"{half}  (a guest that was never finished)" in listed.stdout
    assert half.is_dir()
    assert "Removed 1 of 1." in goldsmith("clean", check=True).stdout
    assert not half.exists()
    assert "Nothing is left to clean." in goldsmith("clean", check=True).stdout


# --- boot


@pytest.mark.boot
def test_boot_prints_the_console_and_leaves_nothing(goldsmith, image):
    done = goldsmith("boot", image, "--memory", "64MiB")
    assert (done.status, done.stderr) == (0, "")
    assert {"one", "tiny login:"} <= set(done.stdout.splitlines())
    assert machines_of(goldsmith.state) == []


@pytest.mark.boot
def test_a_quiet_boot_prints_two_lines_and_keeps_the_log(goldsmith, image, tmp_path):
    log = tmp_path / "serial.log"
    done = goldsmith("boot", image, "--memory=64MiB", "--quiet", "--serial-log", log)
    assert done.status == 0
    assert [line.split(" by ")[0] for line in done.stdout.splitlines()] == [
        "==> Booting tiny.raw", "==> Booted"]  # fmt: skip
    assert b"\r\none\r\ntiny login:" in log.read_bytes()


@pytest.mark.boot
def test_a_text_that_does_not_come_is_4_and_told_on_stderr(goldsmith, image):
    done = goldsmith("boot", image, "--expect=welcome", "--timeout=3s", "--memory=64MiB")
    assert done.status == 4
    assert "did not say 'welcome' within 3 s" in done.stderr
    assert "Booted" not in done.stdout


@pytest.mark.boot
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupt_ends_the_machine_and_leaves_nothing(goldsmith, image, signum, status):
    runs = goldsmith.state / "runs"
    with goldsmith.start("boot", image, "--expect", "never") as child:
        wait_for(lambda: machines_of(runs), True)
        child.send_signal(signum)
        _, errors = child.communicate(timeout=WITHIN_S)
    assert child.returncode == status
    assert "interrupted" in errors
    assert [path.name for path in runs.iterdir()] == [".lock"]
    assert machines_of(runs) == []


@pytest.mark.boot
def test_a_killed_boot_ends_its_machine_and_clean_takes_the_rest(goldsmith, image):
    runs = goldsmith.state / "runs"
    with goldsmith.start("boot", image, "--expect", "never") as child:
        wait_for(lambda: machines_of(runs), True)
        child.kill()
        child.communicate()
    wait_for(lambda: machines_of(runs), False)
    seen = verdicts(goldsmith("doctor", "--json").stdout)["left-overs"]
    assert (seen["outcome"], seen["remedy"]) == ("warning", "goldsmith clean")
    listed = goldsmith("clean", "--dry-run")
    assert "goldsmith boot, ended without cleanup" in listed.stdout
    assert goldsmith("clean").status == 0
    assert [path.name for path in runs.iterdir()] == [".lock"]


def test_an_image_of_an_unknown_ending_is_a_usage_error(goldsmith, image):
    done = goldsmith("boot", image.rename(image.with_suffix(".img")))
    assert (done.status, done.stdout) == (2, "")
    assert "--format" in done.stderr


def test_an_image_that_is_not_there_is_named(goldsmith, tmp_path):
    done = goldsmith("boot", tmp_path / "absent.qcow2")
    assert done.status == 1
    assert "absent.qcow2" in done.stderr
