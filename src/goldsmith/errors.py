"""The error tree: every way in which goldsmith says no, with its exit code and its remedy.

Errors are grouped by what the user can do about them, not by where they arise. `str(error)` is
one line or a short block; the remedy stands apart in `hint`, so that every renderer can place it.
Positions in the files of users live here too: every error that concerns a template has one.
"""

from __future__ import annotations

import enum
import errno
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text: 1-based line and column (in characters), 0-based byte offset."""

    line: int
    column: int
    byte: int


@dataclass(frozen=True, slots=True)
class SourceRange:
    """A stretch of a template file; `end` is exclusive."""

    filename: str
    start: Position
    end: Position

    def __str__(self) -> str:
        return f"{self.filename}:{self.start.line}:{self.start.column}"

    def through(self, other: SourceRange) -> SourceRange:
        """The stretch from the start of this one to the end of the other one."""
        return SourceRange(self.filename, self.start, other.end)


class Severity(enum.Enum):
    """How much a finding matters: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a template: what is wrong, where, why, and what to do next."""

    summary: str
    detail: str = ""
    range: SourceRange | None = None
    severity: Severity = Severity.ERROR
    subject: str = ""
    """The block that the finding is about, as the user wrote it: `source "image" "debian"`."""
    values: tuple[str, ...] | None = field(default=None, compare=False)
    """What the names in the failed expression stand for: `var.x is "abc"`; None: not asked yet."""

    def __str__(self) -> str:
        where = f"{self.range}: " if self.range else ""
        return f"{where}{self.summary}" + (f": {self.detail}" if self.detail else "")


def in_order(found: Iterable[Diagnostic], sources: Iterable[str] = ()) -> list[Diagnostic]:
    """Each finding once, by file in the order of reading, then by place; the others come last."""
    files = {name: number for number, name in enumerate(sources)}

    def order(one: Diagnostic) -> tuple[int, int, int]:
        if one.range is None:
            return len(files) + 1, 0, 0
        start = one.range.start
        return files.get(one.range.filename, len(files)), start.line, start.column

    return sorted(dict.fromkeys(found), key=order)


class GoldsmithError(Exception):
    """The root of all errors that are the user's, the host's or the build's, not our defects."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(GoldsmithError):
    """The command line is not one that goldsmith understands."""

    exit_code = 2


class TemplateError(GoldsmithError):
    """A template, or what was given to it, is wrong; carries all findings at once.

    `sources` maps file names to their text, so that a renderer can show the lines.
    """

    def __init__(
        self, diagnostics: Iterable[Diagnostic], sources: dict[str, str] | None = None
    ) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = sources or {}
        super().__init__("\n".join(str(d) for d in self.diagnostics))
        self.partial: object = None
        """What could be made of a template in spite of its findings: a `core.build.Template`."""


class HostError(GoldsmithError):
    """This host cannot do what was asked: `goldsmith doctor` says what to change."""

    exit_code = 6


class MissingToolError(HostError):
    """A program that a step needs is not installed."""

    def __init__(self, tool: str, package: str | None) -> None:
        self.tool = tool
        self.package = package
        remedy = f"apt-get install {package}" if package else f"put {tool} on PATH"
        super().__init__(f"{tool} is not installed on this host", hint=remedy)


class NotRootError(HostError):
    """The operation touches the kernel and needs root."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs root", hint="run the same command as root (sudo)")


class OutputInTheWay(GoldsmithError):
    """A file that goldsmith did not make stands where an output would go."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        super().__init__(
            "output files exist and are not goldsmith's own: " + ", ".join(self.paths),
            hint="move them away, choose another output_directory, or pass -force to replace them",
        )


class LayoutError(GoldsmithError):
    """A disk layout cannot be laid out; `findings` has every reason."""

    def __init__(self, findings: Sequence[str], *, hint: str | None = None) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings), hint=hint)


class CommandFailed(GoldsmithError):
    """A program ended with a status that its caller did not accept."""

    def __init__(
        self,
        argv: Sequence[str],
        status: int,
        *,
        tail: Sequence[str] = (),
        duration_s: float = 0.0,
        hint: str | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.status = status
        self.tail = tuple(tail)
        self.duration_s = duration_s
        ended = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        text = f"{shlex.join(self.argv)} {ended}"
        if self.tail:
            text += "\n" + "\n".join(self.tail)
        super().__init__(text, hint=hint)


class CommandTimedOut(GoldsmithError):
    """A program ran longer than it was allowed to and was ended with all its children."""

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        self.argv = tuple(argv)
        self.timeout_s = timeout_s
        super().__init__(f"{shlex.join(self.argv)} did not end within {timeout_s:g} s, killed")


class TimeLimitReached(GoldsmithError):
    """Work took longer than the template allows."""


class NoSpaceError(GoldsmithError):
    """A file system is full, or would be."""


def explain_os_error(error: OSError) -> GoldsmithError:
    """An error of the operating system as one of ours: the file, and what the kernel says."""
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(text, hint="free some space there, or use another file system")
    return GoldsmithError(text)


class ResourceBusy(GoldsmithError):
    """A lock, mount or device is held by somebody else."""


class StepFailed(GoldsmithError):
    """A named step of a build failed; the cause is chained."""

    def __init__(self, step: str, cause: GoldsmithError) -> None:
        self.step = step
        self.cause = cause
        super().__init__(f"{step}: {cause}", hint=cause.hint)


class BootTestFailed(GoldsmithError):
    """The image did not show that it boots."""

    exit_code = 4


class WorkerError(GoldsmithError):
    """A build worker reported an error, or died; `kind` is the class name over there."""

    def __init__(self, kind: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


class Interrupted(GoldsmithError):
    """The user or the system asked goldsmith to stop."""

    exit_code = 130

    def __init__(self, signal_name: str = "SIGINT") -> None:
        self.signal_name = signal_name
        super().__init__(f"interrupted by {signal_name}")


class CleanupFailed(GoldsmithError):
    """The work was done, yet something could not be released; `failures` names each."""

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            "cleanup failed: " + "; ".join(self.failures),
            hint="run `goldsmith clean` to finish it",
        )


@dataclass(slots=True)
class Diagnostics:
    """A growing list of findings; `raise_if_errors` reports all of them at once."""

    found: list[Diagnostic] = field(default_factory=list)

    def error(
        self, summary: str, detail: str = "", range: SourceRange | None = None, subject: str = ""
    ) -> None:
        """Add an error."""
        self.found.append(Diagnostic(summary, detail, range, Severity.ERROR, subject))

    def warn(
        self, summary: str, detail: str = "", range: SourceRange | None = None, subject: str = ""
    ) -> None:
        """Add a warning."""
        self.found.append(Diagnostic(summary, detail, range, Severity.WARNING, subject))

    def extend(self, others: Iterable[Diagnostic]) -> None:
        """Add the findings of another check."""
        self.found.extend(others)

    @property
    def errors(self) -> list[Diagnostic]:
        """The findings that stop the command."""
        return [d for d in self.found if d.severity is Severity.ERROR]

    @property
    def warnings(self) -> list[Diagnostic]:
        """The findings that do not."""
        return [d for d in self.found if d.severity is Severity.WARNING]

    def raise_if_errors(self, sources: dict[str, str] | None = None) -> None:
        """Raise TemplateError with every finding when at least one of them is an error."""
        if self.errors:
            raise TemplateError(self.found, sources)
