"""Whether KVM runs code on this host: tried, not inferred.

/dev/kvm may be present, open and answer its ioctls, and still run no guest: nested virtualization
that lacks model-specific registers (QEMU aborts), or a kernel that interprets the instructions of
guests on a processor without virtualization (firmware ends in seconds, a kernel never). So after a
look at the processor's flags the probe runs a boot sector of ours, on the very machine and CPU that
a boot uses, with so much 64-bit work that only a real processor ends it in time. It costs 0.1 s
where KVM works and is asked again by every command: what is true of a host today (permissions,
modules, a moved virtual machine) need not be true tomorrow.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from goldsmith.errors import CommandTimedOut
from goldsmith.host import process

PROBE_TIMEOUT_S: Final = 5.0
EMULATOR: Final = "qemu-system-x86_64"

Accelerator = Literal["kvm", "tcg"]

# Measured with QEMU 7.2 under TCG, Debian 12's cloud kernel to the login prompt, CPU seconds of
# QEMU: max 15-17, the same without la57 (5-level paging, which helps nobody here), Nehalem 19 (an
# Intel: the kernel turns on page-table isolation), qemu64 with the flags of x86-64-v2 12.5. The
# last is the fastest, but distributions of today ask for x86-64-v3, which only max has: with
# qemu64 their init dies, and a boot test would blame the image. A larger tb-size gains nothing, a
# second CPU 2 s of time for 2 s more of work. TCG chooses its threads well by itself.
CPU_ARGUMENTS: Final[dict[Accelerator, tuple[str, ...]]] = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg", "-cpu", "max,la57=off"),
}
"""What to run the machine's processors with."""

_EXIT_PORT = 0xF4
_SAID = 0x2A
_EXPECTED_STATUS = (_SAID << 1) | 1
"""isa-debug-exit ends QEMU with this status for the value `_SAID` (hw/misc/debugexit.c)."""

_SECTOR: Final = bytes.fromhex(
    "fa"                  # 00 cli
    "31c0"                # 01 xor ax, ax
    "8ed8"                # 03 mov ds, ax
    "8ec0"                # 05 mov es, ax
    "8ed0"                # 07 mov ss, ax
    "bc007c"              # 09 mov sp, 0x7c00
    "fc"                  # 0c cld
    "bf0010"              # 0d mov di, 0x1000: three page tables, one for each level
    "b90018"              # 10 mov cx, 0x1800
    "f3ab"                # 13 rep stosw
    "c70600100720"        # 15 mov word [0x1000], 0x2007
    "c70600200730"        # 1b mov word [0x2000], 0x3007
    "c70600308700"        # 21 mov word [0x3000], 0x87: the first 2 MiB
    "660f011e967c"        # 27 lidt [0x7c96]: none, so that a fault ends the machine
    "66b8a0000000"        # 2d mov eax, 0xa0: PAE, PGE
    "0f22e0"              # 33 mov cr4, eax
    "66b800100000"        # 36 mov eax, 0x1000
    "0f22d8"              # 3c mov cr3, eax
    "66b9800000c0"        # 3f mov ecx, 0xc0000080: EFER
    "0f32"                # 45 rdmsr
    "0d0001"              # 47 or ax, 0x100: LME
    "0f30"                # 4a wrmsr
    "66b811000080"        # 4c mov eax, 0x80000011: PG, ET, PE
    "0f22c0"              # 52 mov cr0, eax
    "660f0116907c"        # 55 lgdt [0x7c90]
    "ea607c0800"          # 5b jmp 8:0x7c60, into 64-bit mode
    "b900000001"          # 60 mov ecx, 1 << 24
    "89c8"                # 65 mov eax, ecx
    "25ffff0000"          # 67 and eax, 0xffff
    "fe8000000100"        # 6c inc byte [rax + 0x10000]
    "ffc9"                # 72 dec ecx
    "75ef"                # 74 jnz 0x65
    "0fa2"                # 76 cpuid
    f"b0{_SAID:02x}"      # 78 mov al, _SAID
    f"e6{_EXIT_PORT:02x}" # 7a out _EXIT_PORT, al
    "f4"                  # 7c hlt
    "ebfd"                # 7d jmp 0x7c
    "90"                  # 7f
    "0000000000000000"    # 80 descriptors: none,
    "00000000009a2000"    # 88 and 64-bit code
    "0f00807c0000"        # 90 where these are
    "000000000000"        # 96 where no interrupt vectors are
).ljust(510, b"\0") + b"\x55\xaa"  # fmt: skip
"""Enters 64-bit mode and counts 2 ** 24 writes to memory: 10 ms of a processor, 0.1 s of TCG."""

_SMALLEST_DISK_BYTES = 1 << 20
"""SeaBIOS 1.16 cannot read a disk of less than one cylinder."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How guests run on this host, and why in this way."""

    name: Accelerator
    reason: str


def probe_acceleration(
    *,
    device: Path = Path("/dev/kvm"),
    cpuinfo: Path = Path("/proc/cpuinfo"),
    timeout_s: float = PROBE_TIMEOUT_S,
) -> Acceleration:
    """Find out whether KVM can be used by using it.

    Raises MissingToolError without QEMU. Takes up to `timeout_s` where KVM starts a guest that
    gets nowhere.
    """
    if not device.exists():
        return Acceleration("tcg", f"this host has no {device}")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        return Acceleration("tcg", f"{device} cannot be opened: {e.strerror}")
    if not virtualization_flag(cpuinfo.read_text()):
        return Acceleration(
            "tcg", f"{device} is present but the processor offers no virtualization"
        )
    failure = run_boot_sector("kvm", timeout_s=timeout_s)
    if failure is None:
        return Acceleration("kvm", f"a guest ran on {device}")
    return Acceleration("tcg", f"{device} is present but {failure}")


def virtualization_flag(cpuinfo: str) -> Literal["vmx", "svm"] | None:
    """The flag of Intel's or AMD's virtualization in the text of /proc/cpuinfo, if it is there."""
    found = re.search(r"^flags\b.*\b(vmx|svm)\b", cpuinfo, re.MULTILINE)
    if found is None:
        return None
    return "vmx" if found[1] == "vmx" else "svm"


@functools.cache
def known_acceleration() -> Acceleration:
    """The answer of `probe_acceleration`, remembered for the life of this process."""
    return probe_acceleration()


def run_boot_sector(accelerator: Accelerator, *, timeout_s: float = PROBE_TIMEOUT_S) -> str | None:
    """Run our boot sector; returns None when it ran, else what happened instead.

    Raises MissingToolError without QEMU.
    """
    with _boot_sector_in_memory() as fd:
        argv = [
            EMULATOR, *CPU_ARGUMENTS[accelerator], "-machine", "q35", "-m", "64M",
            "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
            "-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=1",
            # A file in memory has no locks that QEMU could take.
            "-blockdev", f"driver=file,node-name=sector,filename=/proc/self/fd/{fd},"
                         "read-only=on,locking=off",
            "-blockdev", "driver=raw,node-name=disk,file=sector,read-only=on",
            "-device", "virtio-blk-pci,drive=disk,bootindex=0",
        ]  # fmt: skip
        try:
            # QEMU aborts on some hosts: in /proc it cannot drop its core file.
            done = process.run(argv, check=False, timeout_s=timeout_s, pass_fds=(fd,), cwd="/proc")
        except CommandTimedOut:
            return f"a guest did nothing for {timeout_s:g} s"
    if done.status == _EXPECTED_STATUS:
        return None
    said = next((line for line in done.tail if line), "")
    ended = f"was killed by signal {-done.status}" if done.status < 0 else f"exited {done.status}"
    return f"QEMU {ended}" + (f": {said}" if said else "")


@contextmanager
def _boot_sector_in_memory() -> Iterator[int]:
    """A descriptor of a disk that holds the sector: no file, so nothing is ever left behind."""
    fd = os.memfd_create("goldsmith-boot-sector")
    try:
        os.write(fd, _SECTOR)
        os.ftruncate(fd, _SMALLEST_DISK_BYTES)
        yield fd
    finally:
        os.close(fd)
