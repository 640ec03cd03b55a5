"""Asks for images that lie on servers before anything is written, and reads nothing of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from goldsmith.deploy.copying.block_map_file import fetch_block_map
from goldsmith.deploy.copying.images import CopyError, CopyLimits, ImageToCopy
from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.deploy.copying.sources import SourceError, local_path, source_of
from goldsmith.errors import TimeLimitReached
from goldsmith.events import Emitter


def unreachable(
    images: Iterable[ImageToCopy], *, emit: Emitter, limits: CopyLimits
) -> Iterator[str]:
    """Why images cannot be copied: no server has them, or none in the size that they must have.

    Servers that fail are asked again as for the copy itself. Files of this host are not looked at.
    """
    for image in images:
        if all(local_path(uri) is not None for uri in image.uris):
            continue
        try:
            _ask(image, emit, limits)
            if image.block_map is None and image.block_map_uris:
                fetch_block_map(image, emit=emit, limits=limits)
        except (CopyError, SourceError, TimeLimitReached) as e:
            yield f"{e}"


def _ask(image: ImageToCopy, emit: Emitter, limits: CopyLimits) -> None:
    sources = [source_of(uri, stall_s=limits.stall_s, redactor=emit.redactor) for uri in image.uris]
    is_raw = image.container == "raw"
    with ResumingStream(
        sources, limits, is_proven=image.is_verifiable, warn=emit.warn,
        expected_bytes=image.size_bytes if is_raw else image.container_size_bytes,
    ) as stream:  # fmt: skip
        stream.begin()
