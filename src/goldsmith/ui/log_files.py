"""The files that hold every line of a build, also what the screen leaves out.

Every build has one while it runs. Where the user names no directory, that of a build that succeeds
goes with it, and the newest of the others stay in the state directory. Events are redacted already
when they come here.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.events import Event, Output, Said, StepFinished, StepStarted
from goldsmith.ui.terminal import plain

KEPT_LOGS: Final = 20
"""How many logs of failed builds stay in the state directory."""
LONGEST_NAME: Final = 100
_LOG_VARIABLES: Final = ("GOLDSMITH_LOG", "PACKER_LOG")
_PATH_VARIABLES: Final = ("GOLDSMITH_LOG_PATH", "PACKER_LOG_PATH")
_MODE: Final = 0o600


def wants_log() -> bool:
    """Whether the user wants routine output of tools besides: GOLDSMITH_LOG or PACKER_LOG."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in _LOG_VARIABLES)


def log_path() -> Path | None:
    """The one file for that, instead of standard error; Packer's PACKER_LOG_PATH."""
    named = next((path for name in _PATH_VARIABLES if (path := os.environ.get(name))), None)
    return Path(named) if named and wants_log() else None


class LogFiles:
    """Writes the events of builds, each build's into its own file of one directory.

    With `keep` every log stays, else only those of builds that do not succeed. What cannot be
    written is told once by `warn`, and does not stop a build. Raises GoldsmithError when the
    directory cannot be used.
    """

    def __init__(self, directory: Path, *, keep: bool, warn: Callable[[str], None]) -> None:
        self._directory = directory.absolute()
        self._keep = keep
        self._warn: Callable[[str], None] | None = warn
        self._lock = threading.Lock()
        self._files: dict[str, tuple[str, TextIO]] = {}
        self._stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o755 if keep else 0o700)
            # Whoever names a directory may name a link; ours is none unless somebody put it there.
            links = 0 if keep else os.O_NOFOLLOW
            self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | links)
        except OSError as e:
            raise GoldsmithError(
                f"cannot keep logs in {directory}: {e.strerror}",
                hint="name another directory with -log-directory",
            ) from e
        if not keep:
            self._prune()

    def write(self, build: str, event: Event) -> None:
        """Write an event's lines into the log of its build; begins that with the first one."""
        lines = list(_lines(event))
        if lines:
            self._write(build, event.at_s, lines)

    def _write(self, build: str, at_s: float, lines: list[str]) -> None:
        stamp = _stamp(at_s)
        with self._lock:
            try:
                if build not in self._files:
                    self._files[build] = self._create(build)
                self._files[build][1].writelines(f"{stamp} {line}\n" for line in lines)
            except OSError as e:
                if self._warn is not None:
                    self._warn(f"the log of {build} is not complete: {e.strerror}")
                self._warn = None

    def _create(self, build: str) -> tuple[str, TextIO]:
        """A new file of a name that nobody has: never one that lies there, or a link."""
        safe = re.sub(r"[^A-Za-z0-9._+-]", "_", build)[:LONGEST_NAME].lstrip(".") or "build"
        number = 1
        while True:
            name = f"{safe}-{self._stamp}{f'-{number}' if number > 1 else ''}.log"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                fd = os.open(name, flags, _MODE, dir_fd=self._fd)
            except FileExistsError:
                number += 1
                continue
            return name, _text_file(fd)

    def finish(self, result: BuildResult) -> Path | None:
        """End a build's log; returns where it lies, None when it has none or it is not kept."""
        lines = [f"failed: {line}" for error in result.errors for line in _error_lines(error)]
        outcome = "failed" if result.errors else "cancelled" if result.cancelled else "finished"
        self._write(result.name, time.time(), [*lines, f"{outcome} in {result.duration_s:.2f} s"])
        with self._lock:
            name, file = self._files.pop(result.name, (None, None))
            if name is None or file is None:
                return None
            with contextlib.suppress(OSError):
                file.close()
            if self._keep or result.errors or result.cancelled:
                return self._directory / name
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)
            return None

    def close(self) -> None:
        """Close all files; the logs of builds that have not ended stay."""
        with self._lock:
            for _, file in self._files.values():
                with contextlib.suppress(OSError):
                    file.close()
            self._files.clear()
            os.close(self._fd)

    def _prune(self) -> None:
        """Remove all but the newest logs of earlier commands."""
        found = []
        for name in os.listdir(self._fd):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
                if name.endswith(".log") and stat.S_ISREG(status.st_mode):
                    found.append((status.st_mtime_ns, name))
        for _, name in sorted(found, reverse=True)[KEPT_LOGS:]:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)


class RunLog:
    """One file with the lines of all builds, as Packer's users have it from PACKER_LOG_PATH."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags, _MODE)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                os.fchmod(fd, _MODE)
        except OSError as e:
            if path.is_symlink():
                raise GoldsmithError(
                    f"the log is not written through the link {path}",
                    hint="name the file itself; without a path the log goes to standard error",
                ) from e
            raise explain_os_error(e) from e
        self._file = _text_file(fd)

    def write(self, build: str, event: Event) -> None:
        """Write an event's lines, each with its build."""
        stamp = _stamp(event.at_s)
        with self._lock, contextlib.suppress(OSError):
            self._file.writelines(f"{stamp} {build}: {line}\n" for line in _lines(event))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


def _text_file(fd: int) -> TextIO:
    """A text file that is written line by line: what a killed build said is there."""
    return os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def _stamp(at_s: float) -> str:
    when = datetime.fromtimestamp(at_s, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(event: Event) -> Iterator[str]:
    """What a log says of an event, without the time; nothing of how far a step is."""
    match event:
        case Said():
            for line in plain(event.text).splitlines():
                yield f"{event.level}: {line}"
        case StepStarted():
            key = f" (key {event.key})" if event.key else ""
            cache = f" (cache {event.cache}: {event.reason})" if event.cache else ""
            yield f"==> {plain(event.label)}{key}{cache}"
        case StepFinished():
            yield f"<== {plain(event.label)}: {event.outcome} in {event.duration_s:.2f} s"
        case Output():
            yield f"[{event.step or '-'} {event.stream}] {plain(event.line)}"
        case _:
            pass


def _error_lines(error: GoldsmithError) -> Iterator[str]:
    yield from plain(str(error)).splitlines()
    yield from getattr(error, "__notes__", [])
    if error.hint:
        yield f"-> {error.hint}"
