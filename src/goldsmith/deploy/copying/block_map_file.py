"""The block map of an image from a file of its own: ours in JSON, or a .bmap of bmaptool."""

from __future__ import annotations

import hashlib
import io
import json

from goldsmith.deploy.copying.images import CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.deploy.copying.sources import source_of
from goldsmith.disk.block_map import LARGEST_BMAP_BYTES, BlockMap, BlockMapError, parse_bmap
from goldsmith.events import Emitter


def fetch_block_map(image: ImageToCopy, *, emit: Emitter, limits: CopyLimits) -> BlockMap:
    """Read the map of an image; raises ImageMismatch for a damaged one, NoSource."""
    redactor = emit.redactor
    sources = [
        source_of(uri, stall_s=limits.stall_s, redactor=redactor) for uri in image.block_map_uris
    ]
    name = sources[0].shown
    stream = ResumingStream(
        sources, limits, is_proven=image.block_map_sha256 is not None, warn=emit.warn
    )
    with io.BufferedReader(stream) as reading:
        data = reading.read(LARGEST_BMAP_BYTES + 1)
    if len(data) > LARGEST_BMAP_BYTES:
        raise ImageMismatch(f"{name} is larger than any block map")
    wanted = image.block_map_sha256
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
