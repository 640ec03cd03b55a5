"""Boot tests of machines whose whole software is a boot sector of ours."""

import os
import subprocess
from pathlib import Path

import pytest

from goldsmith.errors import BootTestFailed, CommandFailed, MissingToolError
from goldsmith.machine import acceleration as acceleration_module
from goldsmith.machine import qemu
from goldsmith.machine.acceleration import (
    Acceleration,
    known_acceleration,
    probe_acceleration,
    virtualization_flag,
)
from goldsmith.machine.qemu import BootOptions, boot

pytestmark = pytest.mark.boot

TCG = Acceleration("tcg", "the tests choose it")

# Polls the line status register and sends the bytes at 0x7c40 to COM1, up to a zero; then halts.
# No interrupts meanwhile: SeaBIOS sends the end of its own lines from a timer, in between ours.
SAY = bytes.fromhex(
    "fa"        # 00 cli
    "fc"        # 01 cld
    "31c0"      # 02 xor ax, ax
    "8ed8"      # 04 mov ds, ax
    "be407c"    # 06 mov si, 0x7c40
    "ac"        # 09 lodsb
    "84c0"      # 0a test al, al
    "7411"      # 0c jz 0x1f
    "88c4"      # 0e mov ah, al
    "bafd03"    # 10 mov dx, 0x3fd
    "ec"        # 13 in al, dx
    "a820"      # 14 test al, 0x20
    "74fb"      # 16 jz 0x13
    "88e0"      # 18 mov al, ah
    "b2f8"      # 1a mov dl, 0xf8
    "ee"        # 1c out dx, al
    "ebea"      # 1d jmp 0x09
    "fb"        # 1f sti
    "f4"        # 20 hlt
    "ebfd"      # 21 jmp 0x20
)  # fmt: skip
RESET = bytes.fromhex("b0fee664f4")  # the keyboard controller's reset line


def _sector(message=b"", code=SAY):
    body = (code.ljust(0x40, b"\0") + message).ljust(510, b"\0")
    assert len(body) == 510
    # SeaBIOS reads no disk of less than a cylinder.
    return (body + b"\x55\xaa").ljust(1 << 20, b"\0")


@pytest.fixture
def raw_image(tmp_path):
    """Makes a raw image with a name that QEMU's option syntax would take apart."""

    def make(message=b"", code=SAY, name='disk, "a":b=c.raw'):
        path = tmp_path / name
        path.write_bytes(_sector(message, code))
        return path

    return make


@pytest.fixture
def directory(tmp_path):
    """The directory of the overlays: empty again, and no program left, whatever the test did."""
    path = tmp_path / "scratch"
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []
    assert _machines_of(path) == []


def _machines_of(directory):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in command and int(entry.name) != os.getpid():
                found.append(entry.name)
    return found


def _options(image, **changes):
    return BootOptions(**{
        "image": image, "format": "raw", "memory_bytes": 64 << 20, "timeout_s": 60, **changes
    })  # fmt: skip


def test_the_text_is_seen_from_raw_and_the_image_is_not_written(raw_image, directory, tmp_path):
    image = raw_image(b"\r\ndebian \x1b[1mlog\x1b[0min: ")
    before, written_ns = image.read_bytes(), image.stat().st_mtime_ns
    log, lines = tmp_path / "serial.log", []
    result = boot(
        _options(image, expect="debian login:", serial_log=log),
        directory=directory, on_line=lines.append, acceleration=TCG,
    )  # fmt: skip
    assert result.seen
    assert (result.firmware, result.acceleration, result.log) == ("bios", TCG, log)
    assert 0 < result.duration_s < 60
    assert b"debian \x1b[1mlog\x1b[0min:" in log.read_bytes()
    assert any(line.startswith("debian login:") for line in lines)
    assert image.read_bytes() == before
    assert image.stat().st_mtime_ns == written_ns


def test_the_text_is_seen_from_qcow2_and_the_image_is_not_written(raw_image, directory, tmp_path):
    image = tmp_path / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw_image(b"login:", name="r"), image],
        check=True,
    )
    before = image.read_bytes()
    assert boot(_options(image, format="qcow2"), directory=directory, acceleration=TCG).seen
    assert image.read_bytes() == before


def test_a_silent_machine_times_out_and_says_what_is_known(raw_image, directory, tmp_path):
    log = tmp_path / "serial.log"
    with pytest.raises(BootTestFailed) as failed:
        boot(
            _options(raw_image(), timeout_s=1.5, serial_log=log),
            directory=directory, acceleration=TCG,
        )  # fmt: skip
    text = str(failed.value)
    assert "'login:' within 1.5 s" in text
    assert "Booting from Hard Disk..." in text
    assert str(log) in text
    assert b"Booting from Hard Disk..." in log.read_bytes()
    assert TCG.reason in failed.value.hint


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"[    1.0] Kernel panic - not syncing: no init\r\nCPU: 0\r\n", "panicked.*no init"),
        (b"error: no such device.\r\ngrub rescue> ", "grub rescue"),
        (b"You are in emergency mode. After logging in\r\n", "emergency mode"),
    ],
)
def test_a_failure_ends_the_boot_early(raw_image, directory, message, named):
    with pytest.raises(BootTestFailed, match=named):
        boot(_options(raw_image(message), timeout_s=600), directory=directory, acceleration=TCG)


def test_a_disk_without_boot_loader_fails_early(tmp_path, directory):
    image = tmp_path / "empty.raw"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(BootTestFailed, match="No bootable device"):
        boot(_options(image, timeout_s=600), directory=directory, acceleration=TCG)


def test_a_machine_that_restarts_has_failed(raw_image, directory):
    with pytest.raises(BootTestFailed, match="switched off or restarted"):
        boot(_options(raw_image(code=RESET), timeout_s=600), directory=directory, acceleration=TCG)


def test_a_machine_that_qemu_refuses_is_not_a_failed_boot_test(raw_image, directory):
    with pytest.raises(CommandFailed) as failed:
        boot(_options(raw_image(), cpus=100_000), directory=directory, acceleration=TCG)
    assert "cpu" in str(failed.value).lower()


def test_an_interrupt_while_waiting_ends_the_machine(raw_image, directory):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        boot(
            _options(raw_image(b"a line\r\n"), timeout_s=600),
            directory=directory, on_line=interrupt, acceleration=TCG,
        )  # fmt: skip


def test_a_boot_without_firmware_names_its_package(raw_image, directory, tmp_path, monkeypatch):
    monkeypatch.setattr(qemu, "UEFI_DIRECTORY", tmp_path / "absent")
    with pytest.raises(MissingToolError) as missing:
        boot(_options(raw_image(), firmware="uefi"), directory=directory, acceleration=TCG)
    assert missing.value.package == "ovmf"


def test_uefi_boots_from_its_system_partition(tmp_path, directory):
    # The EFI shell runs the file startup.nsh of a FAT file system that has no boot loader.
    image, script = tmp_path / "esp.raw", tmp_path / "startup.nsh"
    script.write_bytes(b"@echo -off\r\nset -v half logi\r\necho %half%n:\r\n")
    image.write_bytes(bytes(8 << 20))
    subprocess.run(["mkfs.vfat", image], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mcopy", "-i", image, script, "::/startup.nsh"], check=True)
    before = image.read_bytes()
    result = boot(
        _options(image, firmware="uefi", memory_bytes=256 << 20, timeout_s=300),
        directory=directory, acceleration=TCG,
    )  # fmt: skip
    assert result.firmware == "uefi"
    assert image.read_bytes() == before


def test_the_probe_tells_what_ran_and_is_asked_once(monkeypatch):
    # TCG works everywhere, so a sector that cannot run there would prove nothing about KVM.
    assert acceleration_module.run_boot_sector("tcg", timeout_s=60) is None
    found = probe_acceleration()
    assert found.name in ("kvm", "tcg")
    assert found.reason
    if found.name == "kvm":
        assert acceleration_module.run_boot_sector("kvm", timeout_s=60) is None
    monkeypatch.setattr(acceleration_module, "probe_acceleration", lambda: found)
    known_acceleration.cache_clear()
    assert known_acceleration() is known_acceleration() is found
    known_acceleration.cache_clear()


def test_a_processor_without_virtualization_is_not_asked_to_run_a_guest(tmp_path):
    # Linux can interpret a guest there: firmware ends within seconds, a kernel never does.
    device, cpuinfo = tmp_path / "kvm", tmp_path / "cpuinfo"
    device.touch()
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu vme lm hypervisor vmxnot\n")
    found = probe_acceleration(device=device, cpuinfo=cpuinfo, timeout_s=0.0)
    assert found == Acceleration(
        "tcg", f"{device} is present but the processor offers no virtualization"
    )
    for flag in ("vmx", "svm"):
        assert virtualization_flag(f"flags\t\t: fpu {flag} lm\n") == flag


def test_a_sector_that_does_nothing_is_not_taken_for_acceleration(monkeypatch):
    idle = bytes.fromhex("f4ebfd").ljust(510, b"\0") + b"\x55\xaa"
    monkeypatch.setattr(acceleration_module, "_SECTOR", idle)
    told = acceleration_module.run_boot_sector("tcg", timeout_s=1.0)
    assert told == "a guest did nothing for 1 s"
