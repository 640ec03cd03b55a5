"""The choice of how a tree step stands on the tree before it: by an overlay, or by a copy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host import user_namespace
from goldsmith.host.checks import try_overlay
from goldsmith.layers.overlay import stacked, step_overlay
from goldsmith.layers.plain import step_copy, view_of_copy

FORCED: Final = "GOLDSMITH_TREES"
"""An environment variable: `plain` makes copies also where overlays work."""


class StepTree(Protocol):
    """Shows a tree at `merged` whose changes are kept in `upper`."""

    def __call__(
        self,
        lowers: Sequence[Path],
        upper: Path,
        *,
        scratch: Path,
        merged: Path,
        clamp_to_s: int | None,
    ) -> AbstractContextManager[Path]:
        """See `overlay.step_overlay`."""
        ...


class ViewTree(Protocol):
    """Shows a tree at `merged` whose changes are thrown away."""

    def __call__(
        self, lowers: Sequence[Path], merged: Path, scratch: Path
    ) -> AbstractContextManager[Path]:
        """See `overlay.stacked`."""
        ...


@dataclass(frozen=True, slots=True)
class LayerMethod:
    """One way to stand on a tree."""

    name: str
    step: StepTree
    view: ViewTree
    whole: bool
    """Whether a result holds the whole tree, so that no earlier one belongs to the stack."""


OVERLAY: Final = LayerMethod("overlay", step_overlay, stacked, whole=False)
PLAIN: Final = LayerMethod("plain", step_copy, view_of_copy, whole=True)


def choose_method(directory: Path) -> LayerMethod:
    """Overlays where this process can have good ones on the file system of `directory`.

    Must be called in a mount namespace of our own: an overlay is tried.
    """
    if os.environ.get(FORCED) == PLAIN.name or user_namespace.is_inside():
        return PLAIN
    try:
        try_overlay(directory)
    except Interrupted:
        raise
    except (GoldsmithError, OSError):
        return PLAIN
    return OVERLAY
