"""A snapshot into a sparse file: many blocks at once, each checked by its digest."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.cloud.ebs_direct.connections import Connections, Damaged
from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCK_BYTES,
    ZERO_DIGEST,
    DigestIndex,
)
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError
from goldsmith.host.sparse import create_sparse, full_file_system_named
from goldsmith.units import GIB

PAGE: Final = 5000
"""Blocks of one listing; their tokens are in memory."""
_MOST_LISTINGS_AGAIN: Final = 20
"""Listings one after the other of which not one block came."""

OnBlocks = Callable[[int], None]
"""Called with the number of blocks that are done."""
OnBlock = Callable[[int, bytes, bytes], None]
"""Called by many threads with a block's number, its data and its digest."""


def read_snapshot(
    connections: Connections, snapshot_id: str, target: Path, on_blocks: OnBlocks = lambda _: None
) -> DigestIndex:
    """Read a snapshot into a new sparse file; returns what it has. A failed target is removed.

    Blocks of zeros become holes. Raises AwsError, NoSpaceError, FileExistsError.
    """
    made = False
    fd = -1
    try:

        def begin(size_gib: int) -> None:
            nonlocal made, fd
            create_sparse(target, size_gib * GIB)
            made = True
            fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)

        def write(number: int, data: bytes, digest: bytes) -> None:
            if digest != ZERO_DIGEST:
                _write_all(fd, data, number * BLOCK_BYTES)

        with full_file_system_named(target):
            return fetch_blocks(connections, snapshot_id, write, on_blocks, on_size=begin)
    except BaseException:
        if made:
            target.unlink(missing_ok=True)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(fd, rest, offset)
        rest, offset = rest[count:], offset + count


def fetch_blocks(
    connections: Connections, snapshot_id: str, on_block: OnBlock,
    on_blocks: OnBlocks = lambda _: None, on_size: Callable[[int], None] = lambda _: None,
) -> DigestIndex:  # fmt: skip
    """Fetch every block of a snapshot; `on_size` hears its size in GiB first. Raises AwsError."""
    return _Fetching(connections, snapshot_id, on_block, on_blocks).run(on_size)


@dataclass(slots=True)
class _Fetching:
    connections: Connections
    snapshot_id: str
    on_block: OnBlock
    on_blocks: OnBlocks
    digests: dict[int, bytes] = field(default_factory=dict)
    """Of the blocks of the page in work."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, on_size: Callable[[int], None]) -> DigestIndex:
        index: DigestIndex | None = None
        listings = 0
        start, page_token = 0, None
        while True:
            page = self._list(start, page_token)
            if index is None:
                index = DigestIndex(int(page["VolumeSize"]))
                on_size(index.size_gib)
            blocks = [(int(one["BlockIndex"]), str(one["BlockToken"])) for one in page["Blocks"]]
            known = len(self.digests)
            try:
                self._fetch(blocks, len(index))
            except AwsError as e:
                # Whoever else lists the snapshot makes tokens stale; in between some blocks come.
                listings = 0 if len(self.digests) > known else listings + 1
                if not e.is_stale_token or listings > _MOST_LISTINGS_AGAIN:
                    raise
                start, page_token = blocks[0][0], None
                continue
            for number, _ in blocks:
                index.append(number, self.digests[number])
            self.digests.clear()
            page_token = page.get("NextToken")
            if page_token is None:
                return index
            if blocks:
                start = blocks[-1][0] + 1

    def _list(self, start: int, page_token: str | None) -> Mapping[str, Any]:
        call = self.connections.service.call
        given: dict[str, Any] = {"SnapshotId": self.snapshot_id, "MaxResults": PAGE}
        first = start if start and page_token is None else None
        try:
            found = call("list_snapshot_blocks", **given, NextToken=page_token,
                         StartingBlockIndex=first)  # fmt: skip
        except AwsError as e:
            if page_token is None or not e.is_stale_token:
                raise
            found = call("list_snapshot_blocks", **given, StartingBlockIndex=start)
        if found["BlockSize"] != BLOCK_BYTES:
            raise GoldsmithError(f"{self.snapshot_id} has blocks of {found['BlockSize']} bytes, "
                                 f"not of {BLOCK_BYTES}")  # fmt: skip
        listed: Mapping[str, Any] = found
        return listed

    def _fetch(self, blocks: list[tuple[int, str]], before: int) -> None:
        jobs: Iterator[tuple[int, str]] = (one for one in blocks if one[0] not in self.digests)
        known = len(self.digests)
        self.connections.for_each(
            jobs, self._one, lambda done: self.on_blocks(before + known + done)
        )

    def _one(self, job: tuple[int, str]) -> None:
        number, token = job
        data, digest = fetch_block(self.connections, self.snapshot_id, number, token)
        self.on_block(number, data, digest)
        with self.lock:
            self.digests[number] = digest


def fetch_block(
    connections: Connections, snapshot_id: str, number: int, token: str
) -> tuple[bytes, bytes]:  # fmt: skip
    """One block with its SHA-256, which is that of the service; raises AwsError."""
    found = (b"", b"")

    def check(answer: Any) -> None:
        nonlocal found
        data = _body(answer)
        digest = hashlib.sha256(data).digest()
        told = answer.get("Checksum", "")
        if len(data) != BLOCK_BYTES or base64.b64encode(digest).decode() != told:
            text = f"block {number} of {snapshot_id} is not what its checksum says"
            raise Damaged("GetSnapshotBlock", "damaged", text)
        found = data, digest

    connections.call("get_snapshot_block", check, SnapshotId=snapshot_id, BlockIndex=number,
                     BlockToken=token)  # fmt: skip
    return found


def _body(answer: Any) -> bytes:
    # Late: the library is there when an answer is.
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    try:
        data: bytes = answer["BlockData"].read()
    except (HTTPClientError, IncompleteReadError, OSError) as e:
        raise Damaged("GetSnapshotBlock", "no answer", str(e)) from e
    return data
