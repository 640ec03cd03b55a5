"""What can go wrong, at each stage of a build: one clear error, exit code 1, and nothing left."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from private_namespace import run_privately
from small_image import ROOT_PARTITION, Project, file, shell

from goldsmith.builders.image.output import Outputs
from goldsmith.core.results import FileDigests
from goldsmith.disk.formats import FORMATS
from goldsmith.host.journal import UNDO, find_dead_runs, finish_run, open_run
from goldsmith.host.process import find_tool

pytestmark = pytest.mark.root
SETTLES_WITHIN_S = 60.0


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


@pytest.fixture
def noise(project):
    """A file provisioner that brings six megabytes that no format can make smaller."""
    (project.path / "noise").write_bytes(os.urandom(6_000_000))
    return file(source="noise", destination="/noise")


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system with little room; it goes at the end, whatever is on it."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


@contextlib.contextmanager
def small_ext4(path: Path, size_bytes: int) -> Iterator[Path]:
    """The same as a real file system on a loop device, which delays what it allocates."""
    backing = path.with_suffix(".ext4")
    with open(backing, "wb") as stream:
        stream.truncate(size_bytes)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", backing], check=True)
    path.mkdir()
    subprocess.run(["mount", "-o", "loop", backing, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()
        backing.unlink()


def post_processor(type: str, **options: str) -> str:
    """A post-processor with these options, each a text."""
    lines = "".join(f"    {name} = {json.dumps(text)}\n" for name, text in options.items())
    return f'  post-processor "{type}" {{\n{lines}  }}\n'


def is_full(said: str) -> bool:
    return "is full" in said or "No space left on device" in said


def clear(result) -> str:
    """What a failed build has said: an error of ours, once, and no traceback."""
    said: str = result.stdout + result.stderr
    assert result.status == 1, said
    assert "Traceback" not in said
    assert "defect of goldsmith" not in said
    return said


# ---- a full disk


@pytest.mark.parametrize("format", FORMATS)
def test_the_disk_is_full_while_a_format_is_written(project, noise, format):
    project.write(noise, options=f'formats = ["{format}"]')
    with small_disk(project.output, "3M"):
        said = project.failed()
        assert list(project.output.iterdir()) == []
    assert f"file system at {project.output} is full" in said


def test_the_disk_is_full_while_several_formats_are_written_at_once(project, noise):
    formats = ", ".join(f'"{name}"' for name in FORMATS if name != "raw")
    project.write(noise, options=f"formats = [{formats}]")
    with small_disk(project.output, "20M"):
        said = project.failed()
        assert list(project.output.iterdir()) == []
    assert f"file system at {project.output} is full" in said


@pytest.mark.parametrize(
    ("size", "stage"),
    [
        ("1M", "Taking the tree"),
        ("9M", "Uploading noise"),
        ("17M", "Assembling the disk"),
    ],
)
def test_the_disk_of_the_state_is_full_at_each_step(project, noise, size, stage):
    project.write(noise, options='formats = ["qcow2"]')
    with small_disk(project.path / "full", size) as project.state:
        said = project.failed()
    assert is_full(said), said
    steps = [line for line in said.splitlines() if line.startswith("==> image.small: ")]
    announced = [line for line in steps if any(word in line for word in STEP_WORDS)]
    assert stage in announced[-1], said


STEP_WORDS = ("Taking the tree", "Configuring", "Uploading", "Finishing", "Assembling",
              "Writing")  # fmt: skip


@pytest.mark.parametrize("room_mib", [14, 20, 34])
def test_a_real_file_system_is_full(project, noise, room_mib):
    project.write(noise, options='formats = ["qcow2"]')
    with small_ext4(project.path / "full", room_mib << 20) as project.state:
        said = project.failed()
    assert is_full(said), said


@pytest.mark.parametrize("type", ["compress", "checksum", "manifest"])
def test_the_disk_of_a_post_processor_is_full(project, noise, type):
    target = {"compress": "full/x.tar.gz", "checksum": "full/sums", "manifest": "full/m.json"}
    project.write(noise, more=post_processor(type, output=target[type]))
    with small_disk(project.path / "full", "1M") as full:
        (full / "filling").write_bytes(bytes((1 << 20) - (0 if type != "compress" else 65536)))
        said = clear(project.build())
        assert [path.name for path in full.iterdir()] == ["filling"]
    assert is_full(said), said
    assert project.leftovers() == []
    # The image itself is good, and stays.
    assert project.manifest()["files"].keys() == {"small.raw"}


# ---- a machine that does not start


@pytest.fixture
def no_qemu():
    """Runs a body where this host has no QEMU."""

    def without(body: Callable[[], object]) -> object:
        def hidden():
            while place := find_tool("qemu-system-x86_64"):
                subprocess.run(["mount", "--bind", "/dev/null", place], check=True)
            return body()

        return run_privately(hidden)

    return without


def test_without_qemu_a_boot_test_is_refused_before_anything_is_built(project, no_qemu):
    project.write(more='  post-processor "boot-test" {\n    firmware = ["bios"]\n  }\n')
    said = no_qemu(project.failed)
    assert "apt-get install qemu-system-x86" in said
    assert "Taking the tree" not in said


RAID = """\
    partition "a" {
      type = "data"
      size = "100%"
    }
    partition "b" {
      type = "data"
      size = "64MiB"
    }
    raid "md0" {
      level      = "1"
      members    = ["a", "b"]
      filesystem = "ext4"
      mount      = "/"
    }
"""


def test_without_qemu_what_needs_the_guest_is_refused_before_anything_is_built(project, no_qemu):
    project.write(disk=RAID)
    said = no_qemu(project.failed)
    assert "qemu" in said
    assert "Taking the tree" not in said


@pytest.mark.boot
def test_an_image_that_does_not_boot_says_why_and_stays(project):
    project.write(
        more='  post-processor "boot-test" {\n    firmware = ["uefi"]\n    timeout = "60s"\n  }\n'
    )
    said = clear(project.build())
    assert "the UEFI firmware found no boot loader on the disk" in said
    assert project.leftovers() == []
    assert project.image().is_file()


@contextlib.contextmanager
def running_to(
    project: Project, label: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A build that has just begun the step with this label."""
    environment = {"GOLDSMITH_CACHE_DIR": str(project.state), **(env or {})}
    with project._goldsmith.start(
        "build", "t.pkr.hcl", cwd=project.path, env=environment
    ) as running:
        seen = ""
        for line in running.stdout:
            seen += line
            if label in line:
                break
        else:
            pytest.fail(f"{label!r} never came:\n{seen}\n{running.stderr.read()}")
        yield running


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + SETTLES_WITHIN_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def processes_naming(*words: str) -> list[int]:
    """Processes with all these words in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if command and all(word.encode() in command for word in words):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


SILENT_BOOT = (
    '  post-processor "boot-test" {\n    firmware = ["uefi"]\n    expect = "never said"\n  }\n'
)


@pytest.mark.boot
def test_a_qemu_that_is_killed_in_a_boot_test_is_one_clear_error(project):
    project.write(more=SILENT_BOOT)
    with running_to(project, "Booting small.raw") as running:
        runs = str(project.state)
        wait_until(lambda: processes_naming("qemu-system-x86_64", runs, "isa-serial"), "no machine")
        (machine,) = processes_naming("qemu-system-x86_64", runs, "isa-serial")
        os.kill(machine, signal.SIGKILL)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "was killed by signal 9" in rest + errors
    assert "Traceback" not in rest + errors
    assert project.leftovers() == []


# ---- corrupt input


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64]) + data[
        middle + 64 :
    ]  # fmt: skip


def _as_is(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(
    ("name", "pack", "spoil"),
    [
        ("cut.tar", _as_is, _cut),
        ("cut.tar.gz", gzip.compress, _cut),
        ("damaged.tar.gz", gzip.compress, _damaged),
        ("unknown.tar", _as_is, lambda data: b"no archive at all" * 1000),
        ("unknown.tar.gz", _as_is, lambda data: b"no archive at all" * 1000),
        ("empty.tar", _as_is, lambda data: b""),
    ],
)
def test_a_corrupt_archive_is_named(project, name, pack, spoil):
    archive = project.path / name
    archive.write_bytes(spoil(pack(project.tree.read_bytes())))
    project.write(tree=archive)
    said = project.failed()
    assert str(archive) in said


# ---- an image larger than its disk


def partitions(type: str) -> str:
    """A small disk, of which the partition of /srv has not enough room."""
    return f"""\
    size = "160MiB"
    partition "srv" {{
      type       = "data"
      size       = "4MiB"
      filesystem = "{type}"
      mount      = "/srv"
    }}
{ROOT_PARTITION}"""


@pytest.mark.parametrize("type", ["ext4", "ext2", "vfat", "btrfs", "squashfs", "erofs"])
def test_files_that_are_larger_than_their_partition_are_refused_with_numbers(project, type):
    (project.path / "noise").write_bytes(os.urandom(6_000_000))
    project.write(file(source="noise", destination="/srv/noise"), disk=partitions(type))
    said = project.failed()
    # How small packed files get is known once they are packed.
    ways = ('partition "srv"', f"{type} of 4 MiB", "is larger than its 4 MiB")
    assert any(words in said for words in ways), said
    assert "4 MiB" in said
    assert "Writing" not in said


def test_a_tree_that_is_larger_than_its_disk_is_refused_with_numbers(project, noise):
    project.write(noise, disk='    size = "12MiB"\n' + ROOT_PARTITION)
    said = project.failed()
    assert 'partition "root"' in said
    assert "with headroom" in said
    assert "Writing" not in said


# ---- SIGKILL of the command


EVERYTHING = (
    post_processor("compress", output="x.tar.gz") + post_processor("checksum", output="sums")
    + post_processor("manifest", output="m.json")
)  # fmt: skip
SEVERAL = ("raw", "qcow2", "vmdk", "raw.zst")
BOUNDARIES = (
    "Taking the tree", "Configuring", "Uploading noise", "Provisioning with shell",
    "Finishing", "Assembling", "Writing", "(type compress)", "Tarring", "(type checksum)",
    "(type manifest)",
)  # fmt: skip


@pytest.mark.parametrize("label", BOUNDARIES)
def test_sigkill_at_a_boundary_leaves_what_clean_removes(project, noise, label):
    formats = ", ".join(f'"{name}"' for name in SEVERAL)
    project.write(noise + shell("echo two > /two"), options=f"formats = [{formats}]",
                  more=EVERYTHING)  # fmt: skip
    with running_to(project, label) as running:
        running.kill()
        running.wait()
    wait_until(lambda: not processes_naming(str(project.path)), "processes are left")
    assert project._goldsmith("clean", cwd=project.path).status == 0
    assert project.leftovers() == []
    assert "Nothing is left" in project._goldsmith("clean", cwd=project.path).stdout
    if project.output.exists():
        # Either everything was renamed, or nothing was.
        names = {path.name for path in project.output.iterdir()}
        whole = {f"small.{FORMATS[name].extension}" for name in SEVERAL}
        assert names in (set(), whole | {"small.manifest.json"})
    project.built("-force")


@pytest.mark.boot
def test_sigkill_in_a_boot_test_ends_the_machine(project):
    project.write(more=SILENT_BOOT)
    runs = str(project.state)
    with running_to(project, "Booting small.raw") as running:
        wait_until(lambda: processes_naming("qemu-system-x86_64", runs, "isa-serial"), "no machine")
        running.kill()
        running.wait()
    wait_until(lambda: not processes_naming("qemu-system-x86_64", runs), "the machine is left")
    assert project._goldsmith("clean", cwd=project.path).status == 0
    assert project.leftovers() == []
    assert project.image().is_file()


@pytest.mark.parametrize("renamed", range(4))
def test_sigkill_between_two_renames_is_finished_by_clean(tmp_path, monkeypatch, renamed):
    digests = FileDigests(tmp_path / "results")
    outputs = Outputs(tmp_path / "output", "small", ("raw", "qcow2"), digests)
    pid = os.fork()
    if pid == 0:
        _publish_and_die(tmp_path / "state", outputs, renamed)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    (dead,) = find_dead_runs(tmp_path / "state")
    assert finish_run(dead, UNDO) == []
    assert find_dead_runs(tmp_path / "state") == []
    assert {path.name for path in outputs.directory.iterdir()} == {
        "small.raw", "small.qcow2", "small.manifest.json"}  # fmt: skip
    assert json.loads(outputs.manifest.read_text())["name"] == "a test"
    assert [path.read_text() for path in outputs.images.values()] == ["raw", "qcow2"]


def _publish_and_die(state: Path, outputs: Outputs, renames: int) -> None:
    """Publish two images and be killed after so many renames; does not return."""
    replace, done = os.replace, []

    def dying(source, target):
        if len(done) == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        done.append(target)

    try:
        with open_run(state, "build") as run, outputs.being_written(run) as partial:
            for name, path in partial.items():
                path.write_text(name)
            os.replace = dying
            outputs.publish(
                partial, {outputs.manifest: json.dumps({"name": "a test"})}, run, force=False
            )
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)
