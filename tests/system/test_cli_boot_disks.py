"""`goldsmith boot` on every format, with the console handed over, ports forwarded, writes kept."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest

from goldsmith.disk.formats import FORMATS, convert

pytestmark = pytest.mark.boot
WITHIN_S = 60.0

# Polls the line status register and sends the bytes at 0x7c40 to COM1, up to a zero.
SAY = bytes.fromhex("fc31c08ed8be407cac84c0741188c4bafd03eca82074fb88e0b2f8eeebea")
HALT = bytes.fromhex("f4ebfd")
# Sends back every byte from COM1, one higher; with interrupts off (cli), as the firmware's console
# takes a byte away that has been announced here, and what is read then is NUL.
ECHO = bytes.fromhex("fabafd03eca80174fbb2f8ecfec0eeebf0")
# Writes this sector to the disk's second one (int 13h, function 3).
WRITE = bytes.fromhex("31c08ec0b80103b90200ba8000bb007ccd13")


def sector(*code):
    body = b"".join(code)
    assert len(body) <= 0x40
    return (body.ljust(0x40, b"\0") + b"\r\ntiny login: ").ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture
def disk(tmp_path):
    """A raw disk of these instructions."""

    def make(*code, name="tiny.raw"):
        path = tmp_path / name
        path.write_bytes(sector(*code).ljust(2 << 20, b"\0"))
        return path

    return make


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_boots_and_stays_as_it_is(goldsmith, disk, tmp_path, format):
    raw = disk(SAY, HALT)
    image = raw
    if format != "raw":
        image = tmp_path / f"packed.{FORMATS[format].extension}"
        convert(raw, image, format)
    before = image.read_bytes()
    done = goldsmith("boot", image, "--memory=64MiB", "--quiet")
    assert (done.status, done.stderr) == (0, ""), done
    assert image.read_bytes() == before


@pytest.mark.parametrize("format", ["raw", "qcow2"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_the_guest_writes_is_kept_only_on_request(goldsmith, disk, tmp_path, format, keep):
    raw = disk(WRITE, SAY, HALT)
    image = raw
    if format == "qcow2":
        image = tmp_path / "tiny.qcow2"
        convert(raw, image, format)
    word = "--no-snapshot" if keep else "-snapshot"
    assert goldsmith("boot", image, "--memory=64MiB", word).status == 0
    back = tmp_path / "back.raw"
    subprocess.run(["qemu-img", "convert", "-f", format, "-O", "raw", image, back], check=True)
    first, second = back.read_bytes()[:512], back.read_bytes()[512:1024]
    assert (second == first) is keep


def test_a_read_only_image_cannot_keep_writes(goldsmith, disk):
    done = goldsmith("boot", disk(SAY, HALT, name="tiny.vhdx.raw"), "--format=vdi", "--no-snapshot")
    assert done.status == 2
    assert "kept in a vdi" in done.stderr


@pytest.mark.parametrize("format", ["qcow2", "vdi", "vhdx", "vpc", "vmdk", "raw.gz", "raw.zst"])
def test_a_cut_image_is_one_clear_error(goldsmith, disk, tmp_path, format):
    raw = disk(SAY, HALT)
    with open(raw, "r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(1 << 20))
    image = tmp_path / f"cut.{FORMATS[format].extension}"
    convert(raw, image, format)
    # Half is gone; of a vhdx, which is mostly its tables, the end of the data.
    left = image.stat().st_size // 2 if format != "vhdx" else image.stat().st_size - (15 << 20)
    os.truncate(image, left)
    done = goldsmith("boot", image, "--memory=64MiB")
    assert done.status == 1, done
    assert str(image) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Booted" not in done.stdout
    assert any(
        word in done.stderr for word in ("is corrupt", "is cut", "is damaged", "is not a vpc")
    )


@pytest.mark.parametrize("name", ["x.qcow2", "x.vmdk", "x.vdi", "x.vhdx", "x.vhd", "x.raw.gz"])
def test_an_unknown_magic_is_one_clear_error(goldsmith, tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image" * 1000)
    done = goldsmith("boot", tmp_path / name)
    assert (done.status, "Traceback" in done.stderr) == (1, False)
    assert f"{tmp_path / name} is not a" in done.stderr
    assert "unknown bytes 6e 6f 74" in done.stderr


def test_the_manifest_s_firmware_is_held_against_the_command_line(goldsmith, disk, tmp_path):
    image = disk(SAY, HALT)
    files = {"tiny.raw": {"format": "raw", "size_bytes": image.stat().st_size}}
    document = {"goldsmith_manifest": 1, "firmware": ["uefi"], "files": files}
    (tmp_path / "tiny.manifest.json").write_text(json.dumps(document))
    done = goldsmith("boot", image, "--firmware=bios", "--memory=64MiB", "--quiet")
    assert done.status == 0
    assert done.stderr.startswith("Warning: ")
    assert "was made for uefi" in done.stderr


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def is_listening(address, port):
    with socket.socket() as tried:
        return tried.connect_ex((address, port)) == 0


def test_a_forwarded_port_is_open_on_the_loopback_address_until_ctrl_c(goldsmith, disk):
    port = free_port()
    with goldsmith.start("boot", disk(SAY, HALT), "--memory=64MiB", f"--forward={port}:22") as run:
        seen = ""
        for line in run.stdout:
            seen += line
            if "Ctrl-C" in line:
                break
        assert f"Forwarding 127.0.0.1:{port} -> 22" in seen, seen + run.stderr.read()
        assert is_listening("127.0.0.1", port)
        assert not is_listening("127.0.0.2", port)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=WITHIN_S)
    assert run.returncode == 130
    assert not is_listening("127.0.0.1", port)


def test_a_port_that_is_taken_is_named_before_anything_starts(goldsmith, disk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = goldsmith("boot", disk(SAY, HALT), f"--forward={port}:22")
    assert done.status == 1
    assert f"port {port} of 127.0.0.1 cannot be forwarded" in done.stderr


def test_a_killed_qemu_is_one_clear_error(goldsmith, disk):
    with goldsmith.start("boot", disk(SAY, HALT), "--memory=64MiB", "--expect=never") as run:
        for line in run.stdout:
            if "tiny login" in line or "Booting from" in line:
                break
        children = [int(p) for p in _children(run.pid) if b"qemu-system" in _command(p)]
        assert len(children) == 1
        os.kill(children[0], signal.SIGKILL)
        _, errors = run.communicate(timeout=WITHIN_S)
    assert run.returncode == 1
    assert "was killed by signal 9" in errors
    assert "Traceback" not in errors


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as stream:
        return stream.read().split()


def _command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as stream:
        return stream.read()


# --- the console


class Terminal:
    """A terminal with goldsmith at its other end."""

    def __init__(self, goldsmith, *words):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(goldsmith.state)}
        self.running = subprocess.Popen(
            [sys.executable, "-P", "-m", "goldsmith", "boot", *map(str, words)],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self.seen = b""

    def read_to(self, text):
        deadline_s = time.monotonic() + WITHIN_S
        while text not in self.seen:
            assert time.monotonic() < deadline_s, self.seen
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 4096)

    def type(self, data):
        os.write(self.master, data)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        self.running.kill()
        self.running.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(goldsmith, disk):
    made = Terminal(goldsmith, disk(SAY, ECHO), "--console", "--memory=64MiB")
    yield made
    made.close()


def test_the_terminal_is_the_machine_s_until_the_escape_key(terminal):
    terminal.read_to(b"tiny login: ")
    # Ctrl-C (3) too goes to the machine, which answers each byte with the next one.
    terminal.type(b"gold\x03smith")
    terminal.read_to(b"hpme\x04tnjui")
    assert not terminal.is_as_before()
    terminal.type(b"\x1d")
    terminal.read_to(b"The machine has ended (escape key)")
    assert terminal.running.wait(WITHIN_S) == 0
    assert terminal.is_as_before()


def test_a_killed_machine_gives_the_terminal_back(terminal):
    terminal.read_to(b"tiny login: ")
    (machine,) = [p for p in _children(terminal.running.pid) if b"qemu-system" in _command(p)]
    os.kill(int(machine), signal.SIGKILL)
    terminal.read_to(b"was killed by signal 9")
    assert terminal.running.wait(WITHIN_S) == 1
    assert terminal.is_as_before()


def test_a_signal_gives_the_terminal_back(terminal):
    terminal.read_to(b"tiny login: ")
    terminal.running.send_signal(signal.SIGTERM)
    terminal.read_to(b"interrupted by SIGTERM")
    assert terminal.running.wait(WITHIN_S) == 143
    assert terminal.is_as_before()


def test_without_a_terminal_there_is_no_console(goldsmith, disk):
    done = goldsmith("boot", disk(SAY, HALT), "--console")
    assert done.status == 2
    assert "not a terminal" in done.stderr


# Moves itself to 0x600, loads the first sector of the second disk where a BIOS would, and runs it.
CHAIN = bytes.fromhex(
    "fc"          # 00 cld
    "31c0"        # 01 xor ax, ax
    "8ed8"        # 03 mov ds, ax
    "8ec0"        # 05 mov es, ax
    "be007c"      # 07 mov si, 0x7c00
    "bf0006"      # 0a mov di, 0x600
    "b90001"      # 0d mov cx, 256
    "f3a5"        # 10 rep movsw
    "ea17060000"  # 12 jmp 0:0x617
    "b80102"      # 17 mov ax, 0x201
    "bb007c"      # 1a mov bx, 0x7c00
    "b90100"      # 1d mov cx, 1
    "ba8100"      # 20 mov dx, 0x81
    "cd13"        # 23 int 0x13
    "ea007c0000"  # 25 jmp 0:0x7c00
)  # fmt: skip


def test_a_further_disk_is_the_machines_second_one(goldsmith, disk, tmp_path):
    first = tmp_path / "first.raw"
    first.write_bytes((CHAIN.ljust(510, b"\0") + b"\x55\xaa").ljust(2 << 20, b"\0"))
    second = disk(SAY, HALT, name="second.raw")
    before = second.read_bytes()
    done = goldsmith("boot", first, "--disk", second, "--memory=64MiB", "--quiet")
    assert (done.status, done.stderr) == (0, ""), done
    assert second.read_bytes() == before
