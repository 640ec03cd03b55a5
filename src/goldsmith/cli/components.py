"""The components that templates can name, and the undo functions that `clean` needs."""

from __future__ import annotations

from collections.abc import Mapping

from goldsmith import builders, post_processors, provisioners
from goldsmith.core.registry import Registry
from goldsmith.host.journal import UNDO, Undo


def builtin_registry() -> Registry:
    """Every component of goldsmith's own."""
    registry = Registry()
    for room in (builders, provisioners, post_processors):
        room.register(registry)
    return registry


def undo_functions() -> Mapping[str, Undo]:
    """How each kind of journalled effect is taken back."""
    return {**UNDO}
