"""The store of layers: what earlier builds have made, found by key and safe while it is used.

Concurrent builds share it, and may be killed at any moment: see `publish` for how a layer comes,
`layer_locks` for what keeps it, `prune` and `garbage` for how it goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from goldsmith.errors import GoldsmithError, NoSpaceError
from goldsmith.layers import record_files
from goldsmith.layers.comparison import compare
from goldsmith.layers.directory import StoreDirectory, open_directory, replace_file
from goldsmith.layers.layer_locks import OnWait, lock_shared, waited_for
from goldsmith.layers.listing import Listing, ListingError
from goldsmith.layers.publish import Draft, open_draft
from goldsmith.layers.records import Record


class LayerUnusable(GoldsmithError):
    """A layer that a record names is gone, or is not what was published; it is forgotten now.

    `problems` says what is wrong with it, nothing for one that somebody has removed or replaced.
    """

    def __init__(self, record: Record, problems: tuple[str, ...]) -> None:
        self.record = record
        self.problems = problems
        why = "; ".join(problems) or "it was removed meanwhile"
        super().__init__(
            f"the kept result of {record.label or record.step} cannot be used: {why}",
            hint="the step is run again; `goldsmith cache verify` looks at all the others",
        )


OnDamage = Callable[[LayerUnusable], None]


class Store:
    """A store that this user owns; `open` checks that. Threads may share one object."""

    def __init__(self, directory: StoreDirectory) -> None:
        self.directory = directory
        self._own_by_key: dict[str, str] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store in this directory, made if need be.

        Raises HostError where others could have written, and for another version's format.
        """
        return cls(open_directory(path))

    def keyed(self, value: bytes) -> str:
        """A hash that only holders of this store's secret can make: how a secret enters a key."""
        return hmac.new(self.directory.secret(), value, hashlib.sha256).hexdigest()

    def find(self, key: str) -> Record | None:
        """What is kept under a key, to be pinned before it is used."""
        return record_files.read(self.directory.keys, key)

    def find_failed(self, key: str) -> Record | None:
        """The tree that a step left when it last failed, if it has not succeeded since."""
        return record_files.read(self.directory.failed, key)

    def flattened(self, stack_id: str) -> Record | None:
        """The whole tree that stands for a stack, by the id of its topmost layer."""
        return record_files.read(self.directory.flat, stack_id)

    def records(self) -> list[Record]:
        """Everything that can be a hit, the oldest first; reads all their files."""
        return record_files.read_all(self.directory.keys)

    def failed_records(self) -> list[Record]:
        """Every kept tree of a failed step, the oldest first."""
        return record_files.read_all(self.directory.failed)

    def flat_records(self) -> list[Record]:
        """Every flat layer, the oldest first."""
        return record_files.read_all(self.directory.flat)

    def has_own(self, own: str) -> bool:
        """Whether anything is kept of a step with these inputs (`StepKey.digest`), on any parent.

        Without it the digest of the layer below need not be waited for.
        """
        known, current = self._own_by_key, {}
        for key in record_files.keys_in(self.directory.keys):
            # The inputs are part of the key, so what was read once stays true.
            record = None if key in known else self.find(key)
            if key in known or record is not None:
                current[key] = record.own if record is not None else known[key]
        self._own_by_key = current
        return own in current.values()

    def tree(self, record: Record) -> Path:
        """Where the tree of a layer lies; it is safe to use only while it is pinned."""
        return self.directory.layers / record.layer / "tree"

    def draft(self) -> AbstractContextManager[Draft]:
        """A new layer in the making: see `publish.open_draft`."""
        return open_draft(self.directory)

    def making(self, key: str, on_wait: OnWait | None = None) -> AbstractContextManager[None]:
        """Be the only one who makes the result of this key; look for it again inside.

        `on_wait` is called while another one has it, with the seconds waited; it may raise.
        """
        return waited_for(self.directory.locks / key, on_wait)

    @contextmanager
    def pin(self, record: Record, *, verify: bool = False) -> Iterator[Path]:
        """Use a layer for the length of a block: its tree, checked; nobody removes it meanwhile.

        Metadata is held against the listing, and contents where it was touched since; with
        `verify` all of them. Raises LayerUnusable; a damaged layer is then forgotten.
        """
        fd = lock_shared(self.directory.layers / record.layer / "lock")
        if fd is None:
            self.forget(record)
            raise LayerUnusable(record, ())
        try:
            if not record_files.is_recorded(self.directory, record):
                raise LayerUnusable(record, ())
            if problems := self.problems_of(record, full=verify):
                self.forget(record)
                raise LayerUnusable(record, problems)
            self.touch(record)
            yield self.tree(record)
        finally:
            os.close(fd)

    @contextmanager
    def hit(
        self, key: str, *, verify: bool = False, on_damage: OnDamage | None = None
    ) -> Iterator[Record | None]:
        """What is kept under a key, pinned for the length of a block; None where nothing is.

        A layer that turns out damaged is forgotten and told to `on_damage`.
        """
        with contextlib.ExitStack() as pins:
            while (record := self.find(key)) is not None:
                try:
                    pins.enter_context(self.pin(record, verify=verify))
                    break
                except LayerUnusable as e:
                    if e.problems and on_damage is not None:
                        on_damage(e)
            yield record

    def problems_of(self, record: Record, *, full: bool = False) -> tuple[str, ...]:
        """How a layer differs from what was published; it must be in use, so that it stays.

        A listing that only has old change times is written anew. Nothing is known of failed ones.
        """
        if record.failed:
            return () if self.tree(record).is_dir() else ("its tree is missing",)
        path = self.directory.layers / record.layer / "listing"
        try:
            listing = Listing.decoded(path.read_bytes())
            if listing.content != record.content:
                return ("its listing is not the one that was published",)
            compared = compare(self.tree(record), listing, full=full)
        except ListingError as e:
            return (f"its listing cannot be read: {e}",)
        except OSError as e:
            return (f"{e.filename or path}: {e.strerror}",)
        if compared.refreshed is not None:
            # Without room for it the next one reads the contents again.
            with contextlib.suppress(NoSpaceError):
                replace_file(path, compared.refreshed.encoded())
        return compared.problems

    def touch(self, record: Record) -> None:
        """Note that a result was of use now, also where its tree was not needed (see `prune`)."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(record_files.path_of(self.directory, record))

    def forget(self, record: Record) -> None:
        """Let a layer's key lead there no more; what is left of it is garbage."""
        with self.directory.registry():
            record_files.drop(self.directory, record)
