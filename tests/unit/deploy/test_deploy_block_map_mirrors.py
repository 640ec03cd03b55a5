"""A block map is fetched from the next mirror where one has a damaged one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from fault_server import fault_server
from goldsmith.deploy.copying.block_map_file import fetch_block_map
from goldsmith.deploy.copying.images import CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.resuming import NoSource
from goldsmith.disk.block_map import BlockMap, BlockRange, render_bmap
from goldsmith.events import Emitter, Event, Said

LIMITS = CopyLimits(stall_s=100, rounds=2, pause_s=0.01)
MAP = BlockMap(1 << 20, (BlockRange(0, 3, "a" * 64), BlockRange(7, 1, "b" * 64)))
TOLD = render_bmap(MAP).encode()
DIGEST = hashlib.sha256(TOLD).hexdigest()


@pytest.fixture
def server() -> Iterator[Any]:
    with fault_server() as serving:
        yield serving


def fetched(*uris: str, digest: str | None, events: list[Event]) -> BlockMap:
    image = ImageToCopy(uris=("/image",), block_map_uris=uris, block_map_sha256=digest)
    return fetch_block_map(image, emit=Emitter("copy", events.append), limits=LIMITS)


@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("damaged", [b"", b"{", b"{}", TOLD[:-40], TOLD + b" "])
def test_a_damaged_one_is_left_for_the_next(
    server: Any, damaged: bytes, digest: str | None
) -> None:
    if damaged.startswith(TOLD) and digest is None:
        damaged = damaged.replace(b"0-2", b"0-1")
    events: list[Event] = []
    uris = server.add("/1/map", damaged), server.add("/2/map", TOLD)
    assert fetched(*uris, digest=digest, events=events) == MAP
    warnings = [event.text for event in events if isinstance(event, Said)]
    assert "/1/map" in warnings[0] and warnings[0].endswith("/2/map")
    with pytest.raises(ImageMismatch, match="/1/map"):
        fetched(uris[0], digest=digest, events=events)
    with pytest.raises(ImageMismatch, match="/1/map"):
        fetched(uris[0], uris[0], digest=digest, events=events)


def test_one_that_nobody_has_is_told(server: Any) -> None:
    with pytest.raises(NoSource):
        fetched(f"{server.add('/1/map', TOLD)}/no", digest=DIGEST, events=[])
