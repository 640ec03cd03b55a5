"""Reads back what was written, and compares it with what should be there."""

from __future__ import annotations

from collections.abc import Iterator

from goldsmith.cloud.ebs_direct.block_set import BlockSet
from goldsmith.cloud.ebs_direct.connections import Connections
from goldsmith.cloud.ebs_direct.delta import Delta
from goldsmith.cloud.ebs_direct.digest_index import BLOCKS_PER_GIB, DigestIndex, KnownSnapshot
from goldsmith.cloud.ebs_direct.reader import PAGE, OnBlocks, fetch_blocks
from goldsmith.errors import GoldsmithError


class NotAsWritten(GoldsmithError):
    """A snapshot does not hold what was uploaded."""


def verify_snapshot(
    connections: Connections, snapshot_id: str, delta: Delta, on_blocks: OnBlocks = lambda _: None
) -> None:
    """Raise NotAsWritten unless a snapshot holds just what it should.

    The service's own list of what changed since the parent must be that of what was written anew,
    and every block that comes back must have its digest.
    """
    wanted = delta.result
    if delta.parent is not None:
        _compare_changes(connections, snapshot_id, delta, delta.parent)
    found = fetch_blocks(connections, snapshot_id, lambda *_: None, on_blocks)
    if found.numbers != wanted.numbers:
        raise _failed(snapshot_id, f"it has {len(found)} blocks, not {len(wanted)}")
    if found.linear != wanted.linear:
        raise _failed(snapshot_id, f"block {_first_other(found, wanted)} is another one")


def _compare_changes(
    connections: Connections, snapshot_id: str, delta: Delta, parent: KnownSnapshot
) -> None:
    def is_again(number: int) -> bool:
        """An upload that goes on may have made it the parent's again: listed or not, it is so."""
        written = delta.writes.get(number)
        return written is not None and written == parent.index.get(number)

    changed = BlockSet()
    blocks = delta.size_gib * BLOCKS_PER_GIB
    for number in _changed(connections, parent.snapshot_id, snapshot_id):
        if not 0 <= number < blocks:
            raise _failed(snapshot_id, f"it is said to have a block {number}")
        if not is_again(number):
            changed.add(number)
    anew = BlockSet()
    for number in delta.writes.numbers:
        if not is_again(number):
            anew.add(number)
    if changed != anew:
        raise _failed(snapshot_id, f"{len(changed)} blocks differ from its parent, and "
                      f"{len(anew)} were written")  # fmt: skip


def _changed(connections: Connections, first: str, second: str) -> Iterator[int]:
    page_token = None
    while True:
        page = connections.service.call(
            "list_changed_blocks", FirstSnapshotId=first, SecondSnapshotId=second,
            MaxResults=PAGE, NextToken=page_token,
        )  # fmt: skip
        yield from (int(one["BlockIndex"]) for one in page["ChangedBlocks"])
        page_token = page.get("NextToken")
        if page_token is None:
            return


def _first_other(found: DigestIndex, wanted: DigestIndex) -> int:
    return next(number for (number, one), (_, other) in zip(found, wanted, strict=True)
                if one != other)  # fmt: skip


def _failed(snapshot_id: str, why: str) -> GoldsmithError:
    return NotAsWritten(
        f"{snapshot_id} is not what was uploaded: {why}",
        hint="build again; if it happens again, use_parent = false sends every block anew",
    )
