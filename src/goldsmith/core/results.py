"""Results outside of layers, images and what was made of them: reused while their files stand.

A record says by what key a result was made, what it is, and the digest of each file. A file counts
as unchanged when size, times and inode are those at which it was hashed last; else it is hashed
again. The time of change (ctime) is set by the kernel alone, so nobody changes a file unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.host.sparse import hash_sparse
from goldsmith.layers.keys import encode_table

RECORD_VERSION: Final = 1
NOT_RECORDED: Final = "what was made will be made again by the next build"
"""What users are told where a record cannot be written."""

# Two changes within one tick of the kernel's clock (at most 10 ms) have one time of change.
_SETTLED_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """A result that stands: what it is (JSON values), when it was made and how long it took."""

    value: Mapping[str, Any]
    made_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class FileDigests:
    """The SHA-256 of files, remembered below a directory while they do not change."""

    directory: Path

    def of(self, path: Path) -> str:
        """The digest of a file; raises OSError."""
        path = path.absolute()
        before = _stamp(path)
        known = _read(self._memory(path))
        if known is not None and known.get("stamp") == before and known.get("path") == str(path):
            return str(known["sha256"])
        digest = hash_sparse(path)["sha256"]
        if _stamp(path) == before:
            self.remember(path, digest)
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """Take a digest that is known already; a file that has just been changed is not kept."""
        stamp = _stamp(path)
        # Where there is no room for it the file is read again.
        with contextlib.suppress(OSError):
            if time.time_ns() - stamp[3] > _SETTLED_NS:
                _write(self._memory(path), {"path": str(path), "stamp": stamp, "sha256": digest})

    def _memory(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()
        return self.directory / "files" / f"{name}.json"


@dataclass(frozen=True, slots=True)
class Results:
    """The records below a directory that is its owner's alone.

    `keyed` is a keyed hash: what identifies a result may hold secrets.
    """

    directory: Path
    keyed: Callable[[bytes], str]

    def key(self, inputs: Mapping[str, str]) -> str:
        """The key of a result that follows from these inputs."""
        return self.keyed(encode_table(inputs))

    def find(self, key: str) -> Result | None:
        """The result of a key, if every file of it is as it was made."""
        record = _read(self._record(key))
        if record is None or record.get("version") != RECORD_VERSION or record.get("key") != key:
            return None
        try:
            files, value = dict(record["files"]), dict(record["value"])
            found = Result(value, float(record["made_s"]), float(record["duration_s"]))
            unchanged = all(self.digests.of(Path(name)) == known for name, known in files.items())
        except (KeyError, TypeError, ValueError, OSError):
            return None
        return found if unchanged else None

    def keep(
        self,
        key: str,
        value: Mapping[str, Any],
        files: Iterable[Path],
        *,
        digests: Mapping[Path, str] | None = None,
        duration_s: float = 0.0,
        step: str = "",
    ) -> None:
        """Write down a result whose files are in place; `digests` are SHA-256 known already."""
        known = {path.absolute(): digest for path, digest in (digests or {}).items()}
        for path, digest in known.items():
            self.digests.remember(path, digest)
        # What was made just now is not remembered, but need not be read again either.
        listed = {str(path): known.get(path) or self.digests.of(path)
                  for path in map(Path.absolute, files)}  # fmt: skip
        _write(self._record(key), {
            "version": RECORD_VERSION, "key": key, "value": dict(value), "files": listed,
            "made_s": time.time(), "duration_s": duration_s, "step": step,
            "size_bytes": sum(os.lstat(name).st_blocks * 512 for name in listed),
        })  # fmt: skip

    def latest_s(self, step: str) -> float | None:
        """How long this kind of step took when its result was kept last."""
        found: tuple[float, float] | None = None
        for path in (self.directory / "made").glob("*.json"):
            record = _read(path) or {}
            if record.get("step") == step:
                times = float(record.get("made_s", 0)), float(record.get("duration_s", 0))
                found = max(found or times, times)
        return None if found is None else found[1]

    def latest_bytes(self, step: str) -> int | None:
        """What the files of this kind of step took on the disk when it was kept last."""
        found: tuple[float, int] | None = None
        for path in (self.directory / "made").glob("*.json"):
            record = _read(path) or {}
            if record.get("step") == step and "size_bytes" in record:
                sizes = float(record.get("made_s", 0)), int(record["size_bytes"])
                found = max(found or sizes, sizes)
        return None if found is None else found[1]

    @property
    def digests(self) -> FileDigests:
        """The digests of files, as they are remembered here."""
        return FileDigests(self.directory)

    def _record(self, key: str) -> Path:
        return self.directory / "made" / f"{key}.json"


def _stamp(path: Path) -> list[int]:
    """What changes with every change of a file; raises OSError for what is no regular file."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a file")
    return [status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns]


def _read(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or only a part of one."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "x", encoding="ascii") as file:
            json.dump(document, file)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def prune_results(directory: Path) -> int:
    """Remove the records of results whose files do not stand any more; returns their number."""
    removed = 0
    for path in (*(directory / "made").glob("*.json"), *(directory / "files").glob("*.json")):
        record = _read(path) or {}
        names = record.get("files") or [record.get("path", "")]
        if not all(name and os.path.lexists(name) for name in names):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
