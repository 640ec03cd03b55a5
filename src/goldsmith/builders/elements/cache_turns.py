"""Builds that share an image cache take turns, where elements mount a part of it into every tree.

APT refuses a directory of archives that another one uses, so upstream ends the second of two builds
at once with an error; pip-cache says of itself that only one may use it.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from goldsmith.elements.places import Places
from goldsmith.elements.setup import Setup
from goldsmith.events import Emitter
from goldsmith.layers.layer_locks import waited_for

_SHARING: Final = frozenset({"dpkg", "gentoo", "pip-cache", "yum", "zypper", "zypper-minimal"})
"""The elements whose hooks mount something of DIB_IMAGE_CACHE."""
_SILENT_WAIT_S: Final = 1.0


def cache_turn(places: Places, setup: Setup, emitter: Emitter) -> AbstractContextManager[None]:
    """The only build that runs hooks with this image cache, for the length of a block.

    Waits for others, and says so once; nothing is locked where the elements share nothing.
    """
    if _SHARING.isdisjoint(setup.expansion.names):
        return nullcontext()
    digest = hashlib.sha256(str(places.cache.resolve()).encode()).hexdigest()[:16]
    told: list[float] = []

    def tell(waited_s: float) -> None:
        if waited_s > _SILENT_WAIT_S and not told:
            told.append(waited_s)
            emitter.say(f"Waiting for another build that uses {places.cache}")

    return waited_for(places.locks / f"image-cache-{digest}", tell)
