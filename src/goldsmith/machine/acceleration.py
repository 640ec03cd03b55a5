"""Whether KVM runs code on this host: tried, not inferred.

/dev/kvm may be present, open and answer its ioctls, and still run no guest: nested virtualization
that lacks model-specific registers (QEMU aborts), or that emulates so slowly that nothing happens.
So the probe runs a boot sector of ours on the very machine and CPU that a boot uses. It costs
0.1 s where KVM works and is asked again by every command: what is true of a host today
(permissions, modules, a moved virtual machine) need not be true tomorrow.
"""

from __future__ import annotations

import functools
import os
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

_SECTOR: Final = bytes(
    [
        0xB0, _SAID,       # mov al, _SAID
        0xE6, _EXIT_PORT,  # out _EXIT_PORT, al
        0xF4,              # hlt
        0xEB, 0xFD,        # jmp to the hlt
    ]
).ljust(510, b"\0") + b"\x55\xaa"  # fmt: skip

_SMALLEST_DISK_BYTES = 1 << 20
"""SeaBIOS 1.16 cannot read a disk of less than one cylinder."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How guests run on this host, and why in this way."""

    name: Accelerator
    reason: str


def probe_acceleration(
    *, device: Path = Path("/dev/kvm"), timeout_s: float = PROBE_TIMEOUT_S
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
    failure = run_boot_sector("kvm", timeout_s=timeout_s)
    if failure is None:
        return Acceleration("kvm", f"a guest ran on {device}")
    return Acceleration("tcg", f"{device} is present but {failure}")


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
