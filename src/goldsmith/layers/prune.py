"""Takes layers out of the store: by age, by use, by size, and what can never be used again.

A layer in use stays, and so does every layer below one that stays: without its parent a result is
never found again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.layers import record_files
from goldsmith.layers.directory import StoreDirectory, sync_directory
from goldsmith.layers.garbage import collect_garbage, remove_doomed
from goldsmith.layers.layer_locks import lock_alone
from goldsmith.layers.publish import doom
from goldsmith.layers.records import FLAT, Record, layer_named_in
from goldsmith.layers.store import Store


@dataclass(frozen=True, slots=True, order=True)
class Beside:
    """Something kept beside the store, which is as old as its last use and may go for room."""

    used_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is to go; None is no limit."""

    older_than_s: float | None = None
    """Made longer ago than this."""
    unused_for_s: float | None = None
    """Not used for longer than this."""
    most_bytes: int | None = None
    """The least recently used go until the others take no more than this."""
    beside: Sequence[Beside] = ()
    """What counts for `most_bytes`, too."""
    failed_older_than_s: float | None = None
    """Trees of failed steps that are older than this; 0 for all of them."""
    orphans: bool = True
    """Results whose parent is not kept, and files among the records that are none."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A layer that goes, and the limit that it is beyond."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed; for a dry run what would be."""

    removed: tuple[Removal, ...]
    in_use: tuple[Record, ...]
    """What a limit names and somebody uses."""
    unreadable: tuple[Path, ...]
    """Files that were no records."""
    garbage: int
    """Layers that nothing named."""
    beside: int = 0
    """How many of those beside the store have to go, the least recently used first."""

    @property
    def freed_bytes(self) -> int:
        """What the removed layers took on the disk, garbage not counted."""
        return sum(removal.record.size_bytes for removal in self.removed)


def prune(
    store: Store, limits: Limits, *, now_s: float | None = None, dry_run: bool = False
) -> Pruned:
    """Remove what is beyond the limits, results before their parents; a dry run only tells.

    Builds may go on meanwhile.
    """
    now_s = time.time() if now_s is None else now_s
    records = [*store.records(), *store.failed_records(), *store.flat_records()]
    busy = {r.layer for r in records if _is_used(store.directory, r)}
    choice = _Choice(records, busy)
    choice.apply(limits, now_s)
    order = [Removal(r, choice.reasons[r.layer]) for r in _leaves_first(choice.chosen())]
    in_use = choice.refused
    unreadable = tuple(_rubbish(store.directory)) if limits.orphans else ()
    if dry_run:
        return Pruned(tuple(order), tuple(in_use), unreadable, 0, choice.beside)
    removed, late = _remove(store.directory, order)
    for path in unreadable:
        path.unlink(missing_ok=True)
    garbage = collect_garbage(store.directory)
    return Pruned(tuple(removed), (*in_use, *late), unreadable, garbage, choice.beside)


@dataclass(slots=True)
class _Choice:
    """Which layers go, each with the first limit that names it."""

    records: Sequence[Record]
    busy: set[str]
    reasons: dict[str, str] = field(default_factory=dict)
    refused: list[Record] = field(default_factory=list)
    beside: int = 0

    def apply(self, limits: Limits, now_s: float) -> None:
        if limits.orphans:
            self._name(_orphans(self.records), "its parent is not kept")
        for record in self.records:
            if reason := _beyond(record, limits, now_s):
                self._name([record], reason)
        self._spare_needed()
        if limits.most_bytes is not None:
            self._shrink(limits.most_bytes, sorted(limits.beside))

    def chosen(self) -> list[Record]:
        return [record for record in self.records if record.layer in self.reasons]

    def _kept(self) -> list[Record]:
        return [record for record in self.records if record.layer not in self.reasons]

    def _name(self, records: Iterable[Record], reason: str) -> None:
        for record in records:
            if record.layer not in self.busy:
                self.reasons.setdefault(record.layer, reason)
            elif record not in self.refused:
                self.refused.append(record)

    def _spare_needed(self) -> None:
        """Keep every result that one that stays was made on."""
        by_id: dict[str, list[Record]] = {}
        for record in self.records:
            if record.kind != FLAT:
                by_id.setdefault(record.id, []).append(record)
        needed = [_below(record) for record in self._kept()]
        seen = {""}
        while needed:
            if (parent := needed.pop()) in seen:
                continue
            seen.add(parent)
            for record in by_id.get(parent, ()):
                self.reasons.pop(record.layer, None)
                needed.append(_below(record))

    def _shrink(self, most_bytes: int, beside: Sequence[Beside]) -> None:
        total_bytes = sum(record.size_bytes for record in self._kept())
        total_bytes += sum(one.size_bytes for one in beside)
        while total_bytes > most_bytes:
            kept = self._kept()
            parents = {_below(record) for record in kept}
            free = [
                record
                for record in kept
                if record.layer not in self.busy
                and (record.kind == FLAT or record.failed or record.id not in parents)
            ]
            oldest = min(free, key=lambda one: (one.last_used_s, one.made_s), default=None)
            other = beside[self.beside] if self.beside < len(beside) else None
            if other is not None and (oldest is None or other.used_s <= oldest.last_used_s):
                self.beside += 1
                total_bytes -= other.size_bytes
            elif oldest is not None:
                self.reasons[oldest.layer] = "the store is larger than it may be"
                total_bytes -= oldest.size_bytes
            else:
                return


def _beyond(record: Record, limits: Limits, now_s: float) -> str:
    """The limit that a layer is beyond, "" for none."""
    age_s, failed_s = now_s - record.made_s, limits.failed_older_than_s
    if record.failed and failed_s is not None and age_s >= failed_s:
        return "the step failed"
    if limits.older_than_s is not None and age_s > limits.older_than_s:
        return "too old"
    if limits.unused_for_s is not None and now_s - record.last_used_s > limits.unused_for_s:
        return "not used for too long"
    return ""


def _orphans(records: Sequence[Record]) -> list[Record]:
    """What stands on a layer that is not kept, directly or further down."""
    on: dict[str, list[Record]] = {}
    for record in records:
        on.setdefault(record.id if record.kind == FLAT else record.parent, []).append(record)
    found: set[str] = set()
    ids, reached = {""}, [""]
    while reached:
        parent = reached.pop()
        for record in on.get(parent, ()):
            found.add(record.layer)
            if record.id and record.id not in ids:
                ids.add(record.id)
                reached.append(record.id)
    return [record for record in records if record.layer not in found]


def _below(record: Record) -> str:
    """The id of what a result needs below it: a whole tree may equal the one that it is made of."""
    return "" if record.parent == record.id else record.parent


def _leaves_first(records: Iterable[Record]) -> list[Record]:
    order: list[Record] = []
    remaining = list(records)
    while remaining:
        parents = {_below(record) for record in remaining}
        leaves = [r for r in remaining if r.kind == FLAT or r.failed or r.id not in parents]
        if not leaves:
            # Whole trees with equal content in a ring: a step took back what another had done.
            leaves = remaining[:1]
        order += leaves
        remaining = [record for record in remaining if record not in leaves]
    return order


def _is_used(directory: StoreDirectory, record: Record) -> bool:
    lock = directory.layers / record.layer / "lock"
    if (fd := lock_alone(lock, make=False)) is not None:
        os.close(fd)
        return False
    return lock.exists()


def _remove(
    directory: StoreDirectory, order: Sequence[Removal]
) -> tuple[list[Removal], list[Record]]:
    """Forget the layers and remove them; returns those that went, and those now in use."""
    removed: list[Removal] = []
    used: list[Record] = []
    doomed: list[Path] = []
    going = {removal.record.layer for removal in order}
    with contextlib.ExitStack() as held:
        with directory.registry():
            now = [*record_files.read_all(directory.keys), *record_files.read_all(directory.failed)]
            # What was published since the choice needs its parent too.
            needed = {record.parent for record in now if record.layer not in going}
            for removal in order:
                record, path = removal.record, directory.layers / removal.record.layer
                fd = lock_alone(path / "lock", make=False)
                if fd is not None:
                    held.callback(os.close, fd)
                if (fd is None and path.exists()) or (record.id in needed and not record.failed):
                    used.append(record)
                    needed.add(record.parent)
                elif record_files.drop(directory, record):
                    removed.append(removal)
                    if path.exists():
                        doomed.append(doom(path))
            # No record may come back after a power cut whose tree was removed.
            for place in directory.records:
                sync_directory(place)
        for path in doomed:
            remove_doomed(path)
    return removed, used


def _rubbish(directory: StoreDirectory) -> list[Path]:
    """Files among the records that name no layer, so that no version can have written them."""
    found = []
    for bad in record_files.unreadable(directory):
        with contextlib.suppress(OSError):
            if layer_named_in(bad.path.read_bytes()) is None:
                found.append(bad.path)
    return found
