"""Looks at a whole store: whether every record is one, and every layer what its record says."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from goldsmith.layers import record_files
from goldsmith.layers.layer_locks import lock_shared
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a store that is not as goldsmith has left it."""

    where: str
    """The path of a file, or of a layer."""
    text: str
    record: Record | None = None
    """The record of a damaged layer."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def verify_store(
    store: Store,
    *,
    full: bool = True,
    forget: bool = False,
    on_layer: Callable[[Record], None] | None = None,
) -> list[Problem]:
    """Every problem of a store, none for a good one; reads all contents unless not `full`.

    With `forget` damaged layers are forgotten, so that their steps are run again. `on_layer` is
    called before each layer is read. Builds may go on meanwhile.
    """
    problems = [
        Problem(str(bad.path), bad.reason) for bad in record_files.unreadable(store.directory)
    ]
    for record in (*store.records(), *store.flat_records(), *store.failed_records()):
        if on_layer is not None:
            on_layer(record)
        texts = _layer_problems(store, record, full)
        where = str(store.directory.layers / record.layer)
        problems += [Problem(where, text, record) for text in texts]
        if texts and forget:
            store.forget(record)
    return problems


def _layer_problems(store: Store, record: Record, full: bool) -> tuple[str, ...]:
    fd = lock_shared(store.directory.layers / record.layer / "lock")
    try:
        if not record_files.is_recorded(store.directory, record):
            return ()  # it was removed or replaced meanwhile
        return store.problems_of(record, full=full) if fd is not None else ("it is missing",)
    finally:
        if fd is not None:
            os.close(fd)
