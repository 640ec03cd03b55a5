"""The two sides of a communicator: core's as plugins use it, and a plugin's as core uses it."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from goldsmith.core import communicator as core
from goldsmith.errors import CommandTimedOut, GoldsmithError, explain_os_error
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.process import LineCutter, LineSink
from goldsmith.host.signals import time_limit
from goldsmith.plugin import protocols
from goldsmith.plugin.draining import Drain
from goldsmith.plugin.protocols import FileInfo, Reader, Writer

LOST_STATUS: Final = 123
"""The exit status of a command of which nothing was heard, as Packer has it."""
_PIECE_BYTES: Final = 1 << 18
_LOOK_S: Final = 0.05

InScope = Callable[[], AbstractContextManager[object]]
"""Makes what ends the programs of the calling thread when the work is cancelled."""


def served(inner: core.Communicator, in_scope: InScope) -> protocols.Communicator:
    """A communicator of a build, for a component in a plugin; another plugin's as it is."""
    if isinstance(inner, GivenCommunicator):
        return inner.inner
    return ServedCommunicator(inner, in_scope)


@dataclass(frozen=True, slots=True)
class ServedCommunicator:
    """One of core's communicators for a component in a plugin, which calls it on other threads."""

    inner: core.Communicator
    in_scope: InScope

    def start(
        self,
        command: str,
        *,
        stdin: Reader | None = None,
        stdout: Writer | None = None,
        stderr: Writer | None = None,
    ) -> protocols.RunningCommand:
        """Start a shell line there, byte by byte where the communicator can, else by lines."""
        running = _Running()

        def run() -> None:
            try:
                with self.in_scope():
                    running.status = self._run(command, stdin, stdout, stderr)
            except GoldsmithError as error:
                running.error = error
            except OSError as error:
                running.error = explain_os_error(error)

        running.thread = threading.Thread(target=run, name="plugin-command", daemon=True)
        running.thread.start()
        return running

    def _run(
        self, command: str, stdin: Reader | None, stdout: Writer | None, stderr: Writer | None
    ) -> int:
        if isinstance(self.inner, core.StreamingCommunicator):
            return _streamed(self.inner, command, stdin, stdout, stderr)
        if stdin is not None and stdin.read(1):
            raise GoldsmithError("this communicator gives commands no standard input")
        writers = {"stdout": stdout, "stderr": stderr}

        def on_line(stream: str, line: str) -> None:
            if (writer := writers[stream]) is not None:
                writer.write(f"{line}\n".encode("utf-8", "surrogateescape"))

        return self.inner.start(command, on_line=on_line)

    def upload(self, path: str, content: Reader, info: FileInfo | None = None) -> None:
        """Write a file there; it passes through a file of this host, whatever its size."""
        with self.in_scope(), tempfile.TemporaryDirectory(prefix="goldsmith-upload.") as place:
            passing = Path(place, "content")
            with passing.open("wb") as file:
                _copy(content, file)
            mode = info.mode & 0o7777 if info is not None else 0o644
            self.inner.upload(passing, path, mode=mode or 0o644)

    def download(self, path: str, to: Writer) -> None:
        """Read a file from there."""
        with self.in_scope(), tempfile.TemporaryDirectory(prefix="goldsmith-download.") as place:
            passing = Path(place, "content")
            self.inner.download(path, passing)
            with passing.open("rb") as file:
                _copy(file, to)

    def upload_directory(self, destination: str, source: str, exclude: Sequence[str] = ()) -> None:
        """Copy a directory there, without what `exclude` names or matches."""
        with self.in_scope(), tempfile.TemporaryDirectory(prefix="goldsmith-upload.") as place:
            origin = Path(source)
            if not origin.is_dir():
                raise GoldsmithError(f"cannot upload {source}: there is no such directory")
            if not source.endswith("/"):
                destination = f"{destination.rstrip('/')}/{origin.name}"
            if exclude:
                kept = Path(place, "content")
                shutil.copytree(origin, kept, symlinks=True, ignore=_without(exclude))
                origin = kept
            self.inner.upload_directory(origin, destination)

    def download_directory(
        self, source: str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory from there, without what `exclude` names or matches."""
        with self.in_scope(), tempfile.TemporaryDirectory(prefix="goldsmith-download.") as place:
            target = Path(destination)
            if not source.endswith("/"):
                target = target / os.path.basename(source)
            if not exclude:
                self.inner.download_directory(source, target)
                return
            passing = Path(place, "content")
            self.inner.download_directory(source, passing)
            shutil.copytree(
                passing, target, symlinks=True, ignore=_without(exclude), dirs_exist_ok=True
            )


def _without(exclude: Sequence[str]) -> Callable[[str, list[str]], set[str]]:
    def ignored(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if any(fnmatch(name, pattern) for pattern in exclude)}

    return ignored


def _copy(origin: Reader, target: Writer) -> None:
    while data := origin.read(_PIECE_BYTES):
        target.write(data)


@dataclass(slots=True)
class _Running:
    """A command on a thread of ours (see `protocols.RunningCommand`)."""

    thread: threading.Thread = field(default_factory=threading.Thread)
    status: int = LOST_STATUS
    error: GoldsmithError | None = None

    def wait(self) -> int:
        """Wait for its end; raises what kept it from running."""
        while self.thread.is_alive():
            # A component in this process waits on a thread of the build.
            check_cancelled()
            self.thread.join(_LOOK_S)
        if self.error is not None:
            raise self.error
        return self.status


def _streamed(
    communicator: core.StreamingCommunicator,
    command: str,
    stdin: Reader | None,
    stdout: Writer | None,
    stderr: Writer | None,
) -> int:
    """Run a command whose streams are pipes to the given ones; returns when all is written."""
    drains: list[Drain] = []
    theirs: list[int] = []

    def output(writer: Writer | None) -> int:
        if writer is None:
            end = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        else:
            source, end = os.pipe()
            drains.append(Drain(source, _Patient(writer)))
        theirs.append(end)
        return end

    if stdin is None:
        given = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    else:
        given, feeding = os.pipe()
        # It ends with the command, or hangs in a read until the plugin closes its side.
        threading.Thread(target=_feed, args=(stdin, feeding), daemon=True).start()
    theirs.append(given)
    try:
        out, err = output(stdout), output(stderr)
        status = communicator.exchange(command, stdin=given, stdout=out, stderr=err)
    finally:
        for fd in theirs:
            os.close(fd)
        for drain in drains:
            drain.end()
        for drain in drains:
            drain.join()
    return status


class _Patient:
    """A writer that takes everything: when nobody reads any more the command must not wait."""

    def __init__(self, writer: Writer) -> None:
        self._writer: Writer | None = writer

    def write(self, data: bytes, /) -> object:
        """Take a piece."""
        try:
            if self._writer is not None:
                self._writer.write(data)
        except GoldsmithError:
            self._writer = None
        return None


def _feed(reader: Reader, target: int) -> None:
    with open(target, "wb", buffering=0) as pipe:
        try:
            while data := reader.read(_PIECE_BYTES):
                while data:
                    data = data[pipe.write(data) :]
        except (GoldsmithError, OSError):
            return  # the command has ended, or the plugin


@dataclass(frozen=True, slots=True)
class GivenCommunicator:
    """A communicator that a plugin's builder serves, for core's provisioners."""

    inner: protocols.Communicator

    def start(
        self,
        command: str,
        *,
        on_line: LineSink,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a shell line there."""
        exported = "".join(f"export {k}={shlex.quote(v)}; " for k, v in (env or {}).items())
        out, err = _Lines("stdout", on_line), _Lines("stderr", on_line)
        expired = CommandTimedOut((command,), timeout_s or 0.0)
        with time_limit(timeout_s, expired):
            running = self.inner.start(exported + command, stdout=out, stderr=err)
            status = running.wait()
        out.end()
        err.end()
        return status

    def exchange(self, command: str, *, stdin: int, stdout: int, stderr: int) -> int:
        """Run a shell line there with the given descriptors as its streams."""
        with (
            open(os.dup(stdin), "rb", buffering=0) as given,
            open(os.dup(stdout), "wb", buffering=0) as out,
            open(os.dup(stderr), "wb", buffering=0) as err,
        ):
            return self.inner.start(command, stdin=given, stdout=out, stderr=err).wait()

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        return self._run(f"test -d {shlex.quote(path)}") == 0

    def upload(self, content: bytes | Path, destination: str, *, mode: int | None = None) -> None:
        """Write a file there."""
        if isinstance(content, bytes):
            info = FileInfo(Path(destination).name, len(content), 0o644 if mode is None else mode)
            self.inner.upload(destination, io.BytesIO(content), info)
            return
        with content.open("rb") as file:
            status = os.fstat(file.fileno())
            kept = status.st_mode & 0o7777 if mode is None else mode
            info = FileInfo(content.name, status.st_size, kept, status.st_mtime_ns)
            self.inner.upload(destination, file, info)

    def upload_directory(self, source: Path, destination: str) -> None:
        """Copy the content of a directory there."""
        self.inner.upload_directory(destination, f"{source}/")

    def download(self, source: str, destination: Path) -> None:
        """Read a file from there; a download that fails leaves nothing."""
        unfinished = destination.with_name(f".{destination.name}.partial")
        try:
            with unfinished.open("wb") as file:
                self.inner.download(source, file)
            unfinished.replace(destination)
        finally:
            unfinished.unlink(missing_ok=True)

    def download_directory(self, source: str, destination: Path) -> None:
        """Copy the content of a directory from there."""
        destination.mkdir(parents=True, exist_ok=True)
        self.inner.download_directory(f"{source.rstrip('/')}/", str(destination))

    def remove(self, path: str) -> None:
        """Remove a file there."""
        if status := self._run(f"rm -f -- {shlex.quote(path)}"):
            raise GoldsmithError(f"cannot remove {path} there: rm ended with status {status}")

    def _run(self, command: str) -> int:
        return self.inner.start(command).wait()


class _Lines:
    """Cuts what is written into lines (see `protocols.Writer`)."""

    def __init__(self, stream: str, on_line: LineSink) -> None:
        self._cutter = LineCutter(stream, deque(maxlen=1), on_line)

    def write(self, data: bytes, /) -> object:
        """Take a piece."""
        self._cutter.feed(data)
        return None

    def end(self) -> None:
        """Take the last line, which may lack its newline."""
        self._cutter.feed(b"", final=True)
