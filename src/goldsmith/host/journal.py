"""Run directories and their journals: what outlives the kernel's own cleanup is written down first.

A run directory holds everything that a command makes on the host besides its outputs; its lock is
held by the command and its workers. A directory whose lock can be taken belongs to a dead run:
`finish_run` undoes its journal, last entry first, and removes it. Effects outside (half-written
outputs, cloud volumes) are journalled *before* they happen, so an entry may name what never was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import CleanupFailed, CommandFailed, GoldsmithError, NoSpaceError
from goldsmith.host import process, user_namespace
from goldsmith.host.locks import try_lock
from goldsmith.host.teardown import Teardown

_JOURNAL: Final = "journal.jsonl"
_LOCK: Final = "lock"
_DOOMED: Final = ".removing-"
SLOW_REMOVAL_S: Final = 1.0
"""A removal that takes longer is told of."""

Undo = Callable[[Mapping[str, Any]], None]
"""Takes back one journalled effect; must do nothing when it never happened or is gone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One journalled effect that is not known to be undone."""

    id: str
    kind: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.fields.get('path', '') or dict(self.fields)}".rstrip()


class RunDirectory:
    """The directory of a living run."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd

    @property
    def id(self) -> str:
        """The name by which messages call this run."""
        return self.path.name

    def record(self, kind: str, *, synced: bool = True, **fields: Any) -> str:
        """Write down an effect before it is made; returns the id for `forget`.

        What is not `synced` is known after a kill, but may be lost when the host fails.
        """
        entry_id = secrets.token_hex(6)
        self._append({"id": entry_id, "kind": kind, **fields}, synced=synced)
        return entry_id

    def renew(self, entry_id: str, kind: str, **fields: Any) -> None:
        """Write an effect down with other fields, which count from now on; known after a kill."""
        self._append({"id": entry_id, "kind": kind, **fields}, synced=False)

    def forget(self, *entry_ids: str) -> None:
        """The effects were undone, or are now what the user asked for: all at once, or none."""
        if entry_ids:
            self._append({"done": entry_ids[0] if len(entry_ids) == 1 else entry_ids})

    def _append(self, line: Mapping[str, Any], *, synced: bool = True) -> None:
        fd = os.open(self.path / _JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
                     0o600)  # fmt: skip
        try:
            # The newline before it ends a line that a full disk or a crash has torn.
            data = ("\n" + json.dumps(line) + "\n").encode()
            if os.write(fd, data) != len(data):
                raise NoSpaceError(f"the journal of the run does not fit on {self.path}")
            if synced:
                os.fsync(fd)
        finally:
            os.close(fd)

    @contextmanager
    def scratch_file(self, path: Path, *, survives: bool = True) -> Iterator[Path]:
        """A file outside this directory that goes away at the end unless it was renamed.

        Without `survives` its directory is one that is emptied when the host starts, so that the
        entry need not be on the disk: that takes longer than a small script runs.
        """
        entry_id = self.record("file", synced=survives, path=str(path.absolute()))
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            # The name is gone for good, so that to undo it again does nothing.
            self._append({"done": entry_id}, synced=False)


def state_directory() -> Path:
    """Where runs and caches lie: $GOLDSMITH_CACHE_DIR, else root's or the user's cache."""
    if given := os.environ.get("GOLDSMITH_CACHE_DIR"):
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/goldsmith")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "goldsmith"


def doorway(state: Path) -> Path:
    """An empty directory of the state, made if need be, that other users can reach.

    It is only ever a place to mount at, in a worker's namespace.
    """
    path = state / "doorway"
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


@contextmanager
def _registry(state: Path) -> Iterator[Path]:
    """Hold the lock under which runs are made and found dead: none is seen half made."""
    runs = state / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_own(runs)
        fd = os.open(runs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise GoldsmithError(
            f"cannot use {runs}: {e.strerror}",
            hint="set GOLDSMITH_CACHE_DIR to a directory that you can write to",
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield runs
    finally:
        os.close(fd)


def _require_own(runs: Path) -> None:
    """Raise GoldsmithError for runs of another user: what their journals say would be done."""
    status = os.lstat(runs)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise GoldsmithError(
            f"{runs} is not a directory of your own, so what is journalled there is not trusted",
            hint="set GOLDSMITH_CACHE_DIR to a directory of your own, or leave it unset",
        )


def undo_file(fields: Mapping[str, Any]) -> None:
    """Remove a half-written output; its name holds the run's id, so it is no one else's."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(fields["path"])


def undo_directory(fields: Mapping[str, Any]) -> None:
    """Remove a directory that was made for outputs, if nothing is in it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.rmdir(fields["path"])
        except OSError as e:
            if e.errno != errno.ENOTEMPTY:
                raise


def finish_renames(fields: Mapping[str, Any]) -> None:
    """Complete renames that had begun: every file was whole before the first of them."""
    for temporary, final in fields["pairs"]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.replace(temporary, final)


UNDO: Final[Mapping[str, Undo]] = {
    "file": undo_file, "directory": undo_directory, "renames": finish_renames,
}  # fmt: skip
"""How the effects that this room journals are taken back."""


@contextmanager
def open_run(
    state: Path,
    command: str,
    undo: Mapping[str, Undo] = UNDO,
    *,
    on_slow_removal: Callable[[Path], None] | None = None,
) -> Iterator[RunDirectory]:
    """Make a run directory and hold its lock; it is removed at the end with all its content.

    What its journal still holds then, because a worker was killed, is undone first; if that fails
    the directory stays for `clean`, and CleanupFailed is raised. `on_slow_removal` is called, on a
    thread of its own, when the removal takes longer than a user waits without a word.
    """
    name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3)
    path = state / "runs" / name
    lock = contextlib.ExitStack()
    with Teardown() as teardown:
        # Before they are made: an interrupt may come at any moment.
        teardown.defer("close the lock", lock.close)
        teardown.defer("finish the run", lambda: _finish(path, undo, on_slow_removal))
        with _registry(state):
            path.mkdir(mode=0o700)
            lock_fd = try_lock(path / _LOCK)
            if lock_fd is None:
                raise GoldsmithError(f"{path} is locked although it is new")
            lock.callback(os.close, lock_fd)
            (path / "command").write_text(command + "\n")
        yield RunDirectory(path, lock_fd)


def _finish(path: Path, undo: Mapping[str, Undo], on_slow: Callable[[Path], None] | None) -> None:
    if not os.path.lexists(path):
        return  # it was not made
    failures = _undo_all(_read_journal(path), undo)
    if failures:
        raise CleanupFailed(failures)
    if on_slow is None:
        _remove_run(path)
        return
    timer = threading.Timer(SLOW_REMOVAL_S, on_slow, [path])
    timer.start()
    try:
        _remove_run(path)
    finally:
        timer.cancel()
        timer.join()


def _remove_run(path: Path) -> None:
    """Take a run that needs nothing more out of the list, then remove it.

    What is renamed is looked at by nobody but those who remove it; two may do so at once.
    """
    with _registry(path.parent.parent):
        doomed = path.with_name(f"{_DOOMED}{path.name}")
        path.rename(doomed)
    _remove_doomed(doomed)


def _remove_doomed(path: Path) -> None:
    with contextlib.suppress(CommandFailed):
        remove_tree(path)
        return
    if path.exists():  # another one had it removed between two looks of ours
        remove_tree(path)


def _undo_all(entries: Sequence[Entry], undo: Mapping[str, Undo]) -> list[str]:
    """Take back journalled effects, last first; returns what could not be."""
    failures = []
    for entry in entries:
        action = undo.get(entry.kind)
        if action is None:
            failures.append(f"{entry}: this version does not know how to undo it")
            continue
        try:
            action(entry.fields)
        except (OSError, GoldsmithError, KeyError, TypeError, ValueError) as e:
            failures.append(f"{entry}: {e}")
    return failures


def remove_tree(path: Path) -> None:
    """Remove a directory with all its content, never past a mount point.

    What an ordinary user cannot remove, because subordinate ids of his made it, is removed in a
    user namespace.
    """
    argv = ["rm", "-rf", "--one-file-system", "--", str(path)]
    try:
        process.run(argv)
    except CommandFailed:
        if os.geteuid() == 0 or user_namespace.user_obstacles(
            os.getuid(), user_namespace.user_name(os.getuid())
        ):
            raise
        user_namespace.run_inside(argv)


@dataclass(frozen=True, slots=True)
class DeadRun:
    """What a run left that ended without its own cleanup."""

    path: Path
    command: str
    entries: tuple[Entry, ...]

    @property
    def may_go_on(self) -> bool:
        """Whether the same command would go on with what this one has begun.

        An entry says so by the field `resumes_until_s`.
        """
        times_s = (entry.fields.get("resumes_until_s", 0) for entry in self.entries)
        return any(time_s > time.time() for time_s in times_s if isinstance(time_s, float))


def _read_journal(path: Path) -> tuple[Entry, ...]:
    """The entries still to undo, last first; a torn last line (power loss) is passed over."""
    pending: dict[str, Entry] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (path / _JOURNAL).read_text(errors="replace").splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if not isinstance(fields, dict):
                continue
            if "done" in fields:
                done = fields["done"]
                for entry_id in done if isinstance(done, list) else [done]:
                    pending.pop(str(entry_id), None)
            elif "id" in fields and "kind" in fields:
                entry_id, kind = fields.pop("id"), fields.pop("kind")
                pending[entry_id] = Entry(entry_id, kind, fields)
    return tuple(reversed(pending.values()))


def find_dead_runs(state: Path) -> list[DeadRun]:
    """The runs whose command and workers are gone; changes nothing."""
    if not (state / "runs").is_dir():
        return []
    dead = []
    # A run is made and given its lock while the registry is held: one without a lock is dead too.
    with _registry(state) as runs:
        for path in sorted(runs.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):
                lock_fd = try_lock(path / _LOCK, make=False)
                if lock_fd is None:
                    continue
                os.close(lock_fd)
            command = path / "command"
            name = command.read_text().strip() if command.exists() else "unknown"
            dead.append(DeadRun(path, name, _read_journal(path)))
    return dead


def finish_run(dead: DeadRun, undo: Mapping[str, Undo]) -> list[str]:
    """Undo what a dead run left and remove its directory; returns what could not be undone.

    The directory stays while something is left, so that the next `clean` tries again.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock_fd = try_lock(dead.path / _LOCK)
        except FileNotFoundError:
            return []  # another goldsmith has finished it meanwhile
        if lock_fd is None:
            return [f"{dead.path} is in use again"]
        stack.callback(os.close, lock_fd)
        failures = _undo_all(dead.entries, undo)
        if failures:
            return failures
        try:
            _remove_run(dead.path)
        except FileNotFoundError:
            return []
        except (OSError, GoldsmithError) as e:
            return [f"{dead.path}: {e}"]
    return []


def remove_doomed_runs(state: Path) -> None:
    """Remove what a goldsmith that was killed had begun to remove."""
    for path in (state / "runs").glob(f"{_DOOMED}*"):
        _remove_doomed(path)
