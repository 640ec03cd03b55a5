"""Waiting for what AWS makes: polls that start fast and back off, within the user's bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from goldsmith.cloud.access_options import Polling
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import pause
from goldsmith.host.signals import check_interrupted

_FIRST_PAUSE_S: Final = 0.2
_GROWTH: Final = 1.6
_SEEN_WITHIN_S: Final = 120.0
"""What was just made may not be known everywhere at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The longest pause between two looks, and how long is waited altogether."""

    pause_s: float
    total_s: float


VOLUME: Final = Patience(15.0, 15.0 * 40)
ATTACHMENT: Final = Patience(5.0, 5.0 * 40)
SNAPSHOT: Final = Patience(15.0, 15.0 * 120)
IMAGE: Final = Patience(15.0, 15.0 * 120)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How patient a build is: `aws_polling`, then the environment, then what suits the thing."""

    delay_s: float | None = None
    attempts: int | None = None

    @classmethod
    def of(cls, polling: Polling | None, environment: Mapping[str, str]) -> Waiting:
        """Read both; raises GoldsmithError for a variable that holds no number."""
        delay_s = _number(environment, "AWS_POLL_DELAY_SECONDS")
        attempts = _number(environment, "AWS_MAX_ATTEMPTS")
        timeout_s = _number(environment, "AWS_TIMEOUT_SECONDS")
        if attempts is None and timeout_s is not None:
            delay_s = delay_s or 2
            attempts = max(1, timeout_s // delay_s)
        if polling is not None:
            delay_s = polling.delay_seconds or delay_s
            attempts = polling.max_attempts or attempts
        return cls(delay_s, attempts)

    def patience(self, usual: Patience) -> Patience:
        """What is waited for one thing."""
        pause_s = self.delay_s or usual.pause_s
        attempts = self.attempts or usual.total_s / usual.pause_s
        return Patience(pause_s, pause_s * attempts)

    def until(self, usual: Patience, what: str, look: Callable[[], tuple[str, bool]]) -> None:
        """Look until it says that all is well; raises GoldsmithError when that takes too long.

        `look` returns the state in AWS's words and whether that is what is waited for, and raises
        for a state from which nothing gets well. The first look is at once.
        """
        patience = self.patience(usual)
        started_s, pause_s, state = time.monotonic(), _FIRST_PAUSE_S, ""
        while True:
            check_interrupted()
            waited_s = time.monotonic() - started_s
            try:
                state, ready = look()
                if ready:
                    return
            except AwsError as e:
                if not e.is_absence or waited_s > _SEEN_WITHIN_S:
                    raise
                state = "not known yet"
            if waited_s >= patience.total_s:
                raise GoldsmithError(
                    f"{what} is still {state} after {waited_s:.0f} s",
                    hint="raise max_attempts or delay_seconds of aws_polling if that is usual",
                )
            left_s = patience.total_s - waited_s
            pause(max(0.01, min(pause_s, patience.pause_s, left_s)))
            pause_s *= _GROWTH


def _number(environment: Mapping[str, Any], name: str) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not str(text).isdecimal():
        raise GoldsmithError(f"{name} is {text!r}", hint="it is a whole number")
    return int(text) or None
