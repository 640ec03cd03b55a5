"""What is remembered of an upload while it runs, so that a killed one need not start again.

It lies in the state of this host, by what was asked for: the token that started the snapshot, and
the blocks that were sent, with their digests. The image may have become another one meanwhile, as
one that is provisioned anew does: then what differs is sent over it. A lock says that a living
build is at it. What the journal of a killed run says of both is taken out of it by whoever goes on:
else `clean` would take them away from a living build.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.cloud.ebs_direct.block_set import BlockSet
from goldsmith.host.journal import RunDirectory
from goldsmith.host.locks import try_lock

FOLDER: Final = "ebs-direct"
_NUMBER_BYTES: Final = 8
_DIGEST_BYTES: Final = 32
_RECORD_BYTES: Final = _NUMBER_BYTES + _DIGEST_BYTES
_UNCONFIRMED: Final = bytes(_DIGEST_BYTES)
"""Stands for the digest of a block whose sending has begun."""
_LARGEST_RECORD: Final = 1 << 16
_SENT: Final = ".sent"


@dataclass(frozen=True, slots=True)
class Noted:
    """Entries in the journal of a run."""

    run: str = ""
    entries: tuple[str, ...] = ()

    def forget(self, runs: Path) -> None:
        """Take them out of it; a run that is gone does not matter."""
        if self.entries:
            with contextlib.suppress(FileNotFoundError):
                RunDirectory(runs / self.run, -1).forget(*self.entries)


@dataclass(slots=True)
class Progress:
    """The memory of one upload; nothing is remembered where `file` is None."""

    token: str = field(default_factory=lambda: secrets.token_hex(16))
    """The client token that starts the snapshot."""
    mark: str = ""
    """The tag with which it was started first."""
    snapshot_id: str = ""
    sent: BlockSet = field(default_factory=BlockSet)
    """Blocks that are there as they are wanted."""
    stale: BlockSet = field(default_factory=BlockSet)
    """Blocks that are there otherwise, or may be."""
    file: Path | None = None
    claim: Noted = Noted()
    """The entry of the snapshot."""
    memory: Noted = Noted()
    """The entries of these files."""
    _fd: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier run has begun it."""
        return bool(self.mark)

    def restart(self) -> None:
        """What was begun is gone, or not to be had: begin anew."""
        self.token, self.mark, self.snapshot_id = secrets.token_hex(16), "", ""
        self.sent.clear()
        self.stale.clear()
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)

    def save(self) -> None:
        """Write down token, mark and snapshot, before the service is asked for anything."""
        if self.file is None:
            return
        temporary = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        record = {
            "token": self.token, "mark": self.mark, "snapshot_id": self.snapshot_id,
            "claim": [self.claim.run, *self.claim.entries],
            "memory": [self.memory.run, *self.memory.entries],
        }  # fmt: skip
        with open(temporary, "x") as stream:
            json.dump(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.file)

    def take_over(self, claim: Noted, runs: Path) -> None:
        """The snapshot is no more the one of the run that has begun it, but of this claim."""
        before, self.claim = self.claim, claim
        self.save()
        before.forget(runs)

    def compare(self, wanted: Callable[[int], bytes], blocks: int) -> Iterator[int]:
        """Sort what an earlier run has sent into `sent` and `stale`; returns all its blocks.

        `wanted` tells the digest that a block is to have, of so many.
        """
        if self.file is None:
            return iter(())
        for number, digest in _records(self.file.with_suffix(_SENT), blocks):
            as_wanted = digest == wanted(number)
            (self.sent if as_wanted else self.stale).add(number)
            (self.stale if as_wanted else self.sent).discard(number)
        if not len(self.sent) + len(self.stale):
            return iter(())
        return (one for one in range(blocks) if one in self.sent or one in self.stale)

    def begin(self, number: int) -> None:
        """A block is about to be sent: if this is killed, nobody knows whether it has arrived."""
        self._write(number, _UNCONFIRMED)

    def note(self, number: int, digest: bytes) -> None:
        """The service has confirmed a block; called by many threads."""
        with self._lock:
            self.sent.add(number)
        self._write(number, digest)

    def _write(self, number: int, digest: bytes) -> None:
        if self._fd >= 0:
            os.write(self._fd, number.to_bytes(_NUMBER_BYTES, "little") + digest)


@contextmanager
def remembered(state: Path, identity: str, run: RunDirectory) -> Iterator[Progress]:
    """The memory of an upload by the identity of its request.

    It goes when the block ends, however it ends. A killed build leaves it, for the same upload to
    go on, or for `clean`. While another build is at the same upload, this one remembers nothing.
    """
    folder = state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = folder / identity
    files = [base.with_suffix(ending) for ending in (".json", _SENT, ".lock")]
    lock_fd = try_lock(files[2])
    if lock_fd is None:
        yield Progress()
        return
    try:
        entries = [run.record("file", path=str(path)) for path in files]
        progress = _read(files[0], files[1])
        progress.file = files[0]
        before, progress.memory = progress.memory, Noted(run.id, tuple(entries))
        if progress.is_resumed:
            progress.save()
            before.forget(run.path.parent)
        progress._fd = os.open(
            files[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            # Behind a record that a kill has torn none could be read.
            os.truncate(progress._fd, _whole_records(os.fstat(progress._fd).st_size))
            yield progress
        finally:
            os.close(progress._fd)
            progress._fd = -1
            for path, entry in zip(files, entries, strict=True):
                path.unlink(missing_ok=True)
                run.forget(entry)
    finally:
        os.close(lock_fd)


def _read(file: Path, sent: Path) -> Progress:
    """What an earlier run has left; an empty one where that is nothing, or only a part."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if file.stat().st_size <= _LARGEST_RECORD:
            record: dict[str, Any] = json.loads(file.read_bytes())
            token, mark, known = (record[name] for name in ("token", "mark", "snapshot_id"))
            if token and all(isinstance(one, str) for one in (token, mark, known)):
                claim, memory = _noted(record["claim"]), _noted(record["memory"])
                return Progress(token, mark, known, claim=claim, memory=memory)
    sent.unlink(missing_ok=True)
    return Progress()


def _noted(given: list[str]) -> Noted:
    run, *entries = given
    if Path(run).name != run or run == ".." or not all(isinstance(one, str) for one in entries):
        raise ValueError("no name of a run")
    return Noted(run, tuple(entries))


def _whole_records(size_bytes: int) -> int:
    return size_bytes - size_bytes % _RECORD_BYTES


def _records(sent: Path, blocks: int) -> Iterator[tuple[int, bytes]]:
    """The blocks of a list, which may end in the middle of a record."""
    with contextlib.suppress(OSError), open(sent, "rb") as file:
        while len(data := file.read(_RECORD_BYTES)) == _RECORD_BYTES:
            number = int.from_bytes(data[:_NUMBER_BYTES], "little")
            if number < blocks:
                yield number, data[_NUMBER_BYTES:]
