"""Hands a terminal to a booted machine: its serial console, until it ends or the escape key comes.

What is typed goes to the serial port as it is, Ctrl-C too; only the escape key is ours. Nothing of
the console is interpreted: the user's terminal does that.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from goldsmith.machine.acceleration import Acceleration
from goldsmith.machine.qemu import BootOptions, Machine, qemu_failed, started_machine

ESCAPE_KEY: Final = b"\x1d"
ESCAPE_KEY_NAME: Final = "Ctrl-]"
"""As telnet and `virsh console` have it: no shell, editor or boot loader uses it."""

Ended = Literal["escape key", "keyboard closed", "machine stopped"]
"""Why a session is over."""

_CHUNK_BYTES: Final = 4096
_EXIT_S: Final = 5.0
_STDERR_LIMIT_BYTES: Final = 16 << 10


def hand_over(
    options: BootOptions,
    *,
    directory: Path,
    keyboard_fd: int,
    show: Callable[[bytes], None],
    acceleration: Acceleration | None = None,
) -> Ended:
    """Boot an image with its serial console on a keyboard and a screen; QEMU has ended afterwards.

    `keyboard_fd` is read as it is: the caller has put its terminal into raw mode. There is no time
    limit, and `expect` of the options does not count. Raises what `boot` raises before a machine
    runs, and CommandFailed when QEMU does not run.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        with started_machine(
            options, directory=directory, acceleration=acceleration, keyboard_fd=reading
        ) as machine:
            os.set_blocking(writing, False)
            session = _Session(machine, keyboard_fd, writing, show)
            ended = session.run()
            status = machine.qemu.status
            machine.end()
    finally:
        os.close(reading)
        os.close(writing)
    if ended == "machine stopped" and status:
        raise qemu_failed(machine.argv, status, session.stderr, 0.0)
    return ended


class _Session:
    """Bytes both ways, without waiting for either side."""

    def __init__(
        self, machine: Machine, keyboard_fd: int, serial_fd: int, show: Callable[[bytes], None]
    ) -> None:
        self.stderr = b""
        self._machine, self._show = machine, show
        self._keyboard_fd, self._serial_fd = keyboard_fd, serial_fd
        self._typed = b""

    def run(self) -> Ended:
        stdout, stderr = self._machine.qemu.popen.stdout, self._machine.qemu.popen.stderr
        with selectors.DefaultSelector() as selector:
            # poll and epoll refuse regular files, which a keyboard may be in a script.
            selector.register(self._keyboard_fd, selectors.EVENT_READ)
            outputs = {pipe.fileno(): pipe for pipe in (stdout, stderr) if pipe is not None}
            for fd in outputs:
                selector.register(fd, selectors.EVENT_READ)
            while outputs:
                for key, _ in selector.select():
                    if key.fd == self._keyboard_fd:
                        ended = self._type(selector)
                        if ended is not None:
                            return ended
                    elif key.fd == self._serial_fd:
                        self._pass_on(selector)
                    elif not self._say(key.fd, is_stderr=outputs[key.fd] is stderr):
                        selector.unregister(key.fd)
                        del outputs[key.fd]
        self._machine.qemu.wait(_EXIT_S)
        return "machine stopped"

    def _type(self, selector: selectors.BaseSelector) -> Ended | None:
        """Take what was typed; the keyboard is not read again before the machine has it."""
        data = os.read(self._keyboard_fd, _CHUNK_BYTES)
        if not data:
            return "keyboard closed"
        if ESCAPE_KEY in data:
            return "escape key"
        self._typed = data
        selector.unregister(self._keyboard_fd)
        selector.register(self._serial_fd, selectors.EVENT_WRITE)
        return None

    def _pass_on(self, selector: selectors.BaseSelector) -> None:
        try:
            self._typed = self._typed[os.write(self._serial_fd, self._typed) :]
        except BrokenPipeError:
            self._typed = b""  # the machine stops
        if not self._typed:
            selector.unregister(self._serial_fd)
            selector.register(self._keyboard_fd, selectors.EVENT_READ)

    def _say(self, fd: int, *, is_stderr: bool) -> bool:
        data = os.read(fd, 1 << 16)
        if is_stderr:
            self.stderr = (self.stderr + data)[-_STDERR_LIMIT_BYTES:]
        elif data:
            self._machine.log(data)
            self._show(data)
        return bool(data)
