"""Steps run in real guests: arrays, volumes and mounts that this host's kernel may not have."""

import os
import signal
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from goldsmith.errors import CommandFailed
from goldsmith.host import process
from goldsmith.machine import guest_image as guest_image_module
from goldsmith.machine.acceleration import Acceleration
from goldsmith.machine.guest import run_guest
from goldsmith.machine.guest_image import GuestImage, open_guest_image
from goldsmith.machine.guest_init import INIT, RUN_COMMAND
from goldsmith.machine.guest_protocol import GuestDisk, GuestError, GuestStep
from goldsmith.units import MIB

pytestmark = [pytest.mark.boot, pytest.mark.network]

TCG = Acceleration("tcg", "the tests choose it")
TABLE = b"label: gpt\nsize=64MiB, type=U\nsize=100MiB, type=R\nsize=100MiB, type=R\n"
MEMBERS = ("/dev/vda2", "/dev/vda3")


@pytest.fixture(scope="session")
def image(own_places: Path) -> GuestImage:
    """This host's guest, made for the session."""
    return open_guest_image()


@pytest.fixture
def directory(tmp_path):
    """The directory of steps and results: empty again, whatever the test did."""
    path = tmp_path / "scratch"
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []


@pytest.fixture
def run(image, directory):
    """Runs commands in a guest; returns the result and the lines of each stream."""

    def run_commands(*commands, on_line=None, timeout_s=300, image=image, **more):
        lines = {"stdout": [], "stderr": []}

        def take(stream, line):
            lines[stream].append(line)
            if on_line is not None:
                on_line(line)

        step = GuestStep(commands=commands, timeout_s=timeout_s, **more)
        result = run_guest(
            step, directory=directory, on_line=take, acceleration=TCG, image=image
        )  # fmt: skip
        return result, lines

    return run_commands


def empty_disk(path, size_bytes):
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    return path


def test_raid_lvm_and_file_systems_are_made_and_read_back(run, tmp_path):
    disk = empty_disk(tmp_path / 'disk, "a"=b.raw', 300 * MIB)
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho made in $0 >/mnt/etc/greeting\n")
    program.chmod(0o755)
    result, lines = run(
        ["sh", "-c", "sfdisk --quiet /dev/disk/0 </root/table"],
        ["mdadm", "--create", "/dev/md0", "--run", "--level=1", "--raid-devices=2",
         "--metadata=1.2", "--homehost=any", "--name=root", "--assume-clean", *MEMBERS],
        ["pvcreate", "/dev/md0"],
        ["vgcreate", "vg", "/dev/md0"],
        ["lvcreate", "--yes", "--extents", "100%FREE", "--name", "root", "vg"],
        ["mkfs.ext4", "-q", "-L", "root", "/dev/vg/root"],
        ["mkfs.vfat", "/dev/vda1"],
        ["mount", "/dev/vg/root", "/mnt"],
        ["mkdir", "-p", "/mnt/etc", "/mnt/boot/efi"],
        ["mount", "/dev/vda1", "/mnt/boot/efi"],
        ["/root/greet"],
        ["cp", "/root/table", "/mnt/boot/efi/A long name.txt"],
        disks=[GuestDisk(path=disk)], files={"/root/table": TABLE, "/root/greet": program},
    )  # fmt: skip
    assert (result.status, result.failed_command) == (0, None), lines
    assert any("array /dev/md0 started" in line for line in lines["stderr"])
    assert any("Volume group" in line for line in lines["stdout"])
    # What was mounted and assembled at the end was left clean.
    result, lines = run(
        ["mdadm", "--examine", MEMBERS[0]],
        ["mdadm", "--assemble", "--scan"],
        ["vgchange", "--activate", "y", "vg"],
        ["e2fsck", "-f", "-n", "/dev/vg/root"],
        ["fsck.vfat", "-n", "/dev/vda1"],
        ["mount", "-o", "ro", "/dev/vg/root", "/mnt"],
        ["mount", "-o", "ro", "/dev/vda1", "/mnt/boot/efi"],
        ["cat", "/proc/mdstat"],
        disks=[GuestDisk(path=disk)],
        results=["/mnt/etc/greeting", "/mnt/boot/efi/A long name.txt"],
    )  # fmt: skip
    assert result.status == 0, lines
    assert result.results == {
        "/mnt/etc/greeting": b"made in /root/greet\n",
        "/mnt/boot/efi/A long name.txt": TABLE,
    }
    text = "\n".join(lines["stdout"])
    assert "State : clean" in text
    assert "recovering journal" not in text
    assert "[UU]" in text
    assert disk.stat().st_blocks * 512 < disk.stat().st_size / 2


def test_arguments_environment_and_streams_arrive_as_they_are(run, tmp_path):
    odd = ["", "a b\nc", "'\"$(reboot -f)`\\", "-n", "é", "*", "x" * 100_000]
    result, lines = run(
        ["/bin/sh", "-c", 'printf "<%s>" "$@" >/root/seen', "sh", *odd],
        ["sh", "-c", 'printf "%s\\n" "$ODD"'],
        ["sh", "-c", "echo out; echo err >/dev/stderr; printf last; printf 'of all' >&2"],
        # No network was asked for.
        ["ls", "/sys/class/net"],
        # Not busybox's program of this name.
        ["mount", "--version"],
        environment={"ODD": "$HOME 'b'"},
        results=["/root/seen"],
    )  # fmt: skip
    assert result.status == 0, lines
    assert result.results["/root/seen"] == "".join(f"<{word}>" for word in odd).encode()
    assert lines["stdout"][:3] == ["$HOME 'b'", "out", "lastlo"]
    assert lines["stdout"][3].startswith("mount from util-linux")
    assert lines["stderr"] == ["err", "of all"]


def test_esps_of_mtools_and_other_file_systems_are_mounted(run, tmp_path):
    esp = empty_disk(tmp_path / "esp.raw", 64 * MIB)
    subprocess.run(["mkfs.vfat", esp], check=True, stdout=subprocess.DEVNULL)
    loader = tmp_path / "loader"
    loader.write_bytes(b"EFI program")
    subprocess.run(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI"], check=True)
    before = esp.read_bytes()
    qcow2 = tmp_path / "other.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "400M"], check=True)
    result, lines = run(
        ["mount", "-o", "ro", "/dev/disk/0", "/mnt"],
        ["mkfs.xfs", "-q", "/dev/vdb"],
        ["mkdir", "/xfs", "/btrfs"],
        ["mount", "/dev/vdb", "/xfs"],
        ["sh", "-c", "echo on xfs >/xfs/file; exec sleep 1000 >/xfs/open &"],
        ["mkfs.btrfs", "-q", "/dev/vdc"],
        ["mount", "/dev/vdc", "/btrfs"],
        ["sh", "-c", "! touch /mnt/x"],
        disks=[GuestDisk(path=esp, read_only=True), GuestDisk(path=qcow2, format="qcow2"),
               GuestDisk(path=empty_disk(tmp_path / "btrfs.raw", 200 * MIB))],
        results=["/mnt/EFI/BOOT/BOOTX64.EFI"],
    )  # fmt: skip
    assert result.status == 0, lines
    assert result.results == {"/mnt/EFI/BOOT/BOOTX64.EFI": b"EFI program"}
    assert esp.read_bytes() == before
    # What QEMU holds back of a qcow2 was written, and the daemon's file system was unmounted.
    result, lines = run(
        ["xfs_repair", "-n", "/dev/vda"], ["mount", "-o", "ro,norecovery", "/dev/vda", "/mnt"],
        disks=[GuestDisk(path=qcow2, format="qcow2")], results=["/mnt/file"],
    )  # fmt: skip
    assert result.results == {"/mnt/file": b"on xfs\n"}, lines
    subprocess.run(["qemu-img", "check", "-q", qcow2], check=True)


def test_a_failing_command_ends_the_step(run):
    result, lines = run(
        ["echo", "kept"],
        ["sh", "-c", "echo 'it broke' >&2; exit 3"],
        ["touch", "/root/never"],
        results=["/root/never", "/etc/hosts"],
    )
    assert (result.status, result.failed_command) == (3, 1)
    assert lines == {"stdout": ["kept"], "stderr": ["it broke"]}
    assert list(result.results) == ["/etc/hosts"]
    step = GuestStep(commands=[["echo", "kept"], ["breaks"]], timeout_s=1)
    with pytest.raises(CommandFailed, match=r"breaks exited with status 3\n(?s:.*)it broke"):
        result.require_success(step)


def test_programs_that_are_not_there_or_are_killed_fail(run):
    result, lines = run(["exit", "0"])
    assert (result.status, result.failed_command) == (127, 0)
    assert any("exit: not found" in line for line in lines["stderr"])
    result, _ = run(["sh", "-c", "kill -KILL $$"])
    assert result.status == 128 + signal.SIGKILL


def test_results_that_are_absent_or_too_large_are_errors(run):
    with pytest.raises(GuestError, match="did not make its result: /root/absent"):
        run(["true"], results=["/etc/hosts", "/root/absent"])
    with pytest.raises(GuestError, match="results are not complete") as caught:
        run(["fallocate", "-l", "2M", "/root/large"], results=["/root/large"],
            results_limit_bytes=MIB)  # fmt: skip
    assert "1 MiB" in str(caught.value.hint)


def test_a_guest_that_takes_too_long_is_ended(run):
    with pytest.raises(GuestError) as caught:
        run(["sleep", "1000"], timeout_s=0.5)
    assert "did not end within 0.5 s, before its first command" in str(caught.value)


def test_a_killed_qemu_is_an_error(run):
    groups = []

    class Groups:
        def started(self, pgid):
            groups.append(pgid)

        def ended(self, pgid):
            pass

    unobserve = process.observe_groups(Groups())
    try:
        with pytest.raises(GuestError, match="QEMU was killed by signal 9, in command 0"):
            run(["sh", "-c", "echo ready; sleep 1000"],
                on_line=lambda line: os.killpg(groups[-1], signal.SIGKILL))  # fmt: skip
    finally:
        unobserve()


def test_an_interrupt_ends_the_guest(run):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", "echo ready; sleep 1000"], on_line=interrupt)


def test_a_guest_that_does_not_start_says_why(run, image, tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel" * 1000)
    with pytest.raises(GuestError, match="QEMU exited with status 1, before its first") as caught:
        run(["true"], image=replace(image, kernel=kernel))
    assert "kernel" in str(caught.value)
    assert str(tmp_path) in str(caught.value.hint)
    archive = tmp_path / "initramfs.cpio"
    archive.write_bytes(b"no archive" * 1000)
    with pytest.raises(GuestError, match="stopped before it was done") as caught:
        run(["true"], image=replace(image, initramfs=archive))
    assert "Kernel panic - not syncing" in str(caught.value)


def test_a_lack_of_memory_is_told(run):
    with pytest.raises(GuestError) as caught:
        run(["true"], memory_bytes=192 * MIB, files={"/root/large": bytes(120 * MIB)})
    assert "the guest cannot read its step" in str(caught.value), str(caught.value)
    result, _ = run(["sh", "-c", "tail /dev/zero"], memory_bytes=256 * MIB)
    assert (result.status, result.failed_command) == (137, 0)
    assert any("Out of memory" in line for line in result.tail)


def test_disks_that_name_other_files_are_refused(run, tmp_path):
    base, overlay = tmp_path / "base.raw", tmp_path / "overlay.qcow2"
    empty_disk(base, MIB)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay],
                   check=True)  # fmt: skip
    with pytest.raises(GuestError, match="depends on another file"):
        run(["true"], disks=[GuestDisk(path=overlay, format="qcow2")])
    with pytest.raises(GuestError, match="is not a qcow2 image"):
        run(["true"], disks=[GuestDisk(path=base, format="qcow2")])
    with pytest.raises(GuestError, match="No such file"):
        run(["true"], disks=[GuestDisk(path=tmp_path / "absent")])


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the host\n")

    def log_message(self, *_):
        pass


def test_the_network_is_there_when_asked_for(run):
    with HTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://10.0.2.2:{server.server_port}/"
            result, lines = run(["wget", "-q", "-O", "-", address], network=True)
            assert (result.status, lines["stdout"]) == (0, ["hello from the host"]), lines
        finally:
            server.shutdown()
            thread.join()


def test_the_guest_is_kept_and_made_of_debian_packages(image, monkeypatch):
    monkeypatch.setattr(guest_image_module, "make_guest_image", None)
    assert open_guest_image() == image
    assert image.packages["lvm2"]
    assert any(name.startswith("linux-image-") for name in image.packages)
    assert "libicu" not in "".join(path.name for path in image.kernel.parent.iterdir())
    assert sorted(path.name for path in image.kernel.parent.iterdir()) == [
        "initramfs.cpio", "kernel", "manifest.json"
    ]  # fmt: skip
    assert os.listdir(image.kernel.parents[1]).count(".lock") == 1


def test_the_scripts_are_shell(tmp_path):
    for text in (INIT, RUN_COMMAND):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_a_guest_does_not_outlive_the_server_of_its_files(run, tmp_path):
    served = tmp_path / "served"
    told = threading.Event()

    def words(argv):
        return ["sh", "-c", 'echo $$ > "$0"; exec "$@"', os.fspath(served), *argv]

    def on_line(line):
        if line == "ready" and not told.is_set():
            told.set()
            os.kill(int(served.read_text()), signal.SIGKILL)

    with pytest.raises(GuestError, match="the server of this host's files ended before the guest"):
        run(
            ["mkdir", "/shared"], ["mount", "-t", "virtiofs", "host", "/shared"],
            ["echo", "ready"], ["ls", "/shared/usr/share"], on_line=on_line, shares=words,
        )  # fmt: skip
    assert told.is_set()
