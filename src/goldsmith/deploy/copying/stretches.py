"""An image as stretches of at most 8 MiB, in order, in buffers that are used again."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.disk.block_map import STRETCH_BYTES, BlockMap
from goldsmith.host.sparse import data_extents

ZEROS: Final = memoryview(bytes(STRETCH_BYTES))

Extents = Iterator[tuple[int, int]]
"""Where data lies: offset and length, in order."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of an image; without a buffer it is all zeros.

    `has_own_gaps` says that what lies between the extents was never read: it was made zeros here.
    """

    offset: int
    length: int
    buffer: mmap.mmap | None
    has_own_gaps: bool = False

    @property
    def end(self) -> int:
        """The offset of the byte after the last one."""
        return self.offset + self.length

    @property
    def data(self) -> memoryview:
        """Its bytes."""
        return (
            ZEROS[: self.length] if self.buffer is None else memoryview(self.buffer)[: self.length]
        )


class Buffers:
    """Buffers of a stretch each, aligned to pages as O_DIRECT wants them.

    Whoever takes the stretch gives its buffer back when all are done with it.
    """

    def __init__(self) -> None:
        self._free: SimpleQueue[mmap.mmap] = SimpleQueue()

    def take(self) -> mmap.mmap:
        """A buffer; what is in it is of no meaning."""
        if self._free.empty():
            return mmap.mmap(-1, STRETCH_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return self._free.get()

    def give_back(self, stretch: Stretch) -> None:
        """Let the stretch's buffer be taken again."""
        if stretch.buffer is not None:
            self._free.put(stretch.buffer)


def stretches_of_reader(
    read_into: Callable[[memoryview], int], buffers: Buffers
) -> Iterator[Stretch]:
    """An image of unknown size; `read_into` fills a part of a buffer, and returns 0 at the end."""
    offset, count = 0, 1
    while count:
        buffer, filled = buffers.take(), 0
        view = memoryview(buffer)
        while filled < STRETCH_BYTES and (count := read_into(view[filled:])):
            filled += count
        if filled:
            yield Stretch(offset, filled, buffer)
        offset += filled


def stretches_of_stream(
    stream: ResumingStream, size_bytes: int, extents: Extents, buffers: Buffers
) -> Iterator[Stretch]:
    """A raw image of which only the given extents are read: the rest is zeros.

    Raises EOFError when the stream ends before the image does.
    """
    extent = next(extents, None)
    for offset in range(0, size_bytes, STRETCH_BYTES):
        length = min(STRETCH_BYTES, size_bytes - offset)
        buffer: mmap.mmap | None = None
        done = 0
        while extent is not None and extent[0] < offset + length:
            start = max(extent[0] - offset, 0)
            end = min(sum(extent) - offset, length)
            if end > start:
                buffer = buffer or buffers.take()
                view = memoryview(buffer)
                view[done:start] = ZEROS[: start - done]
                _fill(stream, offset + start, view[start:end])
                done = end
            if sum(extent) > offset + length:
                break
            extent = next(extents, None)
        if buffer is not None:
            memoryview(buffer)[done:length] = ZEROS[: length - done]
        yield Stretch(offset, length, buffer, has_own_gaps=True)


def _fill(stream: ResumingStream, at: int, view: memoryview) -> None:
    if at > stream.at:
        stream.skip(at - stream.at)
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError(f"the image ends at byte {stream.at}")
        view = view[count:]


def mapped_extents(block_map: BlockMap) -> Extents:
    """The used blocks of a map."""
    return (block_map.stretch(found) for found in block_map.ranges)


def extents_of_file(path: str) -> Extents:
    """The data of a sparse file."""
    with open(path, "rb", buffering=0) as stream:
        yield from data_extents(stream.fileno())
