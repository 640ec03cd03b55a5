"""Writes compressed qcow2 images on all cores; the bytes do not depend on how many there are.

`qemu-img convert -c` compresses on one core, or with -W in an order that differs from run to run.
Here clusters are compressed in batches on threads and take their places in order: what lies in the
file follows from the raw image alone. Source: QEMU's docs/interop/qcow2.txt, version 3.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal

from goldsmith.disk.block_map import mapped_stretches
from goldsmith.disk.clusters_ahead import ClustersAhead
from goldsmith.disk.containers import read_stretch
from goldsmith.disk.qcow2_clusters import (
    CLUSTER_BITS,
    CLUSTER_BYTES,
    ZEROS,
    ZSTD_LEVEL,
    Packing,
)
from goldsmith.host.parallel import cores
from goldsmith.host.sparse import OnBytes

_ENTRIES: Final = CLUSTER_BYTES // 8
"""How many clusters a table of the second level knows."""
_COUNTS: Final = CLUSTER_BYTES // 2
"""How many clusters a block of reference counts of 16 bits knows."""
_SECTOR_BITS: Final = 9
_COPIED: Final = 1 << 63
_COMPRESSED: Final = 1 << 62
_SECTORS_SHIFT: Final = 62 - (CLUSTER_BITS - 8)
_OTHER_COMPRESSION: Final = 1 << 3
"""The incompatible feature of images whose compression is not zlib; QEMU 5.1 and later."""
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQIIB7x")
_WRITTEN_AT_ONCE_BYTES: Final = 4 << 20

Pack = Callable[[int, bytes], bytes]
"""Makes of a cluster, with its number, what lies in the file."""
Clusters = Sequence[bytes | None]
"""What a stretch becomes, cluster by cluster: None for zeros; a whole cluster stays as it is."""


def write_qcow2(
    image: Path,
    target: Path,
    *,
    compression: str = "zstd",
    level: int = ZSTD_LEVEL,
    on_bytes: OnBytes | None = None,
    threads: int | None = None,
    is_new: bool = True,
    is_synced: bool = True,
    ahead: ClustersAhead | None = None,
) -> None:
    """Write a raw image as compressed qcow2 under a new name; `compression` zstd or zlib.

    `level` is zstd's. Uses all cores, or `threads`; memory is bounded by some 40 MiB for each.
    Without `is_new` a file that is there is written over, without `is_synced` nobody has told the
    disk to keep it. What of it is `ahead` is taken from there, and no more put there; the bytes are
    the same. Raises FileExistsError and OSError; what was begun stays.
    """
    packing = Packing(compression, level)
    number = packing.number
    if ahead is not None:
        ahead.stop()
    mode: Literal["xb", "wb"] = "xb" if is_new else "wb"
    with open(image, "rb", buffering=0) as source, open(target, mode, buffering=0) as file:
        size_bytes = os.fstat(source.fileno()).st_size
        writing = _Writing(file, -(-size_bytes // 512) * 512)
        pack = _pack(packing, ahead)
        for offset, clusters in _compressed(image, source, size_bytes, pack, threads):
            writing.add(offset, clusters)
            if on_bytes is not None:
                on_bytes(offset, size_bytes)
        writing.finish(number)
        if is_synced:
            os.fsync(file.fileno())
    if on_bytes is not None:
        on_bytes(size_bytes, size_bytes)


def _pack(packing: Packing, ahead: ClustersAhead | None) -> Pack:
    if ahead is not None and ahead.packing == packing:
        return ahead.pack
    return lambda _, cluster: packing.pack(cluster)


def _compressed(
    image: Path, source: BinaryIO, size_bytes: int, pack: Pack, threads: int | None
) -> Iterator[tuple[int, Clusters]]:
    """Each stretch of the image that is mapped, in order: where it starts, and its clusters."""
    workers = threads or cores()
    under_way: deque[tuple[int, Future[Clusters]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for offset, length, used in mapped_stretches(source.fileno(), size_bytes):
                if not used:
                    continue
                data = bytearray(-(-length // CLUSTER_BYTES) * CLUSTER_BYTES)
                read_stretch(source.fileno(), memoryview(data)[:length], offset, used, image)
                under_way.append((offset, pool.submit(_clusters, offset, data, pack)))
                if len(under_way) > 2 * workers:
                    start, made = under_way.popleft()
                    yield start, made.result()
            while under_way:
                start, made = under_way.popleft()
                yield start, made.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _clusters(offset: int, data: bytearray, pack: Pack) -> Clusters:
    found: list[bytes | None] = []
    view = memoryview(data)
    for start in range(0, len(data), CLUSTER_BYTES):
        cluster = bytes(view[start : start + CLUSTER_BYTES])
        number = offset + start >> CLUSTER_BITS
        found.append(None if cluster == ZEROS else pack(number, cluster))
    return found


@dataclass(slots=True)
class _Writing:
    """A file in the making: data from its second cluster on, then the tables, the header last."""

    file: BinaryIO
    size_bytes: int
    at: int = CLUSTER_BYTES
    """Where the next data goes."""
    counts: array[int] = field(default_factory=lambda: array("H", [1]))
    """How often each cluster of the file is in use; the header's comes first."""
    tables: dict[int, array[int]] = field(default_factory=dict)
    """The tables of the second level that are needed, by their number."""
    _pending: bytearray = field(default_factory=bytearray)
    _written: int = CLUSTER_BYTES

    def add(self, offset: int, clusters: Clusters) -> None:
        """Append the clusters of a stretch that starts at `offset` of the disk."""
        for number, cluster in enumerate(clusters, offset >> CLUSTER_BITS):
            if cluster is None:
                continue
            table = self.tables.setdefault(number // _ENTRIES, array("Q", bytes(8 * _ENTRIES)))
            table[number % _ENTRIES] = self._place(cluster)
        if len(self._pending) >= _WRITTEN_AT_ONCE_BYTES:
            self._flush()

    def _place(self, cluster: bytes) -> int:
        """Append one cluster; returns its entry."""
        if len(cluster) == CLUSTER_BYTES:
            self._align()
            entry = self.at | _COPIED
            last = self.at
        else:
            more = (self.at + len(cluster) - 1 >> _SECTOR_BITS) - (self.at >> _SECTOR_BITS)
            entry = self.at | _COMPRESSED | more << _SECTORS_SHIFT
            last = self.at + len(cluster) - 1
        self._count(self.at, last)
        self._append(cluster)
        return entry

    def _count(self, first: int, last: int) -> None:
        self.counts.extend([0] * ((last >> CLUSTER_BITS) + 1 - len(self.counts)))
        for number in range(first >> CLUSTER_BITS, (last >> CLUSTER_BITS) + 1):
            self.counts[number] += 1

    def _append(self, data: bytes) -> None:
        self._pending += data
        self.at += len(data)

    def _align(self) -> None:
        self._append(bytes(-self.at % CLUSTER_BYTES))

    def _flush(self) -> None:
        view = memoryview(self._pending)
        while view:
            done = os.pwrite(self.file.fileno(), view, self._written)
            self._written += done
            view = view[done:]
        view.release()
        self._pending.clear()

    def _table(self, entries: array[int], *, least: int = 0) -> int:
        """Append a table in whole clusters, at least so many; returns where it starts."""
        self._align()
        if sys.byteorder == "little":
            entries.byteswap()
        start, data = self.at, entries.tobytes()
        clusters = max(-(-len(data) // CLUSTER_BYTES), least)
        if clusters:
            self._count(start, start + clusters * CLUSTER_BYTES - 1)
        self._append(data.ljust(clusters * CLUSTER_BYTES, b"\0"))
        return start

    def finish(self, compression: int) -> None:
        """Append the tables, and write the header."""
        first = array("Q", bytes(8 * -(-self.size_bytes // (CLUSTER_BYTES * _ENTRIES))))
        for number in sorted(self.tables):
            first[number] = self._table(self.tables[number]) | _COPIED
        entries, first_at = len(first), self._table(first, least=1)
        table_at, table_clusters = self._write_counts()
        self._flush()
        header = _HEADER.pack(
            b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, self.size_bytes, 0, entries, first_at, table_at,
            table_clusters, 0, 0, _OTHER_COMPRESSION if compression else 0, 0, 0, 4,
            _HEADER.size, compression,
        )  # fmt: skip
        os.pwrite(self.file.fileno(), header.ljust(CLUSTER_BYTES, b"\0"), 0)

    def _write_counts(self) -> tuple[int, int]:
        """Append the reference counts, their own included; returns their table's place and size."""
        used, blocks, clusters = self.at >> CLUSTER_BITS, 0, 0
        while blocks * _COUNTS < used + blocks + clusters:
            blocks = -(-(used + blocks + clusters) // _COUNTS)
            clusters = -(-blocks * 8 // CLUSTER_BYTES)
        self._count(self.at, self.at + (blocks + clusters) * CLUSTER_BYTES - 1)
        table = array("Q", [self.at + number * CLUSTER_BYTES for number in range(blocks)])
        for data in (self.counts, table):
            if sys.byteorder == "little":
                data.byteswap()
        self._append(self.counts.tobytes().ljust(blocks * CLUSTER_BYTES, b"\0"))
        table_at = self.at
        self._append(table.tobytes().ljust(clusters * CLUSTER_BYTES, b"\0"))
        return table_at, clusters
