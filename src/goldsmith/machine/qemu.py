"""Boots a disk image in QEMU and waits for a text on its serial console.

Unless it is told otherwise the image itself is opened read-only and never written: the machine runs
on an overlay that lives in a scratch directory and goes with it. It has no network unless ports are
forwarded, no display and no monitor; what it has is what cloud images expect: virtio disk and
random numbers, and a serial port.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from goldsmith.errors import (
    BootTestFailed,
    CommandFailed,
    GoldsmithError,
    MissingToolError,
    UsageError,
)
from goldsmith.host import process
from goldsmith.host.cancellation import waited_for
from goldsmith.machine.acceleration import (
    CPU_ARGUMENTS,
    EMULATOR,
    Acceleration,
    known_acceleration,
)
from goldsmith.machine.boot_disk import DRIVERS, WRITABLE, check_image, disk_nodes, open_disk
from goldsmith.machine.console import ConsoleWatch
from goldsmith.machine.forwarding import Forward, check_forwards, network_arguments

DiskFormat = Literal["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "raw.gz", "raw.zst"]
Firmware = Literal["bios", "uefi"]

CONTEXT_S: Final = 0.3
"""How long to go on reading after a failure's text, for the lines that explain it."""

_EXIT_S = 5.0
_STDERR_LIMIT_BYTES = 16 << 10

# Debian's and Ubuntu's package `ovmf`; the 4M pair is the one that is there to stay.
UEFI_DIRECTORY = Path("/usr/share/OVMF")
UEFI_CODE = "OVMF_CODE_4M.fd"
UEFI_VARIABLES = "OVMF_VARS_4M.fd"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootOptions:
    """What to boot, on which machine, and what it must say.

    The format is given and never guessed: a guest that writes a qcow2 header into its raw disk
    could otherwise name any file of the host as its backing file. `expect` is a plain text, looked
    for in the console's text without escape sequences and carriage returns. `serial_log` gets the
    console's bytes as they came. With `snapshot` what the guest writes is thrown away; without, it
    stays in the image. `forwards` lead from this host into the machine; `network` lets it out.
    `disks` are attached after the image, in that order, and treated as it is.
    Raises UsageError for what cannot work.
    """

    image: Path
    format: DiskFormat
    firmware: Firmware = "bios"
    memory_bytes: int = 1 << 30
    cpus: int = 1
    expect: str = "login:"
    timeout_s: float = 300.0
    serial_log: Path | None = None
    snapshot: bool = True
    forwards: tuple[Forward, ...] = ()
    network: bool = False
    disks: tuple[tuple[Path, DiskFormat], ...] = ()

    def __post_init__(self) -> None:
        for format in (self.format, *(format for _, format in self.disks)):
            if format not in DRIVERS:
                raise UsageError(f"a {format} image cannot be booted",
                                 hint=f"choose one of {', '.join(DRIVERS)}")  # fmt: skip
            if not self.snapshot and format not in WRITABLE:
                raise UsageError(
                    f"what a guest writes cannot be kept in a {format} image",
                    hint=f"boot its {' or '.join(WRITABLE)} form; qemu-img convert makes one",
                )
        if self.firmware not in ("bios", "uefi"):
            raise UsageError(f"{self.firmware!r} is not a firmware", hint="use bios or uefi")
        if not self.expect:
            raise UsageError("a boot needs a text to wait for", hint='for example "login:"')
        if self.timeout_s <= 0 or self.cpus < 1 or self.memory_bytes < 1 << 20:
            raise UsageError("a machine needs time, at least 1 CPU and at least 1 MiB of memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootResult:
    """How a boot went: `seen` after `duration_s`, which counts from QEMU's start."""

    seen: bool
    duration_s: float
    acceleration: Acceleration
    firmware: Firmware
    log: Path | None


def boot(
    options: BootOptions,
    *,
    directory: Path,
    on_line: Callable[[str], None] | None = None,
    acceleration: Acceleration | None = None,
    stay: Callable[[BootResult], None] | None = None,
) -> BootResult:
    """Boot an image until it has said the expected text; QEMU has ended when this returns.

    `directory` holds the overlay meanwhile, as much as the guest writes; lines of the console
    reach `on_line` without escape sequences. Without `acceleration` the host is probed. With `stay`
    the machine runs on after the text, which `stay` is told of, until it switches itself off.
    Raises BootTestFailed when the text does not come in time, the machine fails in a known way,
    or stops; MissingToolError without QEMU or, for UEFI, its firmware; CommandFailed when QEMU
    does not run; GoldsmithError without an image, for one that is not sound or not of its format,
    and for a port that is taken.
    """
    watch = ConsoleWatch(options.expect, on_line)
    with started_machine(options, directory=directory, acceleration=acceleration) as machine:

        def result() -> BootResult:
            duration_s = time.monotonic() - machine.qemu.started_s
            return BootResult(
                seen=True, duration_s=duration_s, acceleration=machine.acceleration,
                firmware=options.firmware, log=options.serial_log,
            )  # fmt: skip

        on_expected = None if stay is None else lambda: stay(result())
        stderr = _follow(machine, watch, options.timeout_s, on_expected)
        booted = result()
        status = machine.qemu.status
        machine.end()
    watch.close()
    if watch.finding is not None and watch.finding.expected and not (stay and status):
        return booted
    if status:
        raise qemu_failed(machine.argv, status, stderr, booted.duration_s)
    raise _failure(options, machine.acceleration, watch, stopped=status is not None)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that runs: QEMU, with its console on standard output, and who keeps its bytes."""

    qemu: process.Running
    argv: tuple[str, ...]
    acceleration: Acceleration
    log: Callable[[bytes], None]
    keeps_writes: bool

    def end(self) -> None:
        """End QEMU; at once where nothing of the machine is kept, else it closes its disk first."""
        self.qemu.end(hurry=not self.keeps_writes)


@contextmanager
def started_machine(
    options: BootOptions,
    *,
    directory: Path,
    acceleration: Acceleration | None = None,
    keyboard_fd: int | None = None,
) -> Iterator[Machine]:
    """Check all that a boot needs and start it; `keyboard_fd` is what the serial port reads from.

    Raises what `boot` raises before the machine runs.
    """
    for image, format in ((options.image, options.format), *options.disks):
        check_image(image, format)
    check_forwards(options.forwards)
    process.get_tool(EMULATOR)
    acceleration = acceleration or known_acceleration()
    with tempfile.TemporaryDirectory(prefix="boot-", dir=directory) as scratch:
        argv = prepare_machine(options, acceleration, Path(scratch))
        start = process.start if keyboard_fd is None else partial(process.start, stdin=keyboard_fd)
        with _console_log(options.serial_log) as log, start(argv) as qemu:
            yield Machine(qemu, argv, acceleration, log, not options.snapshot)


def qemu_failed(
    argv: tuple[str, ...], status: int, stderr: bytes, duration_s: float
) -> CommandFailed:
    """The error of a QEMU that ended by itself and not well."""
    tail = stderr.decode(errors="replace").splitlines()
    return CommandFailed(argv, status, tail=tail, duration_s=duration_s)


def prepare_machine(
    options: BootOptions, acceleration: Acceleration, scratch: Path
) -> tuple[str, ...]:
    """Make the overlay and the firmware's variables in `scratch`; returns QEMU's argument list."""
    nodes, disks = [], []
    for number, (image, format) in enumerate(((options.image, options.format), *options.disks)):
        name = f"disk-{number}" if number else "disk"
        place = scratch / name
        place.mkdir()
        disk = open_disk(image, format, place)
        nodes += disk_nodes(disk, place, keep_writes=not options.snapshot, image=image, name=name)
        disks += ["-device", f"virtio-blk-pci,drive={name},bootindex={number}"]
    memory_mib = -(-options.memory_bytes // (1 << 20))
    # Without a display SeaBIOS repeats on the serial port what it, and a boot loader through it,
    # says on the screen (graphics=off): the only way to see why a BIOS boot fails early.
    machine = "q35,graphics=off"
    if options.firmware == "uefi":
        machine += ",pflash0=uefi-code,pflash1=uefi-variables"
        nodes += _uefi_flash(scratch)
    return (
        EMULATOR, "-machine", machine, *CPU_ARGUMENTS[acceleration.name],
        "-smp", str(options.cpus), "-m", f"{memory_mib}M",
        "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
        *(word for node in nodes for word in ("-blockdev", json.dumps(node))),
        *disks, "-boot", "strict=on",
        "-device", "virtio-rng-pci",
        *network_arguments(options.forwards, outward=options.network),
        "-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console",
    )  # fmt: skip


def require_uefi_firmware() -> tuple[Path, Path]:
    """The files of the firmware's code and variables; raises MissingToolError without them."""
    code, variables = UEFI_DIRECTORY / UEFI_CODE, UEFI_DIRECTORY / UEFI_VARIABLES
    for file in (code, variables):
        if not file.is_file():
            raise MissingToolError(f"the UEFI firmware ({file})", "ovmf")
    return code, variables


def _uefi_flash(scratch: Path) -> list[dict[str, object]]:
    """The flash of a UEFI machine: shared code, and variables of its own to write to."""
    code, variables = require_uefi_firmware()
    own_variables = scratch / "variables.fd"
    shutil.copyfile(variables, own_variables)
    return [
        {"node-name": "uefi-code", "driver": "raw", "read-only": True,
         "file": {"driver": "file", "filename": str(code), "read-only": True}},
        {"node-name": "uefi-variables", "driver": "raw",
         "file": {"driver": "file", "filename": str(own_variables)}},
    ]  # fmt: skip


@contextmanager
def _console_log(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """A function that appends to the console's log, unbuffered: whoever looks sees it grow."""
    if path is None:
        yield lambda data: None
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with _log_trouble(path):
        fd = os.open(path, flags, 0o666)

    def append(data: bytes) -> None:
        with _log_trouble(path):
            while data:
                data = data[os.write(fd, data) :]

    try:
        yield append
    finally:
        os.close(fd)


@contextmanager
def _log_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise GoldsmithError(f"cannot write the console's log {path}: {e.strerror}") from e


def _follow(
    machine: Machine,
    watch: ConsoleWatch,
    timeout_s: float,
    on_expected: Callable[[], None] | None,
) -> bytes:
    """Read the console until it decides, QEMU ends or the time is up; returns QEMU's stderr.

    With `on_expected` it is read on after the expected text, without a limit, until QEMU ends.
    """
    qemu, stderr = machine.qemu, b""
    deadline_s: float | None = qemu.started_s + timeout_s
    with selectors.DefaultSelector() as selector:
        for pipe in (qemu.popen.stdout, qemu.popen.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and (left_s := _left_s(deadline_s)) != 0:
            for key, _ in waited_for(selector, left_s):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is qemu.popen.stderr:
                    stderr = (stderr + data)[-_STDERR_LIMIT_BYTES:]
                else:
                    machine.log(data)
                    watch.feed(data)
            if watch.finding is None or deadline_s is None:
                continue
            if not watch.finding.expected:
                deadline_s = min(deadline_s, time.monotonic() + CONTEXT_S)
            elif on_expected is None:
                return stderr
            else:
                on_expected()
                deadline_s = None
        if not selector.get_map():
            # Both pipes are closed, so QEMU is at its end; its status is there in a moment.
            qemu.wait(_EXIT_S)
    return stderr


def _left_s(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())


def _failure(
    options: BootOptions, acceleration: Acceleration, watch: ConsoleWatch, *, stopped: bool
) -> BootTestFailed:
    """The error of a boot that did not get there: why, the last lines, where the rest is."""
    what = f"{options.image} did not boot ({options.firmware}, {acceleration.name}): "
    hint = None
    if watch.finding is not None:
        what += watch.explain(watch.finding)
    elif stopped:
        what += f"the machine switched off or restarted before it said {options.expect!r}"
    else:
        what += f"it did not say {options.expect!r} within {options.timeout_s:g} s"
        hint = "allow more time, or let the image's kernel log to the serial port (console=ttyS0)"
        if acceleration.name == "tcg":
            hint += f"; without KVM it is many times slower ({acceleration.reason})"
    lines = ["its console's last lines:", *watch.tail] if watch.tail else ["its console is empty"]
    if options.serial_log is not None:
        lines.append(f"the whole console: {options.serial_log}")
    return BootTestFailed("\n".join([what, *lines]), hint=hint)
