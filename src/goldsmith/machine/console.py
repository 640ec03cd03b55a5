"""What a booting machine says on its serial console, and what that means.

A console is a stream for terminals: escape sequences stand in the middle of words, and a read may
end anywhere, inside a sequence or a character too. The verdict depends on the bytes alone, never
on how they were cut into reads.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

TAIL_LINES: Final = 20
LINE_LIMIT: Final = 4096

FAILURE_TEXTS: Final[dict[str, str]] = {
    "Kernel panic - not syncing": "the kernel panicked",
    "No bootable device": "the BIOS found no boot loader on the disk",
    "No bootable option or device was found": "the UEFI firmware found no boot loader on the disk",
    "\nShell> ": "the UEFI firmware found no boot loader on the disk",
    "grub rescue>": "GRUB could not find its files (grub rescue)",
    "Minimal BASH-like line editing is supported": "GRUB found no configuration (grub prompt)",
    "Dropping to a shell!": "the initramfs could not mount the root file system",
    "You are in emergency mode": "the system came up in emergency mode",
    "Entering emergency mode": "the initramfs went into emergency mode",
    "Welcome to emergency mode": "the system came up in emergency mode",
}
"""Texts after which a machine will never get to a login, each with what it means.

The EFI shell counts only once it prompts: before that it may run a startup.nsh.
From Linux (kernel/panic.c), SeaBIOS (src/boot.c), EDK II (BdsDxe, Shell), GRUB 2
(kern/rescue_reader.c, normal/main.c), initramfs-tools, systemd and dracut.
"""

# ECMA-48: control sequences, control strings (titles and the like) and the short sequences. A
# control string that never ends must not swallow the console: it ends with its line at the latest.
_CONTROL_STRING = r"[\]PX^_][^\x07\x1b\r\n]{0,2048}"
_ESCAPE = re.compile(
    rf"\x1b(?:\[[0-?]{{0,64}}[ -/]{{0,8}}[@-~]|{_CONTROL_STRING}(?:\x07|\x1b\\)"
    r"|[ -/]{1,8}[0-~]|[0-OQ-WYZ\\`-~])"
)
_ESCAPE_BEGUN = re.compile(
    rf"\x1b(?:\[[0-?]{{0,64}}[ -/]{{0,8}}|{_CONTROL_STRING}\x1b?|[ -/]{{0,8}})\Z"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class TerminalText:
    """Turns a console's bytes into its text: UTF-8, no escape sequences, no control characters.

    Newlines, carriage returns and tabs stay.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next bytes, as far as no sequence is cut off at their end."""
        text = self._begun + self._decoder.decode(data, final=final)
        begun = None if final else _ESCAPE_BEGUN.search(text)
        cut = begun.start() if begun else len(text)
        text, self._begun = text[:cut], text[cut:]
        return _CONTROLS.sub("", _ESCAPE.sub("", text))


@dataclass(frozen=True, slots=True)
class Finding:
    """A text that decides about a boot: the expected one, or one of a failure."""

    text: str
    meaning: str
    expected: bool


class ConsoleWatch:
    """Reads a console until something decides: `finding` is the first of the texts looked for.

    A failure's text that is part of the expected one does not count. Lines reach `on_line` as
    they are complete, the last one at `close`.
    """

    def __init__(self, expect: str, on_line: Callable[[str], None] | None = None) -> None:
        self.finding: Finding | None = None
        self._wanted = [Finding(expect, "", expected=True)] + [
            Finding(text, meaning, expected=False)
            for text, meaning in FAILURE_TEXTS.items()
            if text not in expect
        ]
        self._overlap = max(len(wanted.text) for wanted in self._wanted) - 1
        self._window = ""
        self._terminal = TerminalText()
        self._line = ""
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next bytes of the console."""
        text = self._terminal.feed(data, final=final)
        for line in self._cut(text, final=final):
            self._lines.append(line)
            if self._on_line is not None:
                self._on_line(line)
        # Serial lines end in \r\n, and a text wrapped by the terminal's width holds a lone \r.
        window = self._window + text.replace("\r", "")
        if self.finding is None:
            self.finding = self._first(window)
        self._window = window[max(0, len(window) - self._overlap) :]

    def close(self) -> None:
        """No more bytes will come: hand out the line that has no end."""
        self.feed(b"", final=True)

    @property
    def tail(self) -> list[str]:
        """The last lines with something in them, the unfinished one included."""
        return [line for line in (*self._lines, _shown(self._line)) if line]

    def explain(self, finding: Finding) -> str:
        """What a finding means, with the line on which the machine said it."""
        text = finding.text.strip()
        line = next((line.strip() for line in self.tail if text in line), text)
        return f"{finding.meaning}: {line}"

    def _first(self, window: str) -> Finding | None:
        """The text that is complete first, whatever else the same bytes hold."""
        ends = [
            (at + len(wanted.text), index)
            for index, wanted in enumerate(self._wanted)
            if (at := window.find(wanted.text)) >= 0
        ]
        return self._wanted[min(ends)[1]] if ends else None

    def _cut(self, text: str, *, final: bool) -> Iterator[str]:
        *lines, self._line = (self._line + text).split("\n")
        yield from map(_shown, lines)
        while len(self._line) > LINE_LIMIT or (final and self._line):
            head, self._line = self._line[:LINE_LIMIT], self._line[LINE_LIMIT:]
            yield _shown(head)


def _shown(line: str) -> str:
    """A line as a terminal shows it: what follows the last carriage return."""
    return line.rstrip().rsplit("\r", 1)[-1]
