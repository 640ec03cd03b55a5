"""Stretches proved and written on several threads, while the caller fetches and unpacks the next.

A stretch's ranges of the block map are compared with their digests before they are written, and at
the end every range of the map must have been. A digest of the whole image, where there is one to
compare, is one chain, on a thread of its own; so are those ranges of a foreign map that are longer
than a stretch: they are known to be right only when their last byte is there.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from goldsmith.deploy.copying.images import ImageMismatch
from goldsmith.deploy.copying.stretches import Buffers, Stretch
from goldsmith.deploy.copying.target import Target
from goldsmith.disk.block_map import BlockMap, BlockMapError, BlockRange
from goldsmith.host.digests import Digest, new_digest
from goldsmith.host.parallel import cores

_LOOK_BYTES: Final = 64 << 10
"""Zeros are looked for in pieces of this size: smaller ones are not worth a write of their own."""
_ZEROS: Final = bytes(_LOOK_BYTES)
_SMALL_GAP_BYTES: Final = 64 << 10
"""Zeros between two used ranges that are written along: one write is quicker than two."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a stretch has of a range of the block map: offsets within the stretch."""

    start: int
    end: int
    found: BlockRange
    is_first: bool
    is_last: bool

    @property
    def is_whole(self) -> bool:
        return self.is_first and self.is_last


class Writing:
    """Takes the stretches of an image in order; use it as a context manager, then `finish`.

    `algorithms` are those of the digests of the whole. Errors of a thread come out of `add` or
    `finish`: ImageMismatch, TargetError.
    """

    def __init__(
        self,
        target: Target,
        buffers: Buffers,
        block_map: BlockMap | None,
        algorithms: Sequence[str],
    ) -> None:
        self._target, self._buffers, self._block_map = target, buffers, block_map
        self._parts = None if block_map is None else _Parts(block_map)
        self._digests: Mapping[str, Digest] = {name: new_digest(name) for name in algorithms}
        self._long_range = hashlib.sha256()
        self._workers = cores()
        self._chain = ThreadPoolExecutor(1, "digest")
        self._pool = ThreadPoolExecutor(self._workers, "write")
        self._under_way: deque[tuple[Stretch, list[Future[int]]]] = deque()
        self._proved_ranges = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in (self._chain, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)

    def add(self, stretch: Stretch) -> None:
        """Prove and write a stretch, some time from now."""
        parts = None if self._parts is None else self._parts.within(stretch)
        long = [part for part in parts or () if not part.is_whole]
        if parts is None:
            futures = [self._pool.submit(self._write_all, stretch)]
        else:
            futures = [self._pool.submit(self._write_mapped, stretch, parts)]
        if self._digests or long:
            futures.append(self._chain.submit(self._follow, stretch, long))
        self._under_way.append((stretch, futures))
        if len(self._under_way) > 2 * self._workers:
            self._finish_oldest()

    def finish(self) -> Mapping[str, str]:
        """Wait for all; returns the digests of the whole. Every range of the map is proved then."""
        while self._under_way:
            self._finish_oldest()
        if self._block_map is not None and self._proved_ranges != len(self._block_map.ranges):
            raise ImageMismatch("the image ends before its block map does")
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def _finish_oldest(self) -> None:
        stretch, futures = self._under_way.popleft()
        self._proved_ranges += sum(future.result() for future in futures)
        self._buffers.give_back(stretch)

    def _follow(self, stretch: Stretch, long: Sequence[_Part]) -> int:
        """The digests that are one chain over several stretches; returns the ranges proved."""
        data, proved = stretch.data, 0
        for digest in self._digests.values():
            digest.update(data)
        for part in long:
            if part.is_first:
                self._long_range = hashlib.sha256()
            self._long_range.update(data[part.start : part.end])
            if part.is_last:
                if self._long_range.hexdigest() != part.found.sha256:
                    raise _wrong(part.found)
                proved += 1
        return proved

    def _write_all(self, stretch: Stretch) -> int:
        target, data = self._target, stretch.data
        if stretch.buffer is None:
            target.zero(stretch.offset, stretch.length)
            return 0
        runs = _data_runs(data) if target.reads_zeros else [(0, stretch.length)]
        for start, end in runs:
            target.write(stretch.offset + start, data[start:end])
        return 0

    def _write_mapped(self, stretch: Stretch, parts: Sequence[_Part]) -> int:
        """Prove all ranges and that nothing is between them, then write; returns how many."""
        data, target = stretch.data, self._target
        assert self._block_map is not None
        for part in parts:
            if part.is_whole:
                try:
                    self._block_map.check_range(part.found, data[part.start : part.end])
                except BlockMapError as e:
                    raise _wrong(part.found) from e
        if stretch.buffer is not None and not stretch.has_own_gaps:
            ends = [0, *(part.end for part in parts)]
            starts = [*(part.start for part in parts), stretch.length]
            for end, start in zip(ends, starts, strict=True):
                _require_zeros(data, end, start, stretch.offset)
        end = 0
        for start, stop in _joined(parts):
            target.zero(stretch.offset + end, start - end)
            target.write(stretch.offset + start, data[start:stop])
            end = stop
        target.zero(stretch.offset + end, stretch.length - end)
        return sum(part.is_whole for part in parts)


def _joined(parts: Sequence[_Part]) -> Iterator[tuple[int, int]]:
    """Parts with small gaps between them as one: what is in the gaps is known to be zeros."""
    runs: list[tuple[int, int]] = []
    for part in parts:
        if runs and part.start - runs[-1][1] <= _SMALL_GAP_BYTES:
            runs[-1] = (runs[-1][0], part.end)
        else:
            runs.append((part.start, part.end))
    return iter(runs)


def _wrong(found: BlockRange) -> ImageMismatch:
    return ImageMismatch(
        f"blocks {found.numbers} of the image are not those of its block map",
        hint="the image was damaged on its way, or is another one: fetch image and map again",
    )


def _require_zeros(data: memoryview, start: int, end: int, offset: int) -> None:
    """Raise unless there is nothing where the map has no blocks: the target has zeros there."""
    for at in range(start, end, _LOOK_BYTES):
        count = min(_LOOK_BYTES, end - at)
        if bytes(data[at : at + count]) != (_ZEROS if count == _LOOK_BYTES else bytes(count)):
            raise ImageMismatch(
                f"the image has data after byte {offset + at}, where its block map has none",
                hint="image and block map do not belong together: fetch both again",
            )


def _data_runs(data: memoryview) -> Iterator[tuple[int, int]]:
    """The pieces that are not all zeros, those in a row as one."""
    begun: int | None = None
    for at in range(0, len(data), _LOOK_BYTES):
        piece = bytes(data[at : at + _LOOK_BYTES])
        if piece == (_ZEROS if len(piece) == _LOOK_BYTES else bytes(len(piece))):
            if begun is not None:
                yield begun, at
            begun = None
        elif begun is None:
            begun = at
    if begun is not None:
        yield begun, len(data)


class _Parts:
    """Cuts the ranges of a map at the ends of stretches, which must come in order."""

    def __init__(self, block_map: BlockMap) -> None:
        self._map = block_map
        self._left = deque(block_map.ranges)

    def within(self, stretch: Stretch) -> list[_Part]:
        parts = []
        while self._left:
            found = self._left[0]
            start, length = self._map.stretch(found)
            if start >= stretch.end:
                break
            end = start + length
            first, last = start >= stretch.offset, end <= stretch.end
            start, end = max(start, stretch.offset), min(end, stretch.end)
            offset = stretch.offset
            parts.append(_Part(start - offset, end - offset, found, first, last))
            if not last:
                break
            self._left.popleft()
        return parts
