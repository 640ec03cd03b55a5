"""The guest: a small machine of ours that runs one step on attached disks.

For what this host's kernel cannot do: arrays, logical volumes, mounts of vfat or iso9660. It needs
neither root nor a device of the host. Its kernel and programs are Debian's (`guest_image`); what
is said to it and by it is in `guest_protocol`. QEMU runs in a process group of its own and ends
with the call, whatever happens.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import stat
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from goldsmith.host import process
from goldsmith.host.sparse import create_sparse
from goldsmith.machine.acceleration import (
    CPU_ARGUMENTS,
    EMULATOR,
    Acceleration,
    known_acceleration,
)
from goldsmith.machine.console import TerminalText
from goldsmith.machine.guest_image import GuestImage, open_guest_image
from goldsmith.machine.guest_protocol import (
    SECTOR_BYTES,
    ControlPort,
    GuestDisk,
    GuestError,
    GuestResult,
    GuestStep,
    LineSink,
    OutputPort,
    Tail,
    new_marker,
    read_results,
    write_step,
)
from goldsmith.machine.guest_share import share_arguments, shared_root
from goldsmith.units import format_size

DRAIN_S: Final = 10.0
"""How long the last output may be on its way after the guest has said that it is done."""

_EXIT_S: Final = 5.0
_CONSOLE_LINES: Final = 20
_CONSOLE_KEPT_LINES: Final = 200
_KERNEL_LINE: Final = re.compile(r"\[ *\d+\.\d+\] ")
_TELLING: Final = ("goldsmith: the guest ", "Kernel panic", "Out of memory")
_STDERR_LIMIT_BYTES: Final = 16 << 10
_PORTS: Final = ("control", "stdout", "stderr")

# A panic restarts the machine, and QEMU ends instead (-no-reboot). Nothing that runs in a guest is
# an enemy of anything else in it. TCG's clock is as good as it gets.
_KERNEL_ARGUMENTS: Final = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check"
)

# qcow2's header (docs/interop/qcow2.txt): the name of a backing file, and of an external data file.
_QCOW2_BACKING_AT: Final = slice(8, 16)
_QCOW2_INCOMPATIBLE_AT: Final = slice(72, 80)
_QCOW2_DATA_FILE: Final = 1 << 2


def run_guest(
    step: GuestStep,
    *,
    directory: Path,
    on_line: LineSink | None = None,
    acceleration: Acceleration | None = None,
    image: GuestImage | None = None,
) -> GuestResult:
    """Run a step in a guest; the machine has ended and its disks are closed when this returns.

    `directory` holds the step and its results meanwhile. Lines that commands write reach `on_line`
    as they come. Without `image` this host's guest is taken, and made if need be (see
    `open_guest_image`); without `acceleration` the host is probed. A command that fails is a
    result, not an error. Raises GuestError when the guest does not start, stops, or does not end
    in time; MissingToolError without QEMU.
    """
    process.get_tool(EMULATOR)
    for disk in step.disks:
        _check_disk(disk)
    acceleration = acceleration or known_acceleration()
    image = image or open_guest_image()
    marker = new_marker()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="guest-", dir=directory)))  # fmt: skip
        write_step(step, scratch / "step.tar", marker)
        create_sparse(scratch / "result.tar", step.results_limit_bytes)
        watch = _Watch(step, marker, on_line)
        ours, theirs = stack.enter_context(_ports())
        fds = [end.fileno() for end in theirs]
        share = stack.enter_context(shared_root(step.shares, scratch)) if step.shares else None
        share_fds = [] if share is None else [share.fd]
        argv = machine_arguments(step, image, acceleration, scratch, fds, *share_fds)
        with process.start(argv, pass_fds=[*fds, *share_fds]) as qemu:
            for end in theirs:
                end.close()
            _follow(qemu, ours, watch, None if share is None else share.ended_fd)
            if watch.finished:
                # It closes its disks properly; an image format may hold back what it has to write.
                qemu.signal_group(signal.SIGTERM)
                status = qemu.wait(_EXIT_S)
            else:
                status = qemu.wait(0)
            duration_s = time.monotonic() - qemu.started_s
        watch.close()
        if not watch.finished or status != 0:
            raise _failure(watch, status, image)
        return _result(watch, scratch / "result.tar", duration_s)


def _check_disk(disk: GuestDisk) -> None:
    """Refuse what QEMU would open more than: images that name other files of the host."""
    try:
        with open(disk.path, "rb") as stream:
            head = stream.read(104)
    except OSError as e:
        raise GuestError(f"{disk.path} cannot be attached to a guest: {e.strerror}") from e
    if disk.format != "qcow2":
        return
    if head[:4] != b"QFI\xfb":
        raise GuestError(f"{disk.path} is not a qcow2 image")
    version_2 = int.from_bytes(head[4:8], "big") < 3
    incompatible = 0 if version_2 else int.from_bytes(head[_QCOW2_INCOMPATIBLE_AT], "big")
    if any(head[_QCOW2_BACKING_AT]) or incompatible & _QCOW2_DATA_FILE:
        raise GuestError(
            f"{disk.path} depends on another file",
            hint="qemu-img convert makes an image of its own from it",
        )


@contextmanager
def _ports() -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """A pair of connected sockets for each port of the guest: our ends, and those for QEMU."""
    pairs = [socket.socketpair() for _ in _PORTS]
    try:
        yield [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def machine_arguments(
    step: GuestStep,
    image: GuestImage,
    acceleration: Acceleration,
    scratch: Path,
    port_fds: Sequence[int],
    share_fd: int | None = None,
) -> tuple[str, ...]:
    """QEMU's argument list for the step and its result in `scratch`.

    `share_fd` is connected to the server of the host's files.
    """
    drives = [
        *((str(number), disk) for number, disk in enumerate(step.disks)),
        ("step", GuestDisk(path=scratch / "step.tar", read_only=True)),
        ("result", GuestDisk(path=scratch / "result.tar")),
    ]
    disks = [
        word
        for name, disk in drives
        for word in (
            "-blockdev", json.dumps(_block_node(f"disk-{name}", disk)),
            # QEMU would stop the machine where the host's file system is full.
            "-device", f"virtio-blk-pci,drive=disk-{name},serial={name},werror=report"
            + (f",logical_block_size={disk.block_bytes},physical_block_size={disk.block_bytes}"
               if disk.block_bytes != SECTOR_BYTES else ""),
        )
    ]  # fmt: skip
    ports = [
        word
        for number, (name, fd) in enumerate(zip(_PORTS, port_fds, strict=True), 1)
        for word in (
            "-chardev", f"socket,id={name},fd={fd}",
            "-device", f"virtserialport,chardev={name},nr={number},name=goldsmith.{name}",
        )
    ]  # fmt: skip
    clock = [] if step.clock_s is None else ["-rtc", f"base={_rtc_date(step.clock_s)}"]
    memory = f"{-(-step.memory_bytes // (1 << 20))}M"
    share = [] if share_fd is None else share_arguments(share_fd, memory)
    machine = "q35,graphics=off" + (",memory-backend=memory" if share else "")
    network = ["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]
    return (
        EMULATOR, "-machine", machine, *CPU_ARGUMENTS[acceleration.name],
        "-smp", "1", "-m", memory, *share,
        "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot", *clock,
        "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
        "-append", _KERNEL_ARGUMENTS,
        "-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console",
        *disks, "-device", "virtio-serial-pci", *ports,
        *(network if step.network else ["-nic", "none"]),
    )  # fmt: skip


def _rtc_date(seconds: int) -> str:
    """A time as QEMU reads it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _block_node(name: str, disk: GuestDisk) -> dict[str, object]:
    """A disk as QEMU's block layer describes it; what the guest flushes stays in the page cache."""
    path = os.path.abspath(disk.path)
    is_device = stat.S_ISBLK(os.stat(path).st_mode)
    cache = {"no-flush": True}
    file: dict[str, object] = {
        "driver": "host_device" if is_device else "file", "filename": path,
        "read-only": disk.read_only, "discard": "unmap", "cache": cache,
    }  # fmt: skip
    node: dict[str, object] = {
        "node-name": name, "driver": disk.format, "read-only": disk.read_only,
        "discard": "unmap", "cache": cache, "file": file,
    }  # fmt: skip
    return node | {"backing": None} if disk.format == "qcow2" else node


class _Watch:
    """What is known of a running guest."""

    def __init__(self, step: GuestStep, marker: str, on_line: LineSink | None) -> None:
        self.step = step
        self.tail = Tail(on_line)
        self.control = ControlPort()
        self.stdout = OutputPort("stdout", marker, self.tail)
        self.stderr = OutputPort("stderr", marker, self.tail)
        self.timed_out = False
        self.console = _Console()
        self.qemu_stderr = b""

    @property
    def finished(self) -> bool:
        """Whether the guest has said all that it has to say."""
        return self.control.done and self.stdout.complete and self.stderr.complete

    def take_qemu_stderr(self, data: bytes) -> None:
        """Keep the end of what QEMU itself complains of."""
        self.qemu_stderr = (self.qemu_stderr + data)[-_STDERR_LIMIT_BYTES:]

    def close(self) -> None:
        """No more bytes will come."""
        self.stdout.close()
        self.stderr.close()


@dataclass(slots=True)
class _Console:
    """The last lines of the serial console: the kernel's complaints, and init's."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_CONSOLE_KEPT_LINES))
    _terminal: TerminalText = field(default_factory=TerminalText)
    _rest: str = ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + self._terminal.feed(data)).split("\n")
        self.lines.extend(line.rstrip() for line in lines if line.strip())
        self._rest = self._rest[-4096:]

    def tail(self) -> list[str]:
        """The last lines with something in them, from the one that tells the reason on."""
        lines = [*self.lines, *([self._rest.strip()] if self._rest.strip() else [])]
        telling = (n for n, line in enumerate(lines) if any(text in line for text in _TELLING))
        start = next(telling, max(0, len(lines) - _CONSOLE_LINES))
        return lines[start : start + _CONSOLE_LINES]

    def complaints(self) -> list[str]:
        """What the kernel said of errors since it started: a lack of memory, a damaged disk."""
        return [line for line in self.tail() if _KERNEL_LINE.match(line)]


def _follow(
    qemu: process.Running,
    ports: Sequence[socket.socket],
    watch: _Watch,
    share_ended_fd: int | None,
) -> None:
    """Read all that comes until the guest is done, QEMU has ended or the time is up.

    Raises GuestError when the server of this host's files has ended before.
    """
    deadline_s = qemu.started_s + watch.step.timeout_s
    sinks: dict[int, Callable[[bytes], None]] = {
        port.fileno(): sink
        for port, sink in zip(
            ports, (watch.control.feed, watch.stdout.feed, watch.stderr.feed), strict=True
        )
    }
    if qemu.popen.stdout is not None and qemu.popen.stderr is not None:
        sinks[qemu.popen.stdout.fileno()] = watch.console.feed
        sinks[qemu.popen.stderr.fileno()] = watch.take_qemu_stderr
    with selectors.DefaultSelector() as selector:
        for fd in sinks:
            selector.register(fd, selectors.EVENT_READ)
        if share_ended_fd is not None:
            selector.register(share_ended_fd, selectors.EVENT_READ)
        draining = False
        while selector.get_map().keys() - {share_ended_fd} and not watch.finished:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                watch.timed_out = not draining
                return
            for key, _ in selector.select(left_s):
                if key.fd == share_ended_fd:
                    selector.unregister(key.fd)
                    # It ends with QEMU, too, which then has more to say.
                    if not watch.control.done and qemu.wait(_EXIT_S) is None:
                        raise GuestError("the server of this host's files ended before the guest")
                    continue
                data = os.read(key.fd, 1 << 16)
                if data:
                    sinks[key.fd](data)
                else:
                    selector.unregister(key.fd)
            if watch.control.done and not draining:
                draining = True
                deadline_s = min(deadline_s, time.monotonic() + DRAIN_S)
    if not watch.finished:
        # All is closed, so QEMU is at its end; its status is there in a moment.
        qemu.wait(_EXIT_S)


def _result(watch: _Watch, archive: Path, duration_s: float) -> GuestResult:
    """The result of a guest that has finished; raises GuestError when something is missing."""
    step, failed = watch.step, watch.control.failed
    results = _results(watch, archive) if step.results else {}
    if failed is None:
        absent = [name for name in step.results if name not in results]
        if absent:
            raise GuestError("\n".join(["the guest did not make its result: " + ", ".join(absent),
                                        *watch.console.tail()]))  # fmt: skip
        if watch.control.results_status:
            raise _incomplete(watch)
        unended = len(step.commands) - len(watch.control.ended)
        if unended:
            raise GuestError(f"the guest ended before its last {unended} commands")
    return GuestResult(
        status=failed[1] if failed else 0, failed_command=failed[0] if failed else None,
        results=results, duration_s=duration_s,
        tail=(*watch.tail.lines, *(watch.console.complaints() if failed else ())),
    )  # fmt: skip


def _results(watch: _Watch, archive: Path) -> dict[str, bytes]:
    """The files brought back; after a failed command whatever can be read."""
    try:
        return read_results(archive, watch.step.results)
    except GuestError as e:
        if watch.control.failed is not None:
            return {}
        if watch.control.results_status:
            raise _incomplete(watch) from e
        raise


def _incomplete(watch: _Watch) -> GuestError:
    limit = format_size(watch.step.results_limit_bytes)
    return GuestError(
        "\n".join(["the guest's results are not complete", *watch.console.tail()]),
        hint=f"all of them together may have {limit} (results_limit_bytes)",
    )


def _failure(watch: _Watch, status: int | None, image: GuestImage) -> GuestError:
    """The error of a guest that did not get to its end: when, why, and its last lines."""
    running, step = watch.control.running, watch.step
    hint = None
    if watch.timed_out:
        what = f"the guest did not end within {step.timeout_s:g} s"
    elif status is not None and status < 0:
        what = f"the guest's QEMU was killed by signal {-status}"
    elif status:
        what = f"the guest's QEMU exited with status {status}"
    elif watch.finished:
        what = f"the guest's QEMU did not end within {_EXIT_S:g} s"
    elif watch.control.done:
        what = "the guest was done, but its output did not come to an end"
    else:
        what = "the guest stopped before it was done"
    if running is not None:
        what += f", in command {running}: {' '.join(step.commands[running])}"
    elif not watch.control.ended and not watch.control.done:
        what += ", before its first command"
        hint = f"if it never starts, remove {image.kernel.parent}: the next use makes a new guest"
    lines = [*watch.qemu_stderr.decode(errors="replace").splitlines()[-_CONSOLE_LINES:]]
    if console := watch.console.tail():
        lines += ["its console's last lines:", *console]
    if watch.tail.lines:
        lines += ["its last output:", *watch.tail.lines]
    return GuestError("\n".join([what, *lines]), hint=hint)
