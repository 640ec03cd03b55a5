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


def goldsmith(*words, env, before=()):
    return subprocess.run(
        [*before, sys.executable, "-P", "-m", "goldsmith", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **env},
    )  # fmt: skip


@contextlib.contextmanager
def running_goldsmith(*words, env):
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "goldsmith", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.fixture
def state(tmp_path):
    """A state directory and a TMPDIR of this test's own, as the environment that names them."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return {"GOLDSMITH_CACHE_DIR": str(tmp_path / "state"), "TMPDIR": str(temporary)}


@pytest.fixture
def image(tmp_path):
    """A raw disk whose whole software is a boot sector that says "tiny login:"."""
    path = tmp_path / "tiny.raw"
    sector = (SAY.ljust(0x40, b"\0") + b"\r\none\r\ntiny login: ").ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(1 << 20, b"\0"))
    return path


def everything_on_the_host(tmp_path):
    """Mounts, attached loop devices and every file below the test's directory."""
    loops = sorted(str(path) for path in Path("/sys/block").glob("loop*/loop/backing_file"))
    mounts = [line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().split("\n")
              if line]  # fmt: skip
    return mounts, loops, sorted(str(path) for path in tmp_path.rglob("*"))


def settled_on(before, tmp_path):
    """What is there now; polled, because loop devices vanish a moment late."""
    deadline_s = time.monotonic() + 2
    while (now := everything_on_the_host(tmp_path)) != before and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return now


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


def verdicts(done):
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


# --- doctor


@pytest.mark.root
def test_doctor_tries_the_kernel_and_leaves_nothing(state, tmp_path):
    before = everything_on_the_host(tmp_path)
    done = goldsmith("doctor", "--json", env=state)
    found = verdicts(done)
    assert done.returncode in (0, 6)
    assert done.stderr == ""
    assert [found[name]["outcome"] for name in ("root", "namespaces", "overlay")] == ["ok"] * 3
    assert all({"outcome", "finding", "remedy"} <= check.keys() for check in found.values())
    assert all(check["remedy"] for check in found.values() if check["outcome"] != "ok")
    assert settled_on(before, tmp_path) == before


@pytest.mark.root
def test_doctor_works_without_root_and_says_what_it_cannot_see(state, tmp_path):
    before = everything_on_the_host(tmp_path)
    # It may read everything, so that it finds its own code wherever that lies, and no more.
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]  # fmt: skip
    done = goldsmith("doctor", "--json", before=user, env={**state, "TMPDIR": "/tmp"})
    found = verdicts(done)
    assert done.returncode in (0, 6)
    assert found["root"]["outcome"] == "warning"
    for name in ("namespaces", "overlay", "loop devices"):
        assert found[name]["finding"] == "cannot be checked without root"
        assert found[name]["remedy"] == "sudo goldsmith doctor"
    assert settled_on(before, tmp_path) == before


@pytest.mark.root
def test_a_hidden_tool_is_missing_and_the_last_line_installs_it(state):
    tool = find_tool("mmdebstrap")
    if tool is None:
        pytest.skip("this host lacks mmdebstrap")
    # The tool is covered for this process only, in a mount namespace that ends with it.
    covered = 'mount --bind /dev/null "$1" && shift && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", covered, "sh", os.path.realpath(tool)]
    done = goldsmith("doctor", before=before, env=state)
    lines = done.stdout.splitlines()
    assert done.returncode == 6
    assert lines[-1].startswith("apt-get install ")
    assert "mmdebstrap" in lines[-1].split()
    assert any(line.startswith("missing") and "mmdebstrap" in line for line in lines)


@pytest.mark.root
def test_a_state_directory_where_overlays_cannot_be_is_missing_something(state, tmp_path):
    done = goldsmith("doctor", "--json", env={**state, "GOLDSMITH_CACHE_DIR": "/proc/goldsmith"})
    overlay = verdicts(done)["overlay"]
    assert done.returncode == 6
    assert (overlay["outcome"], "GOLDSMITH_CACHE_DIR" in overlay["remedy"]) == ("missing", True)


def test_doctor_refuses_unknown_flags(state):
    done = goldsmith("doctor", "--jsn", env=state)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--jsn" in done.stderr


# --- boot


@pytest.mark.boot
def test_boot_prints_the_console_and_leaves_nothing(state, image, tmp_path):
    goldsmith("boot", image, "--memory", "64MiB", "--timeout", "0.001s", env=state)
    before = everything_on_the_host(tmp_path)
    done = goldsmith("boot", image, "--memory", "64MiB", env=state)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"one", "tiny login:"} <= set(done.stdout.splitlines())
    assert settled_on(before, tmp_path) == before
    assert machines_of(tmp_path) == []


@pytest.mark.boot
def test_a_quiet_boot_prints_two_lines_and_keeps_the_log(state, image, tmp_path):
    log = tmp_path / "serial.log"
    done = goldsmith("boot", image, "--memory=64MiB", "--quiet", "--serial-log", log, env=state)
    assert done.returncode == 0
    assert [line.split(" by ")[0] for line in done.stdout.splitlines()] == [
        "==> Booting tiny.raw", "==> Booted"]  # fmt: skip
    assert b"\r\none\r\ntiny login:" in log.read_bytes()


@pytest.mark.boot
def test_a_text_that_does_not_come_is_4_and_told_on_stderr(state, image):
    done = goldsmith("boot", image, "--expect", "welcome", "--timeout", "4s", "--memory", "64MiB",
                     env=state)  # fmt: skip
    assert done.returncode == 4
    assert "did not say 'welcome' within 4 s" in done.stderr
    assert "Booted" not in done.stdout


@pytest.mark.boot
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupt_ends_the_machine_and_leaves_nothing(state, image, tmp_path, signum, status):
    runs = tmp_path / "state" / "runs"
    with running_goldsmith("boot", image, "--expect", "never", env=state) as child:
        wait_for(lambda: machines_of(runs), True)
        child.send_signal(signum)
        _, errors = child.communicate(timeout=WITHIN_S)
    assert child.returncode == status
    assert "interrupted" in errors
    assert [path.name for path in runs.iterdir()] == [".lock"]
    assert machines_of(runs) == []
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.boot
def test_a_killed_boot_ends_its_machine_and_clean_takes_the_rest(state, image, tmp_path):
    runs = tmp_path / "state" / "runs"
    with running_goldsmith("boot", image, "--expect", "never", env=state) as child:
        wait_for(lambda: machines_of(runs), True)
        child.kill()
        child.communicate()
    wait_for(lambda: machines_of(runs), False)
    seen = verdicts(goldsmith("doctor", "--json", env=state))["left-overs"]
    assert (seen["outcome"], seen["remedy"]) == ("warning", "goldsmith clean")
    listed = goldsmith("clean", "--dry-run", env=state)
    assert "goldsmith boot, ended without cleanup" in listed.stdout
    assert goldsmith("clean", env=state).returncode == 0
    assert [path.name for path in runs.iterdir()] == [".lock"]


def test_an_image_of_an_unknown_ending_is_a_usage_error(state, image):
    unclear = image.rename(image.with_suffix(".img"))
    done = goldsmith("boot", unclear, env=state)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--format" in done.stderr


def test_an_image_that_is_not_there_is_named(state, tmp_path):
    done = goldsmith("boot", tmp_path / "absent.qcow2", env=state)
    assert done.returncode == 1
    assert "absent.qcow2" in done.stderr
