"""This host as the machine of a build: for builders that work in a directory here, and for tests.

Nothing confines a command to the directory; what a builder makes there is not a system of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host import process
from goldsmith.host.cancellation import check_cancelled
from goldsmith.plugin.draining import Drain
from goldsmith.plugin.protocols import FileInfo, Reader, RunningCommand, Writer

_CHUNK_BYTES: Final = 64 << 10
_LOOK_S: Final = 0.05
_SIGNALLED: Final = 128


def this_host(directory: str | os.PathLike[str] = ".") -> ThisHost:
    """A communicator that works on this host, relative paths within a directory."""
    return ThisHost(Path(directory))


class ThisHost:
    """Runs commands and copies files here (see `protocols.Communicator`)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def start(
        self,
        command: str,
        *,
        stdin: Reader | None = None,
        stdout: Writer | None = None,
        stderr: Writer | None = None,
    ) -> RunningCommand:
        """Start a line of /bin/sh in the directory."""
        return _Started(command, self._directory, stdin, stdout, stderr)

    def upload(self, path: str, content: Reader, info: FileInfo | None = None) -> None:
        """Write a file."""
        target = self._directory / path
        with _explained(), target.open("wb") as file:
            while piece := content.read(_CHUNK_BYTES):
                check_cancelled()
                file.write(piece)
            os.fchmod(file.fileno(), 0o644 if info is None else info.mode & 0o7777)

    def download(self, path: str, to: Writer) -> None:
        """Read a file."""
        with _explained(), (self._directory / path).open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                check_cancelled()
                to.write(piece)

    def upload_directory(self, destination: str, source: str, exclude: Sequence[str] = ()) -> None:
        """Copy a directory; with "/" at the end of `source` its content only."""
        _copy_directory(source, self._directory / destination, exclude)

    def download_directory(
        self, source: str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory; with "/" at the end of `source` its content only."""
        slash = "/" if source.endswith("/") else ""
        _copy_directory(f"{self._directory / source}{slash}", Path(destination), exclude)


class _Started:
    """A command with the threads that feed it and take its output."""

    def __init__(
        self,
        command: str,
        directory: Path,
        stdin: Reader | None,
        stdout: Writer | None,
        stderr: Writer | None,
    ) -> None:
        self._scope = ExitStack()
        with ExitStack() as theirs:
            ends = [self._pipe(theirs, 0), self._pipe(theirs, 1), self._pipe(theirs, 1)]
            self._running = self._scope.enter_context(
                process.start(
                    ["/bin/sh", "-c", command], cwd=directory, env=dict(os.environ),
                    stdin=ends[0][0], stdout=ends[1][0], stderr=ends[2][0],
                )
            )  # fmt: skip
        feeding = threading.Thread(target=_feed, args=(stdin, ends[0][1]), daemon=True)
        feeding.start()
        self._drains = [Drain(ends[1][1], stdout), Drain(ends[2][1], stderr)]

    @staticmethod
    def _pipe(theirs: ExitStack, their_end: int) -> tuple[int, int]:
        """A pipe: the end of the command, closed here when it has started, and ours."""
        pair = os.pipe2(os.O_CLOEXEC)
        theirs.callback(os.close, pair[their_end])
        return pair[their_end], pair[1 - their_end]

    def wait(self) -> int:
        """Wait for the command and its output; an interrupt ends it with its children."""
        try:
            with self._scope:
                while (status := self._running.wait(_LOOK_S)) is None:
                    check_cancelled()
        finally:
            for drain in self._drains:
                drain.end()
        for drain in self._drains:
            drain.join()
        return status if status >= 0 else _SIGNALLED - status


def _feed(source: Reader | None, fd: int) -> None:
    # Its end is that of the command, or of whoever was to give the input.
    with os.fdopen(fd, "wb", buffering=0) as pipe, contextlib.suppress(GoldsmithError, OSError):
        while source is not None and (piece := source.read(_CHUNK_BYTES)):
            pipe.write(piece)


def _copy_directory(source: str, destination: Path, exclude: Sequence[str]) -> None:
    origin = Path(source)
    target = destination if source.endswith("/") else destination / origin.name
    with _explained():
        shutil.copytree(
            origin, target, symlinks=True, dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(*exclude) if exclude else None,
        )  # fmt: skip


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except shutil.Error as error:
        raise GoldsmithError(f"cannot copy: {error}") from error
    except OSError as error:
        raise explain_os_error(error) from error
