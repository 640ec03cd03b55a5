"""Output as diskimage-builder's users know it: every line of every program, with its time.

Source: `specs/diskimage-builder.md`, A14; upstream's `outfilter`.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from goldsmith.errors import Diagnostic, GoldsmithError, explain_os_error
from goldsmith.events import Asked, Event, Output, Said, StepFinished, StepStarted
from goldsmith.ui import terminal
from goldsmith.ui.diagnostics import render_diagnostics, render_error

if TYPE_CHECKING:
    from goldsmith.core.engine import BuildResult

COMPLETED: Final = "Build completed successfully"
_DROPPED: Final = re.compile(r"set \+o|xtrace")


class DibLines:
    """Prints the events of a build as `YYYY-mm-dd HH:MM:SS.mmm | line`, times in UTC.

    A log has the time of every line; standard output has lines without it if not `timestamps`, and
    none at all if `quiet`: then errors go to standard error.
    """

    def __init__(
        self, *, quiet: bool = False, timestamps: bool = True, log: TextIO | None = None
    ) -> None:
        self._quiet = quiet
        self._timestamps = timestamps
        self._log = log
        self.is_cancelled = False

    def line(self, text: str) -> None:
        """Print a text, line by line, with the time that it is now."""
        self._print(text, time.time())

    def _print(self, text: str, at_s: float) -> None:
        for line in terminal.plain(text).splitlines() or [""]:
            if _DROPPED.search(line):
                continue
            stamped = f"{_stamp(at_s)} | {line}"
            if self._log is not None:
                self._write(stamped)
            if not self._quiet:
                terminal.write_line(stamped if self._timestamps else line)

    def _write(self, line: str) -> None:
        assert self._log is not None
        try:
            self._log.write(f"{line}\n")
        except OSError as e:
            log, self._log = self._log, None
            terminal.write_line(
                f"the log {log.name} is not complete: {e.strerror}", stream=sys.stderr
            )

    def announce(self, builds: Sequence[str]) -> None:
        """Say nothing: there is one build, and whoever reads this knows which."""

    def render(self, event: Event) -> None:
        """Print an event; what our own tools chatter is not shown."""
        match event:
            case Said():
                prefix = {"warning": "WARNING: ", "error": "ERROR: "}.get(event.level, "")
                self._print(prefix + event.text, event.at_s)
            case StepStarted():
                self._print(event.label + _ending(event), event.at_s)
            case StepFinished() if event.outcome == "failed":
                self._print(f"{event.label}: failed", event.at_s)
            case Output() if not event.routine:
                self._print(event.line, event.at_s)
            case Asked():
                self._print(event.question, event.at_s)
            case _:
                pass

    def idle(self) -> None:
        """Say nothing while nothing happens."""

    def result(self, result: BuildResult, log: Path | None = None) -> None:
        """Print why a build failed; `log` is the file that has all of its lines."""
        for error in result.errors:
            self.error(error)
        if result.errors and log is not None:
            self.line(f"Log: {log}")

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the end of the run."""
        if not any(result.errors for result in results):
            self.line(COMPLETED)

    def warnings(self, found: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        """Print findings that do not stop the command."""
        self.line(render_diagnostics(found, sources))

    def alarm(self, text: str) -> None:
        """Print that something stops the build."""
        self.line(text)

    def cancelled(self) -> None:
        """Print that the user has stopped the command."""
        self.is_cancelled = True
        self._tell_error("Build interrupted; everything is cleaned up")

    def error(self, error: GoldsmithError) -> None:
        """Print an error with its remedy."""
        self._tell_error(error_text(error))

    def _tell_error(self, text: str) -> None:
        self.line(text)
        if self._quiet:
            terminal.write_line(terminal.plain(text), stream=sys.stderr)

    def close(self) -> None:
        """Nothing is drawn that would have to be taken away."""


def error_text(error: GoldsmithError) -> str:
    """An error with its remedy, beginning as upstream's do."""
    return re.sub(r"^Error: (ERROR: )?", "ERROR: ", render_error(error), flags=re.MULTILINE)


def _stamp(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _ending(step: StepStarted) -> str:
    """What follows the label of a step: that it need not run, or why it has to again."""
    if step.cache == "hit":
        return " (cached)"
    return f" ({step.reason})" if step.reason else ""


@contextmanager
def dib_lines(*, logfile: str, quiet: bool, timestamps: bool) -> Iterator[DibLines]:
    """The renderer with its log, to which an earlier one is kept; raises GoldsmithError.

    As upstream has it, the log's directory must be there.
    """
    if not logfile:
        yield DibLines(quiet=quiet, timestamps=timestamps)
        return
    directory = Path(logfile).absolute().parent
    if not directory.is_dir():
        raise GoldsmithError(
            f"cannot write the log {logfile}: {directory} is not a directory",
            hint=f"make it first: mkdir -p {shlex.quote(str(directory))}",
        )
    try:
        log = open(  # noqa: SIM115
            logfile, "a", encoding="utf-8", errors="surrogateescape", buffering=1
        )
    except OSError as e:
        error = explain_os_error(e)
        raise GoldsmithError(f"cannot write the log {logfile}: {error}", hint=error.hint) from e
    try:
        yield DibLines(quiet=quiet, timestamps=timestamps, log=log)
    finally:
        with contextlib.suppress(OSError):
            log.close()
