"""The block map of an image from a file of its own: ours in JSON, or a .bmap of bmaptool."""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Sequence

from goldsmith.deploy.copying.images import CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.deploy.copying.sources import Source, source_of
from goldsmith.disk.block_map import LARGEST_BMAP_BYTES, BlockMap, BlockMapError, parse_bmap
from goldsmith.events import Emitter


def fetch_block_map(image: ImageToCopy, *, emit: Emitter, limits: CopyLimits) -> BlockMap:
    """Read the map of an image; a damaged one is fetched again from another mirror.

    Raises ImageMismatch where no mirror has a good one, NoSource.
    """
    sources = [
        source_of(uri, stall_s=limits.stall_s, redactor=emit.redactor)
        for uri in image.block_map_uris
    ]
    turns = deque([sources])
    while True:
        turn = turns.popleft()
        stream = ResumingStream(
            turn, limits, is_proven=image.block_map_sha256 is not None, warn=emit.warn
        )
        try:
            return _read_map(stream, turn, image.block_map_sha256)
        except ImageMismatch as e:
            used = stream.used or turn[:1]  # an empty file is nobody's bytes
            if len(used) > 1:
                # Each may be right, and be another version.
                turns.extend([one] for one in turn)
            elif others := [one for one in turn if one not in used]:
                turns.append(others)
            if not turns:
                raise
            emit.warn(f"{e}; beginning again with {turns[0][0].shown}")


def _read_map(stream: ResumingStream, turn: Sequence[Source], wanted: str | None) -> BlockMap:
    with io.BufferedReader(stream) as reading:
        data = reading.read(LARGEST_BMAP_BYTES + 1)
    name = (stream.used or turn)[0].shown
    if len(data) > LARGEST_BMAP_BYTES:
        raise ImageMismatch(f"{name} is larger than any block map")
    if wanted is not None and (found := hashlib.sha256(data).hexdigest()) != wanted.lower():
        raise ImageMismatch(
            f"{name} has the sha256 {found}, and should have {wanted}",
            hint="it was damaged on its way, or is another one: fetch it again",
        )
    try:
        if data.lstrip().startswith(b"{"):
            return BlockMap.from_json(json.loads(data))
        return parse_bmap(data)
    except BlockMapError as e:
        raise ImageMismatch(f"{name}: {e}", hint=e.hint) from e
    except (ValueError, RecursionError) as e:
        raise ImageMismatch(f"{name} is no block map: {e}") from e
