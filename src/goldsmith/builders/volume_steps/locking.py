"""Devices are looked for and taken one build at a time."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import pause
from goldsmith.host.locks import try_lock
from goldsmith.host.signals import check_interrupted
from goldsmith.host.teardown import Handle, Teardown

_SILENT_WAIT_S: Final = 1.0
_TOLD_EVERY_S: Final = 60.0
_POLL_S: Final = 0.1
LONGEST_WAIT_S: Final = 1800.0
"""A lock is held no longer than it takes to make and attach a volume, whatever builds wait."""


@dataclass(frozen=True, slots=True)
class LockStep:
    """Takes a lock that other builds wait for; `EarlyUnlockStep` or the teardown gives it back."""

    path: Path
    teardown: Teardown
    longest_s: float = LONGEST_WAIT_S
    name: str = "lock"
    label: str = "Waiting for the turn to attach a device"

    def run(self, context: StepContext) -> Handle:
        """Wait for the lock, with a line each minute; raises GoldsmithError when it takes too long.

        The first line comes after a second.
        """
        started_s, tell_s = time.monotonic(), _SILENT_WAIT_S
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (fd := try_lock(self.path)) is None:
                check_interrupted()
                waited_s = time.monotonic() - started_s
                if waited_s >= self.longest_s:
                    raise GoldsmithError(
                        f"another build has held {self.path} for {waited_s:.0f} s",
                        hint="does it still run? `fuser -v` on that file tells which process it is",
                    )
                if waited_s >= tell_s:
                    tell_s = waited_s + _TOLD_EVERY_S
                    context.emitter.say(f"Waiting for another build that holds {self.path}")
                pause(_POLL_S)
        except OSError as e:
            raise GoldsmithError(f"cannot lock {self.path}: {e.strerror}") from e

        def unlock(held: int = fd) -> None:
            with contextlib.suppress(OSError):
                os.close(held)

        return self.teardown.defer(f"unlock {self.path}", unlock)


@dataclass(frozen=True, slots=True)
class EarlyUnlockStep:
    """Lets the next build look for a device: this one has its own."""

    lock: Handle
    name: str = "unlock"
    label: str = "Letting other builds attach devices"

    def run(self, context: StepContext) -> None:
        """Give the lock back."""
        self.lock.release()
