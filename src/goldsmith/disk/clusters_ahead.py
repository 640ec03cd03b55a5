"""Clusters of a raw image that are compressed for its qcow2 while the image is still being filled.

mkfs fills a file system on one core: beside it a thread follows the image, and compresses what is
mapped. Anything may still change, so each packed cluster is kept with the SHA-256 of the bytes that
it was made of, and the writer, which reads the finished image as ever, takes it for the same bytes
only. So the file does not depend on what was ahead, and whatever goes wrong here costs time alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from goldsmith.disk.qcow2_clusters import CLUSTER_BITS, CLUSTER_BYTES, ZEROS, Packing
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.parallel import beside, cores
from goldsmith.host.sparse import data_extents

_LOOK_S: Final = 0.03
"""How often it looks for what is mapped; mkfs writes some 10 MiB meanwhile."""
_DIGEST_BYTES: Final = 32
_MOST_CLUSTERS: Final = 1 << 18
"""16 GiB; where each lies in the file takes 200 bytes of memory."""


class ClustersAhead:
    """The clusters that are packed by now, in a file without a name; any thread may ask for them.

    Made by `clusters_ahead`.
    """

    def __init__(self, image: Path, packing: Packing, kept: IO[bytes], files: int) -> None:
        self.packing = packing
        self._image = image
        self._kept = kept
        self._files = files
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._stopped = threading.Event()

    def __len__(self) -> int:
        """How many clusters there are."""
        return len(self._places)

    def stop(self) -> None:
        """Compress no more: from here on the cores are for those who write."""
        self._stopped.set()

    def pack(self, number: int, cluster: bytes) -> bytes:
        """What `packing` makes of a cluster of the finished image, by its number."""
        place = self._places.get(number)
        if place is not None:
            at, length = place
            with contextlib.suppress(OSError):
                entry = os.pread(self._kept.fileno(), length, at)
                # Shorter is one that was given up meanwhile.
                if len(entry) == length and entry.startswith(hashlib.sha256(cluster).digest()):
                    return entry[_DIGEST_BYTES:]
        return self.packing.pack(cluster)

    def follow(self) -> None:
        """Compress what is mapped in the image, as soon as that is there, until `stop`."""
        try:
            while self._goes_on(_LOOK_S):
                with contextlib.suppress(FileNotFoundError), open(self._image, "rb") as image:
                    self._follow(image.fileno())
        except Exception:
            # Also Interrupted. Whatever it is, the writer can do it all, or finds it out itself.
            self._give_up()

    def _follow(self, fd: int) -> None:
        size_bytes = os.fstat(fd).st_size
        seen = bytearray(size_bytes >> CLUSTER_BITS)
        mapped: list[tuple[int, int]] = []
        looked_s = 0.0
        while size_bytes and self._goes_on(looked_s + _LOOK_S - time.monotonic()):
            # What was mapped at the last look is written by now, if it is not metadata.
            mapped, settled, looked_s = list(data_extents(fd)), mapped, time.monotonic()
            for start, length in settled:
                first, end = -(-start >> CLUSTER_BITS), start + length >> CLUSTER_BITS
                number = seen.find(0, first, end)
                while number >= 0:
                    if not self._goes_on() or not self._has_room(size_bytes):
                        self.stop()
                        return
                    seen[number] = 1
                    self._keep(number, os.pread(fd, CLUSTER_BYTES, number << CLUSTER_BITS))
                    number = seen.find(0, number + 1, end)

    def _goes_on(self, wait_s: float = 0) -> bool:
        """Whether to compress more after a while; raises Interrupted when nobody wants it."""
        check_cancelled()
        return not self._stopped.wait(wait_s)

    def _has_room(self, size_bytes: int) -> bool:
        """Whether the rest of the image, and all files of it, would still find room."""
        there = os.fstatvfs(self._kept.fileno())
        free_bytes = there.f_bavail * there.f_frsize
        return len(self) < _MOST_CLUSTERS and free_bytes > size_bytes * (1 + self._files)

    def _keep(self, number: int, cluster: bytes) -> None:
        if len(cluster) < CLUSTER_BYTES or cluster == ZEROS:
            return
        entry = hashlib.sha256(cluster).digest() + self.packing.pack(cluster)
        if os.pwrite(self._kept.fileno(), entry, self._end) < len(entry):
            raise OSError("the file system is full")
        self._places[number] = self._end, len(entry)
        self._end += len(entry)

    def _give_up(self) -> None:
        self._places.clear()
        with contextlib.suppress(OSError):
            os.ftruncate(self._kept.fileno(), 0)


@contextmanager
def clusters_ahead(
    image: Path, scratch: Path, packing: Packing, *, files: int = 1
) -> Iterator[ClustersAhead | None]:
    """Follow an image that will be made in the block, to write it as qcow2 there.

    None where there is but one core, or no place in `scratch` for a file; so many `files` will be
    made of the image. The thread has ended when the block is left.
    """
    ahead: ClustersAhead | None = None
    with ExitStack() as stack:
        with contextlib.suppress(OSError, RuntimeError):
            if cores() > 1:
                kept = stack.enter_context(tempfile.TemporaryFile(dir=scratch, buffering=0))
                begun = ClustersAhead(image, packing, kept, files)
                stack.enter_context(beside(begun.follow))
                ahead = begun
        yield ahead
