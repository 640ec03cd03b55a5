"""The fixtures that every other system test relies on: they must see what was left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import Host

pytestmark = pytest.mark.root


def left_since(before, places):
    return "\n".join(Host.now(places).differences(before))


@pytest.fixture
def places(own_places, tmp_path):
    return [own_places, tmp_path.parent]


def test_a_mount_is_seen(tmp_path, places):
    before = Host.now(places)
    subprocess.run(["mount", "-t", "tmpfs", "left", tmp_path], check=True)
    try:
        assert f"{tmp_path} (tmpfs of left" in left_since(before, places)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert not left_since(before, places)


def test_a_mount_that_is_gone_is_seen(tmp_path, places):
    subprocess.run(["mount", "-t", "tmpfs", "ours", tmp_path], check=True)
    before = Host.now(places)
    subprocess.run(["umount", tmp_path], check=True)
    assert f"gone from the host (mounts): {tmp_path}" in left_since(before, places)


def test_a_loop_device_is_seen(tmp_path, places):
    backing = tmp_path / "disk"
    with backing.open("wb") as file:
        file.truncate(1 << 20)
    before = Host.now(places)
    argv = ["losetup", "--find", "--show", backing]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        assert f"{device} on {backing}" in left_since(before, places)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_child_is_seen(places):
    before = Host.now(places)
    with subprocess.Popen(["sleep", "300"]) as child:
        try:
            assert f"{child.pid} sleep" in left_since(before, places)
        finally:
            child.kill()
    assert not left_since(before, places)


def test_an_orphan_is_seen_by_its_name(tmp_path, places):
    before = Host.now(places)
    report = tmp_path / "pid"
    script = f'cd "{tmp_path}"; sleep 300 & echo $! >"{report}"'
    subprocess.run(["setsid", "--wait", "sh", "-c", script], check=True)
    pid = int(report.read_text())
    try:
        # It is a shell until it has become what it runs.
        latest_s = time.monotonic() + 60
        while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < latest_s
            time.sleep(0.01)
        assert f"{pid} sleep" in left_since(before, places)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_temporary_files_and_runs_are_seen(own_places, tmp_path, places):
    before = Host.now(places)
    run = tmp_path / "state/runs/20260101-000000-abcdef"
    run.mkdir(parents=True)
    partial = tmp_path / ".debian.qcow2.x.partial"
    partial.touch()
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).is_relative_to(own_places)
        found = left_since(before, places)
        assert all(str(path) in found for path in (file.name, run, partial))
    run.rmdir()
    partial.unlink()


def test_a_test_that_leaves_something_fails(tmp_path):
    inner = tmp_path / "test_inner.py"
    inner.write_text(
        "import pytest, tempfile\n@pytest.mark.root\ndef test_it():\n    tempfile.mkdtemp()\n"
    )
    conftest = Path(__file__).parents[1] / "conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull,
            f"--basetemp={tmp_path / 'inner'}", str(inner)]  # fmt: skip
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "the host is not as it was" in done.stdout


def test_goldsmith_runs_and_is_reaped(goldsmith):
    assert goldsmith("version", check=True).stdout.startswith("goldsmith v")
    assert goldsmith("no-such-verb").status == 127
    with goldsmith.start("version") as running:
        pass
    assert running.poll() is not None


def test_the_small_tree_runs_a_shell(small_tree, tmp_path):
    subprocess.run(["tar", "-xf", small_tree, "-C", tmp_path], check=True)
    script = "echo $((6*7)); id -un; ls /etc | sort | head -n1; printf x | sha256sum | cut -c1-8"
    done = subprocess.run(["chroot", tmp_path, "/bin/sh", "-c", script], check=True, text=True,
                          capture_output=True, env={"PATH": "/usr/sbin:/usr/bin"})  # fmt: skip
    assert done.stdout.split() == ["42", "root", "group", "2d711642"]


BUILD = """
source "image" "tiny" {
  bootstrap {
    method = "tar"
    source = "%s"
  }
  disk {
    partition "root" {
      type       = "root"
      size       = "100%%"
      filesystem = "ext4"
      mount      = "/"
    }
  }
  firmware = []
  formats  = ["raw"]
}
build {
  sources = ["source.image.tiny"]
  provisioner "shell" {
    inline = ["echo made >/etc/made"]
  }
}
"""


def test_the_small_tree_can_be_built(goldsmith, small_tree, tmp_path):
    (tmp_path / "tiny.pkr.hcl").write_text(BUILD % small_tree)
    goldsmith("build", "tiny.pkr.hcl", check=True)
    assert (tmp_path / "output/tiny.raw").stat().st_size > 0


def test_a_killed_build_leaves_only_its_run(goldsmith, small_tree, tmp_path):
    """The fixture must see what `clean` still has to do, or it could not test `clean`."""
    template = BUILD.replace('inline = ["echo made', 'inline = ["sleep 300", "echo made')
    (tmp_path / "tiny.pkr.hcl").write_text(template % small_tree)
    with goldsmith.start("build", "tiny.pkr.hcl") as running:
        for line in running.stdout:
            if "Provisioning with shell" in line:
                break
        running.kill()
    runs = list((goldsmith.state / "runs").glob("[0-9]*"))
    assert len(runs) == 1
    deadline_s = time.monotonic() + 2
    while runs[0].exists() and time.monotonic() < deadline_s:
        with suppress(AssertionError):
            goldsmith("clean", check=True)
    assert not runs[0].exists()
