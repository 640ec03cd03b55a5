"""Packs the clusters of qcow2: what becomes of one depends on its bytes and the packing alone."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import Final

CLUSTER_BITS: Final = 16
CLUSTER_BYTES: Final = 1 << CLUSTER_BITS
ZEROS: Final = bytes(CLUSTER_BYTES)
ZSTD_LEVEL: Final = 3
ZLIB_LEVEL: Final = 6
ZLIB_WINDOW_BITS: Final = -12
"""QEMU decompresses without a header and with a window of 4 KiB (block/qcow2-threads.c)."""

_TYPES: Final = {"zlib": 0, "zstd": 1}

_of_this_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Packing:
    """How clusters are compressed: zstd or zlib; `level` is zstd's."""

    compression: str = "zstd"
    level: int = ZSTD_LEVEL

    @property
    def number(self) -> int:
        """The number of the compression in the header; raises KeyError for another one."""
        return _TYPES[self.compression]

    def pack(self, cluster: bytes) -> bytes:
        """A cluster compressed, or as it is where that is not smaller; on any thread."""
        packed = _zlib(cluster) if self.compression == "zlib" else _zstd(cluster, self.level)
        return packed if len(packed) < CLUSTER_BYTES else cluster


def _zstd(cluster: bytes, level: int) -> bytes:
    import zstandard

    # A context has some MiB of tables, and belongs to one thread at a time.
    context: zstandard.ZstdCompressor | None = getattr(_of_this_thread, f"zstd{level}", None)
    if context is None:
        context = zstandard.ZstdCompressor(level=level)
        setattr(_of_this_thread, f"zstd{level}", context)
    return context.compress(cluster)


def _zlib(cluster: bytes) -> bytes:
    packing = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, ZLIB_WINDOW_BITS)
    return packing.compress(cluster) + packing.flush()
