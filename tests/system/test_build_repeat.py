"""Builds again, several at once, in part, and broken off."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from small_image import ROOT_PARTITION, Project, file, hcl, shell

pytestmark = pytest.mark.root

CANCELLED = "Cleanly cancelled builds after being interrupted."


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- again


def test_the_same_inputs_give_the_same_bytes(project):
    project.write(
        shell("echo made > /made", "mkdir -p /a/b", "ln /made /a/b/link", "date > /etc/today.tmp",
              "rm /etc/today.tmp")
        + file(source="t.pkr.hcl", destination="/etc/t"),
        options='formats = ["raw", "qcow2"]',
    )  # fmt: skip
    digests = []
    for _ in range(2):
        result = project.built(env={"SOURCE_DATE_EPOCH": "1700000000"})
        images = {name: sha256(project.image(name)) for name in ("small.raw", "small.qcow2")}
        assert {name: entry["sha256"] for name, entry in project.manifest()["files"].items()} == (
            images
        )
        assert all(digest in result.stdout for digest in images.values())
        digests.append((images, project.manifest()["inputs_sha256"]))
        # Anything that differs by the second would show.
        os.utime(project.path / "t.pkr.hcl", (1, 1))
    assert digests[0] == digests[1]


def test_another_input_gives_another_image(project):
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    project.write(shell("echo one > /made"))
    project.built(env=env)
    first = sha256(project.image())
    project.write(shell("echo two > /made"))
    project.built(env=env)
    assert sha256(project.image()) != first
    assert project.look(lambda root: (root / "made").read_text()) == "two\n"


def test_our_own_output_is_replaced(project):
    project.write(options='formats = ["raw", "qcow2"]')
    project.built()
    first = project.image().stat().st_ino
    project.built()
    # What stands is not made again.
    assert project.image().stat().st_ino == first
    project.write(shell("echo other > /other"), options='formats = ["raw", "qcow2"]')
    project.built()
    assert project.image().stat().st_ino != first
    assert sorted(os.listdir(project.output)) == ["small.manifest.json", "small.qcow2", "small.raw"]


def test_a_failed_build_leaves_the_earlier_output(project):
    project.write()
    project.built()
    digest = sha256(project.image())
    project.write(shell("exit 1"))
    project.failed()
    assert sha256(project.image()) == digest == project.manifest()["files"]["small.raw"]["sha256"]


# ---- several sources


TWO = """source "image" "one" {
  bootstrap {
    method = "tar"
    source = %(tree)s
  }
  disk {
%(disk)s  }
  firmware = []
  formats  = ["raw"]
}
source "image" "two" {
  bootstrap {
    method = "tar"
    source = %(tree)s
  }
  disk {
%(disk)s  }
  firmware = []
  formats  = ["raw"]
}
build {
  sources = ["source.image.one", "source.image.two"]
  provisioner "shell" {
    inline = ["echo $PACKER_BUILD_NAME > /name"]
  }
  provisioner "shell" {
    only   = ["image.two"]
    inline = ["%(second)s"]
  }
  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "{{.BuildName}}.sums"
  }
}
"""


@pytest.fixture
def pair(project):
    def write(second="echo only > /only"):
        text = TWO % {"tree": hcl(str(project.tree)), "disk": ROOT_PARTITION, "second": second}
        (project.path / "t.pkr.hcl").write_text(text)
        return project

    return write


def images(project):
    return sorted(p.name for p in project.output.glob("*.raw"))


@pytest.mark.parametrize("flags", [(), ("-parallel-builds=1",)])
def test_two_sources(pair, flags):
    project = pair()
    result = project.built(*flags)
    assert images(project) == ["one.raw", "two.raw"]
    assert result.stdout.count("finished after") == 2
    for name in ("one", "two"):
        (digest, file), *_ = [
            line.split("\t") for line in (project.path / f"{name}.sums").read_text().splitlines()
        ]
        assert (digest, file) == (sha256(project.image(f"{name}.raw")), f"{name}.raw")

    def body(root):
        return (root / "name").read_text(), (root / "only").exists()

    assert project.look(body, "one") == ("one\n", False)
    assert project.look(body, "two") == ("two\n", True)


def test_one_of_two_fails(pair):
    project = pair(second="exit 4")
    result = project.build()
    assert result.status == 1
    assert images(project) == ["one.raw"]
    assert "Build 'image.one' finished" in result.stdout
    assert "Build 'image.two' errored" in result.stdout
    assert project.leftovers() == []


@pytest.mark.parametrize(
    ("flags", "made", "sums"),
    [
        (("-only=image.two",), ["two.raw"], ["two.sums"]),
        (("-only=*.one",), ["one.raw"], ["one.sums"]),
        (("-except=image.one",), ["two.raw"], ["two.sums"]),
        (("-except=checksum",), ["one.raw", "two.raw"], []),
        (("-except=checksum,image.two",), ["one.raw"], []),
    ],
)
def test_only_and_except(pair, flags, made, sums):
    project = pair()
    project.built(*flags)
    assert images(project) == made
    assert sorted(p.name for p in project.path.glob("*.sums")) == sums


def test_no_build_is_left(pair):
    said = pair().failed("-only=image.three")
    assert '-only "image.three" matched nothing' in said or "no builds are left" in said
    assert "image.one" in said


# ---- broken off


def wait_for(running, text):
    """Read standard output up to a line that has the text; returns what was read."""
    read = ""
    for line in running.stdout:
        read += line
        if text in line:
            return read
    pytest.fail(f"ended before {text!r}: {read}{running.stderr.read()}")


def ended(running, read=""):
    stdout, stderr = running.communicate(timeout=60)
    return read + stdout, stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", [True, False])
def test_a_build_is_interrupted_in_a_provisioner(project, goldsmith, signum, group):
    stubborn = "trap '' INT TERM HUP; (trap '' INT TERM; sleep 1000) & echo ready; wait; sleep 1000"
    project.write(shell(stubborn))
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path) as running:
        read = wait_for(running, "image.small: ready")
        (os.killpg if group else os.kill)(running.pid, signum)
        stdout, stderr = ended(running, read)
    assert running.returncode == 1, stdout + stderr
    assert stdout.count(CANCELLED) == 1
    assert "Traceback" not in stdout + stderr
    assert not project.output.exists()
    assert project.leftovers() == []


def test_two_builds_are_interrupted_with_impatience(pair, goldsmith):
    project = pair(second="trap '' INT TERM; echo ready; sleep 1000")
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path) as running:
        read = wait_for(running, "image.two: ready")
        os.killpg(running.pid, signal.SIGINT)
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = ended(running, read)
    assert running.returncode == 1, stdout + stderr
    assert CANCELLED in stdout
    assert "Traceback" not in stdout + stderr
    assert project.leftovers() == []
    # What was finished before stays, what was not is not there.
    assert images(project) in ([], ["one.raw"])


def test_a_retry_is_not_taken_after_an_interrupt(project, goldsmith):
    project.write(
        shell("echo ready", "sleep 1000", more='    max_retries = 5\n    pause_before = "10ms"')
    )
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path) as running:
        read = wait_for(running, "image.small: ready")
        os.killpg(running.pid, signal.SIGINT)
        stdout, _ = ended(running, read)
    assert running.returncode == 1
    assert stdout.count("image.small: ready") == 1
    assert CANCELLED in stdout


@pytest.mark.network
def test_a_build_is_interrupted_while_packages_are_fetched(project, goldsmith):
    text = project.write()
    start, end = text.index("    method"), text.index("  disk {")
    release = Path("/etc/os-release").read_text()
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE).group(1)
    text = text[:start] + f'    method = "apt"\n    suite = "{suite}"\n  }}\n' + text[end:]
    (project.path / "t.pkr.hcl").write_text(text)
    # What mmdebstrap's stages are called is logged with this variable only.
    env = {"GOLDSMITH_LOG": "1"}
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path, env=env) as running:
        for line in running.stderr:
            if "Reading the package lists" in line:
                break
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = ended(running)
    assert running.returncode == 1, stdout + stderr
    assert CANCELLED in stdout
    assert "Traceback" not in stdout + stderr
    assert project.leftovers() == []


def test_a_failed_step_when_nobody_can_be_asked(project):
    project.write(shell("exit 3"))
    said = project.failed("-on-error=ask")
    assert "nobody can be asked" in said
    assert "exit status: 3" in said


def emulators(text):
    """The QEMU processes whose command line has a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-system" in words[0] and any(os.fsencode(text) in word for word in words):
                found.append(int(entry.name))
    return found


@pytest.mark.boot
def test_a_build_is_interrupted_in_a_boot_test(project, goldsmith):
    # Firmware that finds nothing to boot waits long enough in its shell.
    options = '    firmware = ["uefi"]\n    expect = "never said"\n'
    project.write(more=f'  post-processor "boot-test" {{\n{options}  }}\n')
    with goldsmith.start("build", "t.pkr.hcl", cwd=project.path) as running:
        read = wait_for(running, "Booting small.raw by uefi")
        deadline_s = time.monotonic() + 60
        while not emulators(str(goldsmith.state)):
            assert time.monotonic() < deadline_s, "QEMU did not start"
            assert running.poll() is None
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = ended(running, read)
    assert running.returncode == 1, stdout + stderr
    assert CANCELLED in stdout
    assert "Traceback" not in stdout + stderr
    assert emulators(str(goldsmith.state)) == []
    assert project.leftovers() == []
