"""What a component is given of its host: the user, the machine of the build, the other components.

These stand before the plain objects of `protocols` and make them handy; secrets are masked here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.core.after_error import (
    ANSWERS_AFTER_ERROR,
    ASK_AFTER_ERROR,
    KEEPING,
    RUN_CLEANUP,
    TOLD_BEFORE_CLEANUP,
)
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.cancellation import check_cancelled
from goldsmith.plugin import protocols
from goldsmith.redact import Redactor

PROVISION: Final = "packer_provision"
"""The event at which the template's provisioners run."""
CLEANUP: Final = "packer_cleanup_provision"
"""The event at which the provisioner runs that cleans up after another one's error."""
_TAIL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Ui:
    """The user."""

    plain: protocols.Ui
    redactor: Redactor = field(default_factory=Redactor)

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.plain.say(self.redactor.redact(text))

    def message(self, text: str) -> None:
        """Tell a detail."""
        self.plain.message(self.redactor.redact(text))

    def error(self, text: str) -> None:
        """Tell of a failure; the build goes on until something is raised."""
        self.plain.error(self.redactor.redact(text))

    def ask(self, question: str) -> str:
        """The user's answer; raises GoldsmithError when nobody can answer."""
        return self.plain.ask(self.redactor.redact(question))

    def machine(self, category: str, *args: str) -> None:
        """Tell programs that read the output (-machine-readable)."""
        self.plain.machine(category, [self.redactor.redact(one) for one in args])

    def progress(self, name: str, total: int = 0) -> AbstractContextManager[protocols.ProgressBar]:
        """Show a transfer within the block: `with ui.progress(name, size) as bar: bar.add(n)`."""
        return self.plain.progress(name, total=total)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command on the machine ended; of long output the end is kept."""

    status: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class _Tail:
    """Keeps the end of what is written, and tells whole lines as they come."""

    ui: Ui | None
    kept: bytearray = field(default_factory=bytearray)
    _line: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, /) -> object:
        self.kept += data
        del self.kept[:-_TAIL_BYTES]
        if self.ui is not None:
            self._line += data
            *lines, rest = bytes(self._line).split(b"\n")
            self._line[:] = rest[-_TAIL_BYTES:]
            for line in lines:
                self._tell(line)
        return None

    def end(self) -> str:
        if self.ui is not None and self._line:
            self._tell(bytes(self._line))
        return self.kept.decode("utf-8", "replace")

    def _tell(self, line: bytes) -> None:
        assert self.ui is not None
        self.ui.message(line.decode("utf-8", "replace").rstrip("\r"))


@dataclass(frozen=True, slots=True)
class Communicator:
    """The machine or tree of a build."""

    plain: protocols.Communicator

    def run(
        self,
        command: str,
        *,
        ui: Ui | None = None,
        stdin: bytes | str = b"",
        check: bool = True,
    ) -> CommandResult:
        """Run a shell line there to its end; with `ui` the user reads its output as it comes.

        Raises GoldsmithError for any status but 0, unless `check` is false.
        """
        given = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = _Tail(ui), _Tail(ui)
        running = self.plain.start(
            command, stdin=io.BytesIO(given) if given else None, stdout=out, stderr=err
        )
        status = running.wait()
        result = CommandResult(status, out.end(), err.end())
        if check and status != 0:
            last = (result.stderr or result.stdout).rstrip().rpartition("\n")[2]
            raise GoldsmithError(
                f"{command!r} ended with status {status}" + (f": {last}" if last else "")
            )
        return result

    def upload(
        self, content: bytes | str | Path, destination: str, *, mode: int | None = None
    ) -> None:
        """Write a file there: a text, bytes, or a file of this host (a Path)."""
        if isinstance(content, Path):
            with content.open("rb") as file:
                status = os.fstat(file.fileno())
                info = protocols.FileInfo(
                    content.name, status.st_size,
                    status.st_mode & 0o7777 if mode is None else mode, status.st_mtime_ns,
                )  # fmt: skip
                self.plain.upload(destination, file, info)
            return
        data = content.encode() if isinstance(content, str) else content
        info = protocols.FileInfo(
            Path(destination).name, len(data), 0o644 if mode is None else mode
        )
        self.plain.upload(destination, io.BytesIO(data), info)

    def download(self, source: str, destination: Path) -> None:
        """Read a file from there."""
        with destination.open("wb") as file:
            self.plain.download(source, file)

    def read(self, source: str) -> bytes:
        """The content of a file there."""
        content = io.BytesIO()
        self.plain.download(source, content)
        return content.getvalue()

    def upload_directory(
        self, source: Path | str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory of this host there; with "/" at the end of `source` its content only."""
        self.plain.upload_directory(destination, str(source), exclude)

    def download_directory(
        self, source: str, destination: Path | str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory from there to this host."""
        self.plain.download_directory(source, str(destination), exclude)


@dataclass(slots=True)
class Hooks:
    """The other components of a build, which a builder calls when its machine is there."""

    plain: protocols.Hook
    ui: Ui
    on_error: str = ""
    keeps: bool = field(default=False, init=False)
    """Whether, after an error, the user wants the machine to stay as it is."""

    def provision(
        self, communicator: protocols.Communicator, data: Mapping[str, Any] | None = None
    ) -> None:
        """Run the template's provisioners; `data` fills `build.*`.

        When one fails, `-on-error` says what follows: the template's cleanup provisioner, or what
        the user answers, who may have all run again. Then the error is raised.
        """
        while True:
            try:
                self.run(PROVISION, communicator, data)
                return
            except Interrupted:
                raise
            except GoldsmithError as error:
                check_cancelled()
                answer = self._answer(error)
                if answer == "r":
                    continue
                self.keeps = answer == "a" or self.on_error in KEEPING
                if not self.keeps or self.on_error == RUN_CLEANUP:
                    self.ui.say(TOLD_BEFORE_CLEANUP)
                    self.run(CLEANUP, communicator, data)
                raise

    def _answer(self, error: GoldsmithError) -> str:
        """What the user wants done, "" where nobody is or can be asked."""
        if self.on_error != "ask":
            return ""
        self.ui.error(str(error))
        try:
            while (answer := self.ui.ask(ASK_AFTER_ERROR).strip()) not in ANSWERS_AFTER_ERROR:
                self.ui.say(f"Incorrect input: {answer!r}")
        except Interrupted:
            raise
        except GoldsmithError:
            return ""
        return answer

    def run(
        self,
        name: str,
        communicator: protocols.Communicator,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Run what waits for an event; `data` may hold texts, numbers, truth values and bytes."""
        for key, value in (data or {}).items():
            if not isinstance(value, (str, bool, int, float, bytes)):
                raise GoldsmithError(
                    f"build.{key} cannot be a {type(value).__name__}: Packer refuses it",
                    hint="give texts, numbers or truth values",
                )
        self.plain.run(name, self.ui.plain, communicator, dict(data or {}))
