"""What has to be written so that a parent's blocks become those of an image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCKS_PER_GIB,
    ZERO_DIGEST,
    DigestIndex,
    KnownSnapshot,
    merged,
)


@dataclass(frozen=True, slots=True)
class Delta:
    """The blocks to write, with their digests; `parent` has all others already."""

    writes: DigestIndex
    parent: KnownSnapshot | None
    equal: int
    """How many blocks the parent has just so."""

    @property
    def size_gib(self) -> int:
        """The volume's size."""
        return self.writes.size_gib

    @property
    def result(self) -> DigestIndex:
        """What the new snapshot will have."""
        return merged(None if self.parent is None else self.parent.index, self.writes)

    @property
    def left_out(self) -> int:
        """How many blocks of the volume neither snapshot has: nobody reads them."""
        return self.size_gib * BLOCKS_PER_GIB - len(self.writes) - self.equal

    def identity(self, **more: object) -> str:
        """A digest of what is asked for: that of a later build which can go on with this one.

        What is in the blocks is not in it: it may differ, and is sent then.
        """
        parent = "" if self.parent is None else self.parent.snapshot_id
        told = sorted({**more, "parent": parent, "size": self.size_gib}.items())
        return hashlib.sha256(str(told).encode()).hexdigest()


def delta_to(wanted: DigestIndex, parent: KnownSnapshot | None) -> Delta:
    """Compare block by block.

    Blocks that the parent has, and of which nobody reads anything in the image, become zeros.
    """
    writes = DigestIndex(wanted.size_gib)
    if parent is None:
        for number, digest in wanted:
            writes.append(number, digest)
        return Delta(writes, None, 0)
    equal = 0
    rest = iter(wanted)
    waiting = next(rest, None)
    for number, known in parent.index:
        while waiting is not None and waiting[0] < number:
            writes.append(*waiting)
            waiting = next(rest, None)
        digest = ZERO_DIGEST
        if waiting is not None and waiting[0] == number:
            digest = waiting[1]
            waiting = next(rest, None)
        if digest == known:
            equal += 1
        else:
            writes.append(number, digest)
    while waiting is not None:
        writes.append(*waiting)
        waiting = next(rest, None)
    return Delta(writes, parent, equal)
