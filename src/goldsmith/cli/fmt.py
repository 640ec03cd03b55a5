"""`goldsmith fmt`: HCL2 files in their canonical form."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.errors import (
    GoldsmithError,
    Position,
    SourceRange,
    TemplateError,
    explain_os_error,
)
from goldsmith.host import process
from goldsmith.template.hcl2.formatter import format_source
from goldsmith.template.hcl2.parser import parse_file
from goldsmith.template.hcl2.scope import failure
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_bytes, write_line

FLAGS = {
    "check": Flag("bool", "change nothing; exit status 3 if a file is not in canonical form"),
    "diff": Flag("bool", "show what changes"),
    "write": Flag("bool", "write the files; on by default, off with -check"),
    "recursive": Flag("bool", "go into the directories below, too"),
}
SUFFIXES = (".pkr.hcl", ".pkrvars.hcl")
STDIN = "-"
STDIN_NAME = "<stdin>"
USAGE = "Usage: goldsmith fmt [options] PATH... (files, directories, or - for standard input)"
WOULD_CHANGE = 3


def run(words: list[str], machine_readable: bool) -> int:
    """Format; 0, 1 when a file cannot be, or 3 when -check found one that would change."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(f"{USAGE}\n\n{describe(FLAGS)}")
        return 0
    try:
        flags = read_flags(FLAGS, words)
        if not flags.words:
            raise FlagError("no path was given")
    except FlagError as e:
        write_line(f"{USAGE}\n\n{describe(FLAGS)}\n\n{e}")
        return 1
    return _Formatting(flags).run()


@dataclass(slots=True)
class _Formatting:
    """One run over all paths; what is wrong with one of them does not stop the others."""

    flags: Flags
    changed: bool = False
    failed: bool = False

    @property
    def check(self) -> bool:
        return self.flags.on("check")

    @property
    def write(self) -> bool:
        return self.flags.maybe_bool("write") is not False and not self.check

    def run(self) -> int:
        for path in self.flags.words:
            try:
                if path == STDIN:
                    self._standard_input()
                else:
                    self._path(path)
            except (GoldsmithError, OSError) as e:
                self._error(e)
        if self.failed:
            return 1
        return WOULD_CHANGE if self.check and self.changed else 0

    def _error(self, error: GoldsmithError | OSError) -> None:
        told = explain_os_error(error) if isinstance(error, OSError) else error
        color = wants_color(sys.stderr, None)
        write_line(render_error(told, color=color), stream=sys.stderr)
        self.failed = True

    def _standard_input(self) -> None:
        """Format standard input to standard output; what would change is kept back by -check."""
        given = sys.stdin.buffer.read()
        text = _formatted(given, STDIN_NAME)
        same = text == given
        self.changed |= not same
        if same or self.write:
            write_bytes(text)

    def _path(self, path: str) -> None:
        if os.path.isdir(path):
            for file in self._files_in(path):
                try:
                    self._file(file)
                except (GoldsmithError, OSError) as e:
                    self._error(e)
            return
        if not os.path.exists(path):
            raise GoldsmithError(f"there is no file or directory {path}")
        if not path.endswith(SUFFIXES):
            raise GoldsmithError(
                f"file {path} is not a HCL file",
                hint=f"the names of files to format end in {' or '.join(SUFFIXES)}",
            )
        self._file(path)

    def _files_in(self, directory: str) -> Iterator[str]:
        """The files of a directory by name, files before the directories below."""
        below = []
        for name in sorted(os.listdir(directory)):
            path = os.path.normpath(os.path.join(directory, name))
            if name.startswith("."):
                continue
            if os.path.isdir(path):
                below.append(path)
            elif name.endswith(SUFFIXES) and not (name.startswith("#") and name.endswith("#")):
                yield path
        if self.flags.on("recursive"):
            for path in below:
                if not os.path.islink(path):
                    yield from self._files_in(path)

    def _file(self, path: str) -> None:
        given = Path(path).read_bytes()
        text = _formatted(given, path)
        if text == given:
            return
        self.changed = True
        write_line(path)
        if self.write:
            _replace(path, text)
        if self.flags.on("diff"):
            write_line(_difference(path, given, text))


def _formatted(given: bytes, name: str) -> bytes:
    """The canonical form; raises TemplateError for what is no HCL."""
    try:
        source = given.decode()
    except UnicodeDecodeError as error:
        before = given[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        place = Position(line, column, error.start)
        where = SourceRange(name, place, place)
        detail = f"{name}:{line}: all template files must be UTF-8 text."
        raise failure("Invalid character encoding", detail, where) from None
    found = parse_file(source, name).diagnostics
    if found:
        raise TemplateError(found, {name: source})
    return format_source(source).encode()


def _replace(path: str, text: bytes) -> None:
    """Write the file whole or not at all; its mode stays, and a symbolic link stays one."""
    target = os.path.realpath(path)
    directory, name = os.path.split(target)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=f".{name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            shutil.copymode(target, file.name)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _difference(path: str, old: bytes, new: bytes) -> str:
    """What `diff -u` says of the two texts."""
    with tempfile.TemporaryDirectory() as directory:
        before, after = Path(directory, "old"), Path(directory, "new")
        before.write_bytes(old)
        after.write_bytes(new)
        labels = ["--label", f"old/{path}", "--label", f"new/{path}"]
        argv = ["diff", "-u", *labels, str(before), str(after)]
        # Status 1 says that they differ.
        return process.run(argv, check=False, capture=True).text.rstrip("\n")
