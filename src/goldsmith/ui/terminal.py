"""Where text goes and what the terminal can show."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from typing import TextIO

BOLD, RED, RESET = "\033[1m", "\033[31m", "\033[0m"
BUILD_COLORS = ("\033[1;32m", "\033[1;36m", "\033[1;35m", "\033[1;33m", "\033[1;34m")
ERROR_COLOR = "\033[1;31m"


# Sequences that steer a terminal (ECMA-48): control sequences, strings for it, and short ones.
_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-Z\\`-~]"
)
_COLORS = re.compile(r"(\x1b\[[0-9;:]*m)")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text without anything that steers a terminal; ends of lines and tabs stay."""
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _ESCAPE.sub("", text))


def tame(text: str) -> str:
    """The text with its colours, and nothing else that steers a terminal.

    A program that moves the cursor would write over the lines of others.
    """
    if text.isprintable():
        return text
    parts = _COLORS.split(text)
    return "".join(part if number % 2 else plain(part) for number, part in enumerate(parts))


def wants_color(stream: TextIO, flag: bool | None) -> bool:
    """Whether to use colour: the flag decides, else NO_COLOR and the kind of the stream.

    `PACKER_NO_COLOR` and `NO_COLOR` count with any value, as their users expect. What nobody
    watches (CI) and a dumb terminal get colour only where the flag asks for it.
    """
    if "PACKER_NO_COLOR" in os.environ or os.environ.get("NO_COLOR"):
        return False
    if flag is not None:
        return flag and (stream.isatty() or bool(os.environ.get("CLICOLOR_FORCE")))
    return is_live(stream)


def is_live(stream: TextIO) -> bool:
    """Whether a line may be drawn over itself: a real terminal, and nobody logs it (CI)."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def size(stream: TextIO) -> tuple[int, int]:
    """The columns and lines of the terminal now; COLUMNS and LINES where it does not say."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns = lines = 0
    if not (columns and lines):
        import shutil

        columns, lines = shutil.get_terminal_size()
    return columns, lines


def standard_output() -> TextIO:
    """Where goldsmith prints, also while plugins in this process have another `sys.stdout`."""
    behind: TextIO | None = getattr(sys.stdout, "of_process", None)
    return sys.stdout if behind is None else behind


def write_line(text: str = "", *, stream: TextIO | None = None) -> None:
    """Print a line at once; a reader that has gone (`| head`) is not our error."""
    target = stream or standard_output()
    try:
        print(text, file=target, flush=True)
    except BrokenPipeError:
        # The interpreter would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
    except UnicodeEncodeError:
        encoding = target.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=target, flush=True)


def discard_output() -> None:
    """Throw away what standard output has not taken, where it takes nothing more (a full disk).

    The interpreter would fail once more when it flushes at its end.
    """
    try:
        standard_output().flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), standard_output().fileno())


def write_bytes(data: bytes) -> None:
    """Print a document as it is, for the program that reads it."""
    output = standard_output()
    output.flush()
    try:
        output.buffer.write(data)
        output.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def ask_on_terminal(question: str) -> str | None:
    """Ask the user and return the answer; None when there is no terminal to ask at."""
    if not sys.stdin.isatty():
        return None
    output = standard_output()
    output.write(f"{question} ")
    output.flush()
    _wait_for_a_line(sys.stdin.fileno())
    line = sys.stdin.readline()
    return line.strip() if line else None


def _wait_for_a_line(terminal: int) -> None:
    """Return when a line was typed; a signal's handler runs at once, and may raise.

    A signal that comes before a plain read(2) has begun is only heard after the next line: input()
    of Python 3.11 loses a Ctrl-C that way.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        while terminal not in (ready := select.select([terminal, reader], [], [])[0]):
            if reader in ready:
                os.read(reader, 1 << 10)
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
