"""Boots a disk image in QEMU and waits for a text on its serial console.

The image itself is opened read-only and never written: the machine runs on an overlay that lives
in a scratch directory and goes with it. It has no network, no display and no monitor; what it has
is what cloud images expect: virtio disk and random numbers, and a serial port.
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
from goldsmith.machine.acceleration import (
    CPU_ARGUMENTS,
    EMULATOR,
    Acceleration,
    known_acceleration,
)
from goldsmith.machine.console import ConsoleWatch

DiskFormat = Literal["raw", "qcow2"]
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
    console's bytes as they came. Raises UsageError for what cannot work.
    """

    image: Path
    format: DiskFormat
    firmware: Firmware = "bios"
    memory_bytes: int = 1 << 30
    cpus: int = 1
    expect: str = "login:"
    timeout_s: float = 300.0
    serial_log: Path | None = None

    def __post_init__(self) -> None:
        if self.format not in ("raw", "qcow2"):
            raise UsageError(
                f"a {self.format} image cannot be booted directly",
                hint="boot its raw or qcow2 form; qemu-img convert makes one",
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
) -> BootResult:
    """Boot an image until it has said the expected text; QEMU has ended when this returns.

    `directory` holds the overlay meanwhile, as much as the guest writes; lines of the console
    reach `on_line` without escape sequences. Without `acceleration` the host is probed.
    Raises BootTestFailed when the text does not come in time, the machine fails in a known way,
    or stops; MissingToolError without QEMU or, for UEFI, its firmware; CommandFailed when QEMU
    does not run; GoldsmithError without the image.
    """
    if not options.image.is_file():
        raise GoldsmithError(f"there is no image {options.image} to boot")
    process.get_tool(EMULATOR)
    acceleration = acceleration or known_acceleration()
    watch = ConsoleWatch(options.expect, on_line)
    with tempfile.TemporaryDirectory(prefix="boot-", dir=directory) as scratch:
        argv = prepare_machine(options, acceleration, Path(scratch))
        with _console_log(options.serial_log) as log, process.start(argv) as qemu:
            stderr = _follow(qemu, watch, log, options.timeout_s)
            duration_s = time.monotonic() - qemu.started_s
            status = qemu.status
            # Nothing of the machine is kept, so it need not be asked to end.
            qemu.end(hurry=True)
    watch.close()
    if watch.finding is not None and watch.finding.expected:
        return BootResult(
            seen=True, duration_s=duration_s, acceleration=acceleration,
            firmware=options.firmware, log=options.serial_log,
        )  # fmt: skip
    if status:
        tail = stderr.decode(errors="replace").splitlines()
        raise CommandFailed(argv, status, tail=tail, duration_s=duration_s)
    raise _failure(options, acceleration, watch, stopped=status is not None)


def prepare_machine(
    options: BootOptions, acceleration: Acceleration, scratch: Path
) -> tuple[str, ...]:
    """Make the overlay and the firmware's variables in `scratch`; returns QEMU's argument list."""
    overlay = scratch / "overlay.qcow2"
    image = os.path.abspath(options.image)
    process.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", options.format, overlay]
    )
    # What the overlay's header says about its backing file is overruled here: read-only, and of
    # the format that was given.
    disk: dict[str, object] = {
        "node-name": "disk", "driver": "qcow2", "discard": "unmap",
        "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": str(overlay)},
        "backing": {
            "driver": options.format, "read-only": True,
            "file": {"driver": "file", "filename": image, "read-only": True},
        },
    }  # fmt: skip
    memory_mib = -(-options.memory_bytes // (1 << 20))
    # Without a display SeaBIOS repeats on the serial port what it, and a boot loader through it,
    # says on the screen (graphics=off): the only way to see why a BIOS boot fails early.
    machine = "q35,graphics=off"
    nodes = [disk]
    if options.firmware == "uefi":
        machine += ",pflash0=uefi-code,pflash1=uefi-variables"
        nodes += _uefi_flash(scratch)
    return (
        EMULATOR, "-machine", machine, *CPU_ARGUMENTS[acceleration.name],
        "-smp", str(options.cpus), "-m", f"{memory_mib}M",
        "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
        *(word for node in nodes for word in ("-blockdev", json.dumps(node))),
        "-device", "virtio-blk-pci,drive=disk,bootindex=0", "-boot", "strict=on",
        "-device", "virtio-rng-pci",
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
    qemu: process.Running, watch: ConsoleWatch, log: Callable[[bytes], None], timeout_s: float
) -> bytes:
    """Read the console until it decides, QEMU ends or the time is up; returns QEMU's stderr."""
    stderr = b""
    deadline_s = qemu.started_s + timeout_s
    with selectors.DefaultSelector() as selector:
        for pipe in (qemu.popen.stdout, qemu.popen.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is qemu.popen.stderr:
                    stderr = (stderr + data)[-_STDERR_LIMIT_BYTES:]
                else:
                    log(data)
                    watch.feed(data)
            if watch.finding is not None:
                if watch.finding.expected:
                    return stderr
                deadline_s = min(deadline_s, time.monotonic() + CONTEXT_S)
        if not selector.get_map():
            # Both pipes are closed, so QEMU is at its end; its status is there in a moment.
            qemu.wait(_EXIT_S)
    return stderr


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
