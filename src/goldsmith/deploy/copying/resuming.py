"""One stream of bytes out of several mirrors that may break, stall, or lie.

After a break it goes on where it was, on the next mirror if there is one. Bytes of two mirrors are
put together only if digests will tell whether that was right; on one mirror the server must say
that it still has the same version. A server that ignores ranges is read again from the start.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from goldsmith.deploy.copying.images import CopyError, CopyLimits
from goldsmith.deploy.copying.sources import Opening, Source, SourceChanged, SourceError
from goldsmith.errors import TimeLimitReached
from goldsmith.host.cancellation import check_cancelled, pause
from goldsmith.host.digests import Digest
from goldsmith.units import format_size

_SLOWEST_BYTES_PER_S: Final = 1024
_PROGRESS_BYTES: Final = 1 << 20
"""So much of news makes earlier failures count no longer."""
_SKIPPED_READING_BYTES: Final = 4 << 20
"""Up to here reading on is quicker than another request."""
_LONGEST_PAUSE_S: Final = 30.0


class NoSource(CopyError):
    """No mirror has the file; the message has what each of them said."""


class ResumingStream(io.RawIOBase):
    """The bytes of a file, from its first to its last one; `readinto` returns 0 at the end only.

    `expected_bytes` is the size that the file must have, if that is known. `is_proven` says that
    digests will be compared. `digest` is fed with every byte. `warn` is told of each break.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        limits: CopyLimits,
        *,
        expected_bytes: int | None = None,
        is_proven: bool = False,
        digest: Digest | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.at = 0
        self.total_bytes = expected_bytes
        self.used: list[Source] = []
        """The mirrors that bytes have come from."""
        self.was_broken = False
        """Whether any of them has failed."""
        self._expected_bytes = expected_bytes
        self._ring = list(sources)
        self._limits = limits
        self._is_proven = is_proven
        self._digest = digest
        self._warn = warn
        self._opening: Opening | None = None
        self._tags: dict[int, str] = {}
        self._said: dict[str, SourceError] = {}
        self._failures = 0
        self._failed_at = -_PROGRESS_BYTES
        self._started_s = time.monotonic()
        self._window = (0, 0.0)

    def begin(self) -> None:
        """Ask the first mirror that answers: `total_bytes` is known afterwards, if it ever is."""
        while self._opening is None:
            try:
                self._open()
            except SourceError as e:
                self._fail(e)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a part of the buffer; raises NoSource, SourceChanged, TimeLimitReached."""
        view = memoryview(buffer).cast("B")
        while self.total_bytes is None or self.at < self.total_bytes:
            check_cancelled()
            try:
                count = self._read(view)
            except SourceError as e:
                self._fail(e)
                continue
            if count:
                return count
            if self.total_bytes is None:
                break
        return 0

    def skip(self, count: int) -> None:
        """Leave bytes out that nobody needs; at most to the end, whose place must be known."""
        to = self.at + count
        if self._opening is not None and self._opening.seek is not None:
            self._opening.seek(to)
            self.at = to
        elif count > _SKIPPED_READING_BYTES:
            self._hang_up()
            self.at = to
        else:
            buffer = memoryview(bytearray(min(count, _PROGRESS_BYTES)))
            while self.at < to and self.readinto(buffer[: to - self.at]):
                pass
        self._failed_at = min(self._failed_at, self.at - count)

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.close()

    def _read(self, view: memoryview) -> int:
        """Read a piece; 0 is the end of a file whose size nobody knows."""
        if self._opening is None:
            self._open()
        assert self._opening is not None
        if self.total_bytes is not None:
            view = view[: self.total_bytes - self.at]
        count = self._opening.read_into(view)
        if not count:
            if self.total_bytes is None:
                return 0
            raise SourceError(
                f"{self._ring[0].shown} ended {self.total_bytes - self.at} bytes too early",
                is_passing=True,
            )
        self._check_pace(self.at + count)
        self.at += count
        if self._digest is not None:
            self._digest.update(view[:count])
        if self._ring[0] not in self.used:
            self.used.append(self._ring[0])
        if self.at - self._failed_at >= _PROGRESS_BYTES:
            self._failures = 0
        return count

    def _open(self) -> None:
        source = self._ring[0]
        opening = source.open(self.at, self._tags.get(id(source), "") if self.at else "")
        try:
            self._check(source, opening)
            self._window = (self.at, time.monotonic())
            self._advance(source, opening)
        except BaseException:
            opening.close()
            raise
        self._opening = opening

    def _check(self, source: Source, opening: Opening) -> None:
        """Raise unless this is the file that was begun, or may be it."""
        known = self._tags.setdefault(id(source), opening.tag)
        if self.at and known and opening.tag and known != opening.tag:
            raise SourceChanged(f"{source.shown} was changed while it was read")
        if self.at and not self._is_proven and not (known and opening.tag):
            raise SourceError(f"{source.shown} broke off, and does not tell whether it has the "
                              "same file still",
                              hint="give the digest of the file, or begin again")  # fmt: skip
        if opening.total_bytes is None:
            return
        wanted = self.total_bytes if self._expected_bytes is None else self._expected_bytes
        if wanted is not None and opening.total_bytes != wanted:
            raise SourceError(f"{source.shown} has {opening.total_bytes} bytes, not {wanted}")
        self.total_bytes = opening.total_bytes

    def _advance(self, source: Source, opening: Opening) -> None:
        """Read again, to nobody, what stands before our place in an answer."""
        left = self.at - opening.starts_at
        if left:
            self._warn(f"{source.shown} sends the file from its start again: "
                       f"{format_size(left)} are passed over")  # fmt: skip
        buffer = memoryview(bytearray(min(left, _PROGRESS_BYTES)))
        while left:
            check_cancelled()
            count = opening.read_into(buffer[:left])
            if not count:
                raise SourceError(f"{source.shown} ended before byte {self.at}", is_passing=True)
            left -= count
            self._check_pace(self.at - left)

    def _check_pace(self, at: int) -> None:
        """Raise when a connection is alive in name only, or all of it takes too long."""
        now_s = time.monotonic()
        self._check_total(self._ring[0])
        start, since_s = self._window
        if now_s - since_s < self._limits.stall_s:
            return
        if at - start < _SLOWEST_BYTES_PER_S * (now_s - since_s):
            raise SourceError(
                f"{self._ring[0].shown} sent {at - start} bytes in {now_s - since_s:.0f} s",
                is_passing=True,
            )
        self._window = (at, now_s)

    def _check_total(self, source: Source) -> None:
        total_s = self._limits.total_s
        if total_s is not None and time.monotonic() - self._started_s > total_s:
            raise TimeLimitReached(f"{source.shown}: the copy takes longer than {total_s:g} s")

    def _fail(self, error: SourceError) -> None:
        """Choose who is asked next, after a pause if all were; raises when there is nobody."""
        self._hang_up()
        source = self._ring.pop(0)
        self._said[source.shown] = error
        if isinstance(error, SourceChanged) and self.at:
            raise error
        if error.is_passing:
            self._ring.append(source)
            self._failures += 1
        if self.at and not self._is_proven:
            # Another mirror may have another version, and nothing would tell.
            self._ring = [one for one in self._ring if one in self.used]
        self._failed_at = self.at
        self.was_broken = True
        rounds, place = divmod(self._failures, max(len(self._ring), 1))
        if not self._ring or rounds > self._limits.rounds:
            raise self._nobody() from error
        self._check_total(source)
        self._warn(f"{error}; going on at {format_size(self.at)} with {self._ring[0].shown}")
        if error.is_passing and place == 0:
            pause(min(_LONGEST_PAUSE_S, self._limits.pause_s * 2.0 ** (rounds - 1)))

    def _nobody(self) -> NoSource:
        hints = [error.hint for error in self._said.values() if error.hint]
        return NoSource("\n".join(map(str, self._said.values())), hint=hints[0] if hints else None)
