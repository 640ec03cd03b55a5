"""Keeping the state's guests few: what a killed maker has left, and guests of earlier recipes.

A guest takes 100 MB. Each version of goldsmith, and each suite of the host, has a recipe of its
own, so an update leaves the earlier guest behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.checks import Verdict
from goldsmith.host.journal import remove_tree, state_directory
from goldsmith.host.locks import try_lock
from goldsmith.host.process import find_tool
from goldsmith.machine.acceleration import EMULATOR
from goldsmith.machine.guest_image import host_recipe, require_guest_image
from goldsmith.machine.guest_protocol import GuestError

KEPT_S: Final = 7 * 24 * 3600.0
"""How long a guest of another recipe stays: another goldsmith may share the state meanwhile."""

_HALF_MADE: Final = ".new"


@dataclass(frozen=True, slots=True)
class SpareGuest:
    """A guest, or a part of one, that nobody will use again; and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}  ({self.reason})"


def find_spare_guests(state: Path, *, now_s: float | None = None) -> list[SpareGuest]:
    """What `remove_spare_guests` would remove; nothing while somebody makes a guest."""
    with _nobody_makes_one(state) as is_free:
        return list(_spare(state, time.time() if now_s is None else now_s)) if is_free else []


def remove_spare_guests(state: Path, *, now_s: float | None = None) -> list[str]:
    """Remove half-made guests and those of other recipes; returns what could not be removed."""
    failures = []
    with _nobody_makes_one(state) as is_free:
        if not is_free:
            return []
        for spare in list(_spare(state, time.time() if now_s is None else now_s)):
            try:
                remove_tree(spare.path)
            except GoldsmithError as e:
                failures.append(f"{spare.path}: {e}")
    return failures


@contextmanager
def _nobody_makes_one(state: Path) -> Iterator[bool]:
    """Hold the lock of those who make guests if it is free; False when it is not, or is none."""
    lock_fd: int | None = None
    with contextlib.suppress(OSError):
        lock_fd = try_lock(state / "guest" / ".lock", make=False)
    try:
        yield lock_fd is not None
    finally:
        if lock_fd is not None:
            os.close(lock_fd)


def _spare(state: Path, now_s: float) -> Iterator[SpareGuest]:
    try:
        current = host_recipe().digest()
    except GuestError:
        current = ""
    for path in sorted((state / "guest").iterdir()):
        if path.name.startswith(".") or not path.is_dir():
            continue
        if path.name.endswith(_HALF_MADE):
            yield SpareGuest(path, "a guest that was never finished")
        elif path.name != current and now_s - path.stat().st_mtime > KEPT_S:
            yield SpareGuest(path, "a guest of an earlier version or suite")


def look_at_guest() -> Verdict:
    """What `goldsmith doctor` says of the guest: only some layouts need it, so it never fails."""
    needed_by = "only RAID and LVM, and file systems without a driver here, need it"
    state = state_directory()
    if find_tool(EMULATOR) is None:
        return Verdict("warning", f"{EMULATOR} is not installed; {needed_by}",
                       "apt-get install qemu-system-x86", ("qemu-system-x86",))  # fmt: skip
    try:
        recipe = host_recipe()
        require_guest_image(state=state)
    except GoldsmithError as e:
        return Verdict("warning", f"{e}; {needed_by}", e.hint or "")
    place = state / "guest" / recipe.digest()
    if place.is_dir():
        return Verdict("ok", f"made, in {place}")
    return Verdict("ok", f"will be made of packages of {recipe.suite} when it is first needed "
                         "(60 MB of download)")  # fmt: skip
