"""How far APT and dpkg are, from the lines that they print for people.

mmdebstrap takes APT's and dpkg's status descriptors for itself, and shows what comes out of them on
a terminal only; with `--verbose` it passes on what they print. Written for APT 2.6 and dpkg 1.21.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_PLAN: Final = re.compile(r"(\d+) upgraded, (\d+) newly installed, ")
_NEED: Final = re.compile(r"Need to get ([\d.,]+) ([kMGT]?B)[ /]")
_GET: Final = re.compile(r"Get:\d+ .* \[([\d.,]+) ([kMGT]?B)\]$")
_STEP: Final = re.compile(r"(Unpacking|Setting up) (\S+)")
_UNITS_BYTES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_STEPS_EACH: Final = 2
"""A package is unpacked, then set up."""


@dataclass(frozen=True, slots=True)
class AptStage:
    """How far a download or an installation is; `total` 0 where it is not known."""

    what: str
    done: int
    total: int
    unit: str = ""


class AptProgress:
    """Reads one line after the other; a plan of APT's begins anew.

    Sizes are as exact as APT prints them, so what is done may end a little beside the total.
    """

    def __init__(self) -> None:
        self._packages = 0
        self._steps_done = 0
        self._need_bytes = 0
        self._got_bytes = 0

    def read(self, line: str) -> AptStage | None:
        """How far the work is after this line; None when the line tells nothing of it."""
        if plan := _PLAN.match(line):
            # The essential packages are planned first, and installed when all are there.
            self._packages = int(plan[1]) + int(plan[2])
            self._steps_done = self._need_bytes = self._got_bytes = 0
        elif need := _NEED.match(line):
            self._need_bytes = _size_bytes(need)
        elif (got := _GET.match(line)) and self._need_bytes:
            self._got_bytes = min(self._got_bytes + _size_bytes(got), self._need_bytes)
            return AptStage("Downloading", self._got_bytes, self._need_bytes, "bytes")
        elif (step := _STEP.match(line)) and self._packages:
            total = self._packages * _STEPS_EACH
            self._steps_done = min(self._steps_done + 1, total)
            package = step[2].partition(":")[0]
            return AptStage(f"{step[1]} {package}", self._steps_done, total)
        return None


def _size_bytes(match: re.Match[str]) -> int:
    return round(float(match[1].replace(",", "")) * _UNITS_BYTES[match[2]])
