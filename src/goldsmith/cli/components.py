"""The components that templates can name, and the undo functions that `clean` needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from goldsmith import builders, datasources, post_processors, provisioners
from goldsmith.core.registry import Registry

if TYPE_CHECKING:
    from goldsmith.host.journal import Undo


def builtin_registry() -> Registry:
    """Every component of goldsmith's own."""
    registry = Registry()
    for room in (builders, provisioners, post_processors, datasources):
        room.register(registry)
    return registry


def undo_functions(tell: Callable[[str], None] = lambda text: None) -> Mapping[str, Undo]:
    """How each kind of journalled effect is taken back; `tell` hears why that takes long."""
    from goldsmith.host.journal import UNDO

    return {**UNDO, "aws": functools.partial(_undo_at_aws, tell)}


def _undo_at_aws(tell: Callable[[str], None], fields: Mapping[str, Any]) -> None:
    # Late: few runs leave anything there, and every build asks for these functions.
    from goldsmith.cloud.journal import undo_resource

    undo_resource(fields, tell)
