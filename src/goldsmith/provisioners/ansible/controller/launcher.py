"""Starts a program of Ansible in this process, and notes which files of the user it reads.

The arguments come as JSON on standard input: they may hold secrets, and argument lists are for
everybody to read. Runs in Ansible's Python, as a script.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, Final

_WRITES: Final = os.O_WRONLY | os.O_RDWR
_LISTINGS: Final = ("os.listdir", "os.scandir")
_PROGRAMS: Final = ("subprocess.Popen", "os.posix_spawn", "os.system")


class ReadNotes:
    """Writes down the path of each file that Python opens for reading, and of each listing.

    What the programs read that it starts is not seen; that there are any is written down.
    """

    def __init__(self, notes: str, passed_over: list[str]) -> None:
        self._fd = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._passed_over = tuple(passed_over)
        self._known: set[str] = set()
        self._runs = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Take in an event of the interpreter (PEP 578)."""
        if event == "open":
            name, _, flags = args
            if flags & _WRITES:
                return
        elif event in _LISTINGS:
            name = "." if args[0] is None else args[0]
        else:
            if event in _PROGRAMS and not self._runs:
                self._runs = True
                os.write(self._fd, b'{"runs": 1}\n')
            return
        if isinstance(name, int):
            return
        path = os.path.abspath(os.fsdecode(name))
        if path in self._known or path.startswith(self._passed_over):
            return
        self._known.add(path)
        # One write for each line: processes that Ansible forks write here as well.
        os.write(self._fd, json.dumps(path).encode() + b"\n")


def main() -> None:
    """Run the program that standard input names."""
    given = json.load(sys.stdin)
    # Ansible's own processes stay in our group, so that they end together with it.
    os.setsid = lambda: None
    program = importlib.import_module(f"ansible.cli.{given['program']}")
    if given["notes"]:
        sys.addaudithook(ReadNotes(given["notes"], given["passed_over"]))
    program.main([f"ansible-{given['program']}", *given["arguments"]])


if __name__ == "__main__":
    main()
