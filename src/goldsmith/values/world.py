"""Everything outside the template that a template may see, behind one door.

A template is evaluated twice: by the command and again by the build worker. Both must get the same
answers, so every look at the clock, chance, environment and files goes through a World; the first
evaluation records the answers, the second replays them and must not ask for anything else.
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from goldsmith.errors import GoldsmithError, SourceRange

PathKind = str
"""`file`, `directory` or `none`; symbolic links are followed."""


class UnrecordedCall(GoldsmithError):
    """A replayed template asked for something that its first evaluation did not ask for."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(
            f"the template was evaluated differently this time: {kind} of {what} is not recorded",
            hint="this is a defect of goldsmith; please report it with the template",
        )


class World(Protocol):
    """What a template may see. Relative paths start at the working directory."""

    def cwd(self) -> str:
        """The absolute path of the working directory."""

    def read_file(self, path: str) -> bytes:
        """A file's content. Raises OSError."""

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted. Raises OSError."""

    def path_kind(self, path: str) -> PathKind:
        """Whether a `file`, a `directory`, something `other` or `none` is at the path."""

    def env(self, name: str) -> str | None:
        """An environment variable, None when it is not set."""

    def env_names(self, prefix: str) -> list[str]:
        """The names of the environment variables that start so, sorted."""

    def now(self) -> datetime:
        """The time of this run in UTC, the same at every call."""

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        """Unpredictable bytes for the call that stands there."""

    def home(self) -> str:
        """The user's home directory."""

    def outside(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` gives, as data that JSON can carry; `what` tells it from all other askings.

        Raises what `ask` raises.
        """


class LiveWorld:
    """The world as it is now; only the clock stands still."""

    def __init__(self, *, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)

    def cwd(self) -> str:
        """The absolute path of the working directory."""
        try:
            return str(Path.cwd())
        except FileNotFoundError as e:
            raise GoldsmithError(
                "the working directory does not exist any more", hint="change to another one"
            ) from e

    def read_file(self, path: str) -> bytes:
        """A file's content. Raises OSError."""
        return Path(_usable(path)).read_bytes()

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted. Raises OSError."""
        return sorted(os.listdir(_usable(path)))

    def path_kind(self, path: str) -> PathKind:
        """Whether a `file`, a `directory`, something `other` or `none` is at the path."""
        if os.path.isdir(path):
            return "directory"
        if os.path.isfile(path):
            return "file"
        return "other" if os.path.exists(path) else "none"

    def env(self, name: str) -> str | None:
        """An environment variable, None when it is not set."""
        return os.environ.get(name)

    def env_names(self, prefix: str) -> list[str]:
        """The names of the environment variables that start so, sorted."""
        return sorted(name for name in os.environ if name.startswith(prefix))

    def now(self) -> datetime:
        """The time of this run in UTC, the same at every call."""
        return self._now

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        """Unpredictable bytes."""
        return os.urandom(count)

    def home(self) -> str:
        """The user's home directory: $HOME, else the user database."""
        return os.path.expanduser("~")

    def outside(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` gives now."""
        return ask()


def _usable(path: str) -> str:
    """The path itself; OSError for one with a NUL, which Python would answer with a ValueError."""
    if "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return path


def _place(at: SourceRange | None) -> str:
    return f"{at.filename}:{at.start.byte}-{at.end.byte}" if at else ""


class RecordingWorld:
    """Another world that remembers every answer it gave."""

    def __init__(self, inner: World) -> None:
        self._inner = inner
        self._answers: dict[str, dict[str, Any]] = {}
        self._random: dict[str, list[str]] = {}

    def record(self) -> dict[str, Any]:
        """Every answer so far, as data that JSON can carry: kind of call → argument → answer.

        Bytes are base64; a failed call is `{"errno", "message"}`; random bytes are listed in order
        by the place of the call.
        """
        record: dict[str, Any] = {kind: dict(found) for kind, found in self._answers.items()}
        if self._random:
            record["random_bytes"] = {place: list(drawn) for place, drawn in self._random.items()}
        return record

    def _remember(self, kind: str, key: str, ask: Callable[[], Any]) -> Any:
        """The first answer, in recorded form; later calls get the same one."""
        answers = self._answers.setdefault(kind, {})
        if key not in answers:
            try:
                answers[key] = {"answer": ask()}
            except OSError as error:
                answers[key] = {"errno": error.errno or errno.EIO, "message": error.strerror or ""}
        return _reanswer(answers[key], key)

    def cwd(self) -> str:
        """The working directory."""
        return str(self._remember("cwd", "", self._inner.cwd))

    def read_file(self, path: str) -> bytes:
        """A file's content; the same bytes at every call, even if the file changes meanwhile."""
        encoded = self._remember(
            "read_file", path, lambda: base64.b64encode(self._inner.read_file(path)).decode()
        )
        return base64.b64decode(encoded)

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return list(
            self._remember("list_directory", path, lambda: self._inner.list_directory(path))
        )

    def path_kind(self, path: str) -> PathKind:
        """Whether a `file`, a `directory`, something `other` or `none` is at the path."""
        return str(self._remember("path_kind", path, lambda: self._inner.path_kind(path)))

    def env(self, name: str) -> str | None:
        """An environment variable."""
        answer: str | None = self._remember("env", name, lambda: self._inner.env(name))
        return answer

    def env_names(self, prefix: str) -> list[str]:
        """The names of the environment variables that start so."""
        return list(self._remember("env_names", prefix, lambda: self._inner.env_names(prefix)))

    def now(self) -> datetime:
        """The time of this run."""
        text = self._remember("now", "", lambda: self._inner.now().isoformat())
        return datetime.fromisoformat(text)

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        """Fresh bytes at every call; recorded in order for each place."""
        drawn = self._inner.random_bytes(count, at)
        self._random.setdefault(_place(at), []).append(base64.b64encode(drawn).decode())
        return drawn

    def home(self) -> str:
        """The user's home directory."""
        return str(self._remember("home", "", self._inner.home))

    def outside(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` gives at the first call."""
        return self._remember("outside", what, lambda: self._inner.outside(what, ask))


class ReplayedWorld:
    """The world of an earlier evaluation; raises UnrecordedCall for any other question."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record = record
        self._drawn: dict[str, int] = {}

    def _recall(self, kind: str, key: str) -> Any:
        answers = self._record.get(kind, {})
        if key not in answers:
            raise UnrecordedCall(kind, repr(key))
        return _reanswer(answers[key], key)

    def cwd(self) -> str:
        """The recorded working directory."""
        return str(self._recall("cwd", ""))

    def read_file(self, path: str) -> bytes:
        """The recorded content, or the recorded OSError."""
        return base64.b64decode(self._recall("read_file", path))

    def list_directory(self, path: str) -> list[str]:
        """The recorded names, or the recorded OSError."""
        return list(self._recall("list_directory", path))

    def path_kind(self, path: str) -> PathKind:
        """The recorded kind."""
        return str(self._recall("path_kind", path))

    def env(self, name: str) -> str | None:
        """The recorded environment variable."""
        answer: str | None = self._recall("env", name)
        return answer

    def env_names(self, prefix: str) -> list[str]:
        """The recorded names."""
        return list(self._recall("env_names", prefix))

    def now(self) -> datetime:
        """The recorded time."""
        return datetime.fromisoformat(self._recall("now", ""))

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        """The bytes that the same call, at the same place, got in the recording."""
        place = _place(at)
        drawn = self._record.get("random_bytes", {}).get(place, [])
        index = self._drawn.get(place, 0)
        found = base64.b64decode(drawn[index]) if index < len(drawn) else b""
        if index >= len(drawn) or len(found) != count:
            raise UnrecordedCall("random_bytes", f"{count} at {place or 'no place'}")
        self._drawn[place] = index + 1
        return found

    def home(self) -> str:
        """The recorded home directory."""
        return str(self._recall("home", ""))

    def outside(self, what: str, ask: Callable[[], Any]) -> Any:
        """The recorded answer; nothing is asked."""
        return self._recall("outside", what)


def _reanswer(entry: Mapping[str, Any], path: str) -> Any:
    """The recorded answer, or the recorded OSError raised again."""
    if "errno" in entry:
        raise OSError(entry["errno"], entry["message"], path)
    return entry["answer"]
