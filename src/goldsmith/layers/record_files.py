"""The files of records: found, read, and dropped again. They are written by `publish`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from goldsmith.layers.directory import StoreDirectory
from goldsmith.layers.records import FLAT, Record, RecordError, layer_named_in

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file among the records that is none."""

    path: Path
    reason: str


def record_path(place: Path, key: str) -> Path:
    """Where the record of a key lies, if there is one."""
    return place / f"{key}{_SUFFIX}"


def path_of(directory: StoreDirectory, record: Record) -> Path:
    """Where this record lies, or lay."""
    if record.failed:
        return record_path(directory.failed, record.key)
    place = directory.flat if record.kind == FLAT else directory.keys
    return record_path(place, record.key)


def load(path: Path) -> Record:
    """Read a record; raises RecordError, FileNotFoundError."""
    with open(path, "rb") as stream:
        data, used_s = stream.read(), os.fstat(stream.fileno()).st_mtime
    record = Record.decoded(data, used_s)
    if path.name != f"{record.key}{_SUFFIX}":
        raise RecordError("it lies under another key")
    return record


def read(place: Path, key: str) -> Record | None:
    """The record of a key; None where there is none, or none that can be read."""
    with contextlib.suppress(FileNotFoundError, RecordError):
        record = load(record_path(place, key))
        kinds_fit = (record.kind == FLAT) == (place.name == "flat")
        if kinds_fit and record.failed == (place.name == "failed"):
            return record
    return None


def keys_in(place: Path) -> list[str]:
    """The keys of all records in a place, in order."""
    names = (name for name in os.listdir(place) if not name.startswith("."))
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def read_all(place: Path) -> list[Record]:
    """Every record in a place that can be read, the oldest first."""
    found = (read(place, key) for key in keys_in(place))
    return sorted((record for record in found if record), key=lambda one: (one.made_s, one.key))


def unreadable(directory: StoreDirectory) -> Iterator[Unreadable]:
    """Every file among the records that is no record, with the reason."""
    for place in directory.records:
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                continue
            try:
                record = load(path)
                if path_of(directory, record) != path:
                    raise RecordError("it lies in another place than its kind")
            except FileNotFoundError:
                continue
            except (RecordError, OSError) as e:
                yield Unreadable(path, str(e))


def named_layers(directory: StoreDirectory) -> set[str]:
    """The layers that any record names, also one that a later version of goldsmith wrote."""
    named = set()
    for place in directory.records:
        for path in place.iterdir():
            if path.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):
                named.add(layer_named_in(path.read_bytes()))
    return {layer for layer in named if layer is not None}


def is_recorded(directory: StoreDirectory, record: Record) -> bool:
    """Whether the record's key still leads to its layer."""
    path = path_of(directory, record)
    found = read(path.parent, record.key)
    return found is not None and found.layer == record.layer


def drop(directory: StoreDirectory, record: Record) -> bool:
    """Forget a layer, if its key still leads there; the registry must be held."""
    if not is_recorded(directory, record):
        return False
    path_of(directory, record).unlink(missing_ok=True)
    return True
