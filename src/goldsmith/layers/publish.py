"""Drafts: layers in the making, and the moment at which one becomes part of the store.

A draft lies in its final place from the start, under a lock that ends with its process. It counts
from the moment at which its record is renamed into place, and everything that the record speaks of
is on the disk by then: step overlays are volatile, so nothing else has synced it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goldsmith import __version__
from goldsmith.errors import GoldsmithError
from goldsmith.host import kernel
from goldsmith.host.journal import remove_tree
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers import record_files
from goldsmith.layers.content import describe, disk_bytes, scan
from goldsmith.layers.directory import DOOMED, StoreDirectory, replace_file
from goldsmith.layers.layer_locks import lock_alone, share
from goldsmith.layers.records import FLAT, MadeStep, Record


class Draft:
    """A layer that is being made; `open_draft` gives it, and removes what was not published."""

    def __init__(self, directory: StoreDirectory, name: str, lock_fd: int) -> None:
        self.name = name
        self.path = directory.layers / name
        self._directory = directory
        self._lock_fd = lock_fd
        self._record_path: Path | None = None
        self.contents: dict[tuple[int, int, int], str] = {}
        """SHA-256 of files in the tree that were read already, as `content.ReadBefore` has it."""
        self.content = ""
        """The digest of the tree's content, once it was published."""

    @property
    def tree(self) -> Path:
        """Where the caller makes the tree: the upper of an overlay, or a plain directory."""
        return self.path / "tree"

    def publish(self, made: MadeStep, *, instead_of: Record | None = None) -> Record:
        """Make the tree the result of a step; it must not change any more.

        Returns the record under the step's key: another one's, if that was published meanwhile
        (its `layer` is not this draft's `name`). `instead_of` is a record that the caller has
        found too old to use. Raises NoSpaceError; the store is then as before.
        """
        content, size_bytes = self._written_down()
        self.content = content
        key = made.key.on(made.parent)
        record = Record(
            key=key, own=made.key.digest, inputs=dict(made.key.inputs), parent=made.parent,
            id=made.id_of(content), content=content, layer=self.name, kind=made.kind,
            step=made.step, label=made.label, made_s=time.time(), duration_s=made.duration_s,
            size_bytes=size_bytes, network=made.network, releases_s=made.releases_s,
            goldsmith=__version__, build=made.build,
        )  # fmt: skip
        with self._directory.registry():
            result = self._recorded(record, instead_of)
            if result is record:
                record_files.record_path(self._directory.failed, key).unlink(missing_ok=True)
        return result

    def publish_flat(self, stack_id: str) -> Record:
        """Make the tree stand for the stack whose topmost layer has this id.

        Returns as `publish` does. Raises NoSpaceError.
        """
        content, size_bytes = self._written_down()
        record = Record(
            key=stack_id, own="", inputs={}, parent="", id=stack_id, content=content,
            layer=self.name, kind=FLAT, step="flatten", label="", made_s=time.time(),
            duration_s=0.0, size_bytes=size_bytes, network="none", releases_s=None,
            goldsmith=__version__,
        )  # fmt: skip
        with self._directory.registry():
            return self._recorded(record, None)

    def keep_failed(self, made: MadeStep, error: str) -> Record:
        """Keep the tree as the step left it when it failed; never a hit. Raises NoSpaceError.

        It replaces the tree of an earlier failure, and is dropped when the step succeeds.
        """
        self._sync()
        record = Record(
            key=made.key.on(made.parent), own=made.key.digest, inputs=dict(made.key.inputs),
            parent=made.parent, id="", content="", layer=self.name, kind=made.kind,
            step=made.step, label=made.label, made_s=time.time(), duration_s=made.duration_s,
            size_bytes=disk_bytes(scan(self.tree)), network=made.network,
            releases_s=made.releases_s, goldsmith=__version__, error=error or "it failed",
            build=made.build,
        )  # fmt: skip
        with self._directory.registry():
            place = self._directory.failed
            return self._recorded(record, record_files.read(place, record.key))

    def _written_down(self) -> tuple[str, int]:
        """List the tree beside it and sync both; returns its digest and what it takes."""
        found = scan(self.tree)
        listing = describe(self.tree, found, read=self.contents)
        replace_file(self.path / "listing", listing.encoded())
        self._sync()
        return listing.content, disk_bytes(found)

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with full_file_system_named(self.path):
                kernel.syncfs(fd)
        finally:
            os.close(fd)

    def _recorded(self, record: Record, instead_of: Record | None) -> Record:
        """Write the record unless another stands there; the registry is held."""
        path = record_files.path_of(self._directory, record)
        there = record_files.read(path.parent, record.key)
        if there is not None and (instead_of is None or there.layer != instead_of.layer):
            return there
        self._record_path = path
        replace_file(path, record.encoded())
        share(self._lock_fd)
        return record

    def is_published(self) -> bool:
        """Whether a record names it; looked up, as an interrupt may have come at any moment."""
        if self._record_path is None:
            return False
        try:
            return record_files.load(self._record_path).layer == self.name
        except (OSError, ValueError):
            return False


@contextmanager
def open_draft(directory: StoreDirectory) -> Iterator[Draft]:
    """A new layer, removed at the end of the block unless it was published by then.

    A published one stays in use, so that it cannot be removed, to the end of the block.
    """
    name = secrets.token_hex(6)
    path = directory.layers / name
    with full_file_system_named(directory.path):
        with directory.registry():
            path.mkdir(mode=0o700)
            lock_fd = lock_alone(path / "lock")
    if lock_fd is None:
        raise GoldsmithError(f"{path} is locked although it is new")
    draft = Draft(directory, name, lock_fd)
    try:
        yield draft
    finally:
        try:
            if not draft.is_published():
                # What cannot be removed now is garbage to the next one who collects it.
                with contextlib.suppress(GoldsmithError, OSError):
                    remove_tree(doom(path))
        finally:
            os.close(lock_fd)


def doom(path: Path) -> Path:
    """Take a layer out of the store; its lock, or the registry and its lock, must be held."""
    doomed = path.with_name(f"{DOOMED}{path.name}")
    path.rename(doomed)
    return doomed
