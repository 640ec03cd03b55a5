"""What provisioners have written and removed again is not for those who get the image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from goldsmith.cloud.ebs_direct.contents import Contents, read_contents, refreshed
from goldsmith.cloud.ebs_direct.delta import delta_to
from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCK_BYTES,
    DigestIndex,
    KnownSnapshot,
)
from goldsmith.core.step import StepContext
from goldsmith.host.sparse import punch_hole


@dataclass(frozen=True, slots=True)
class ScrubStep:
    """Looks at an image that was provisioned, and empties what is free in its changed blocks.

    Blocks that are as before stay as they are, free or not: they need not be sent.
    """

    image: Path
    before: DigestIndex
    everything: bool = False
    """Whether every block of it counts, used or not."""
    name: str = "StepReadImage"
    label: str = "Looking for what has changed"

    def run(self, context: StepContext) -> Contents:
        """Return what is in it then."""
        size_gib = self.before.size_gib
        contents = read_contents(self.image, size_gib=size_gib, everything=self.everything)
        changed = delta_to(contents.index, KnownSnapshot("", "", self.before)).writes
        return refreshed(contents, changed) if _empty(self.image, contents, changed) else contents


def _empty(image: Path, contents: Contents, changed: DigestIndex) -> bool:
    """Make what is free in changed blocks holes; returns whether this file system can do that."""
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        ranges = iter(contents.free)
        stretch = next(ranges, None)
        for number in changed.numbers:
            start, end = number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES
            while stretch is not None and stretch[1] <= start:
                stretch = next(ranges, None)
            while stretch is not None and stretch[0] < end:
                first, last = max(start, stretch[0]), min(end, stretch[1])
                if not punch_hole(fd, first, last - first):
                    return False
                if stretch[1] > end:
                    break
                stretch = next(ranges, None)
    finally:
        os.close(fd)
    return True
