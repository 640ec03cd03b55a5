"""What decides whether the earlier result of a step may be used: wishes of template and command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.layers.keys import canonical

DEFAULT_TTL_S: Final = 24 * 3600.0
"""How long the result of a step with network is used, beside unchanged Release files."""


@dataclass(frozen=True, slots=True)
class Caching:
    """What a template says of one step's result."""

    reuse: bool = True
    """`cache`: whether it is kept for later builds at all."""
    key: str | None = None
    """`cache_key`: what else identifies it; with it a step that has no key of its own gets one."""
    ttl_s: float | None = None
    """`cache_ttl`: how long it is used where programs saw the network; None is the default."""


NO_WISHES: Final = Caching()


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the command line says of all results."""

    use: bool = True
    """Whether earlier results are used; new ones are kept in any case."""
    refresh: tuple[str, ...] = ()
    """Steps that are made again, by name."""
    verify: bool = False
    """Whether the whole content of a result is read before it is used."""
    offline: bool = False
    """Whether a Release file that cannot be fetched counts as unchanged."""
    any_age: bool = False
    """Whether `cache_ttl` does not count."""
    secrets_in_image: str = "warn"
    """What a secret that a step has left in the tree is: "warn" or "error"."""


DEFAULT_POLICY: Final = CachePolicy()


def config_inputs(settings: Mapping[str, object]) -> dict[str, str]:
    """Options as inputs of a key, one for each, so that a change is told by its name."""
    return {f"config:{name}": canonical(value) for name, value in settings.items()}


def shown_path(name: str, directory: Path) -> str:
    """How a key calls a file of the user: by its path in `directory`, never by where that lies."""
    path = os.path.realpath(directory / name)
    inside = os.path.relpath(path, os.path.realpath(directory))
    return os.path.basename(path) if inside.startswith("../") else inside
