"""A shell where the variable `break` asks for one: before or after a phase, or after an error.

The shell has a terminal of its own in the worker, whose other side is relayed to the user's: so
that Ctrl-C reaches what runs in it, and not the build.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from goldsmith.builders.elements.phase_steps import Words
from goldsmith.elements.phases import Breaks
from goldsmith.events import Emitter
from goldsmith.host import process
from goldsmith.host.signals import check_interrupted

_CHUNK_BYTES: Final = 1 << 16
_LOOK_S: Final = 0.2
"""How often it is looked whether the shell has ended and a signal has come."""


@dataclass(frozen=True, slots=True)
class BreakShell:
    """Opens shells on a terminal, by its path; "" where there is none."""

    emitter: Emitter
    terminal: str
    caller: Mapping[str, str]
    """The caller's environment: `break_cmd` is another program than bash."""

    def __call__(self, where: str, words: Words, environment: Mapping[str, str]) -> None:
        """Run it to its end; its status does not matter. Without a terminal only `break_cmd` runs.

        As upstream has it, `break_cmd` stands for bash but after a phase.
        """
        emitter, command = self.emitter, Breaks.of(self.caller).command
        own = bool(command) and (where == "after-error" or not where.startswith("after-"))
        argv = list(command) if own else ["bash"]
        if not (self.terminal or own):
            emitter.warn(
                f"break={where}: there is no terminal to open a shell on; the build goes on"
            )
            return
        emitter.say("Starting debug shell. Exit to resume building.")
        emitter.say(f"At stage {where}")
        if self.terminal:
            shell_environment = {**environment, "TERM": self.caller.get("TERM", "dumb")}
            _on_terminal(self.terminal, words, argv, shell_environment)
        else:
            process.run(words(argv), env=environment, check=False,
                        on_line=lambda stream, line: emitter.output(line, stream))  # fmt: skip
        emitter.say("Resuming")


def _on_terminal(
    path: str, words: Words, argv: Sequence[str], environment: Mapping[str, str]
) -> None:
    users = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(users, "rb+", buffering=0):
        master, slave = os.openpty()
        try:
            with contextlib.suppress(termios.error):
                termios.tcsetwinsize(slave, termios.tcgetwinsize(users))
            with (
                process.start(
                    # The terminal becomes that of a session inside the namespaces.
                    words_with_terminal(words, argv), env=environment,
                    stdin=slave, stdout=slave, stderr=slave,
                ) as running,
                _raw(users),
            ):  # fmt: skip
                os.close(slave)
                slave = -1
                _relay(running, users, master)
        finally:
            os.close(master)
            if slave >= 0:
                os.close(slave)


def words_with_terminal(words: Words, argv: Sequence[str]) -> list[str]:
    """The words that run a program where the phase runs, with its input as its own terminal."""
    return [process.get_tool("setsid"), "--ctty", "--wait", *words(argv)]


def _relay(running: process.Running, users: int, master: int) -> None:
    """Pass bytes both ways until the shell has ended."""
    while True:
        check_interrupted()
        ready, _, _ = select.select([users, master, running.pidfd], [], [], _LOOK_S)
        if master in ready:
            # The other side of a terminal that nobody has open reads as an error (pty(7)).
            try:
                data = os.read(master, _CHUNK_BYTES)
            except OSError:
                return
            _write_all(users, data)
        if users in ready:
            _write_all(master, os.read(users, _CHUNK_BYTES))
        if running.pidfd in ready and master not in ready:
            return


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """The user's terminal hands on every key as it is, for the length of a block."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
