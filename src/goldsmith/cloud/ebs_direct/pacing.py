"""How fast blocks are asked for: no faster than the service's quota, and slower when it says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PER_SECOND: Final = 1000.0
"""Puts, and likewise gets, of one snapshot in a second: a quota that cannot be raised."""

_BURST_S: Final = 0.1
_SLOWEST: Final = 8.0
_CUT: Final = 0.7
_CUT_AT_MOST_EVERY_S: Final = 1.0
_RECOVERS_IN_S: Final = 20.0


class Pacer:
    """Gives out turns for many threads; a throttled call slows all of them down.

    However many calls are refused at once, the rate is cut once a second at most: what is refused
    now was asked for at the old rate. It grows back to the full one in 20 s.
    """

    def __init__(
        self, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._full = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = per_second
        self._next_s = self._changed_s = self._cut_s = clock() - _CUT_AT_MOST_EVERY_S

    @property
    def rate(self) -> float:
        """Turns a second now."""
        with self._lock:
            self._recover(self._clock())
            return self._rate

    def turn_s(self) -> float:
        """Take the next turn; returns how many seconds to wait for it."""
        with self._lock:
            now_s = self._clock()
            self._recover(now_s)
            turn_s = max(self._next_s, now_s - _BURST_S)
            self._next_s = turn_s + 1.0 / self._rate
            return max(0.0, turn_s - now_s)

    def throttled(self) -> None:
        """A call was refused as too many."""
        with self._lock:
            now_s = self._clock()
            self._recover(now_s)
            if now_s - self._cut_s >= _CUT_AT_MOST_EVERY_S:
                self._cut_s = now_s
                self._rate = max(min(_SLOWEST, self._full), self._rate * _CUT)

    def _recover(self, now_s: float) -> None:
        gained = self._full / _RECOVERS_IN_S * (now_s - self._changed_s)
        self._rate = min(self._full, self._rate + max(0.0, gained))
        self._changed_s = now_s
