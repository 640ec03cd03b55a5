"""The elements of one image, found, put in order and merged: what every phase starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements.catalog import (
    MISSING_PACKAGE_HINT,
    Catalog,
    ElementError,
    search_directories,
    upstream_package,
)
from goldsmith.elements.description import Description
from goldsmith.elements.expansion import Expansion, expand
from goldsmith.elements.hooks import Hooks, merge

OWN_ELEMENTS: Final = Path(__file__).parent / "own"
"""The elements of goldsmith: what older releases of upstream had."""
PROGRAMS: Final = Path(__file__).parent / "programs"
"""Programs that hooks find before those of the host."""
COMPAT_ELEMENTS: Final = ("apt-keys", "build-settings")
APT_BASED: Final = "dpkg"
"""The element that every image has whose packages are installed by APT."""


@dataclass(frozen=True, slots=True)
class Setup:
    """All elements of an image and their hooks."""

    expansion: Expansion
    hooks: Hooks
    directories: tuple[Path, ...]
    """Where elements were looked for: what hooks see as ELEMENTS_PATH."""
    package: Path
    """The directory of upstream's package."""
    own: tuple[str, ...] = ()
    """The elements that were added beside those that were asked for."""

    @property
    def library(self) -> Path:
        """The shell functions that elements call, upstream's `lib`: `_LIB` of hooks."""
        return self.package / "lib"

    def hooks_of(self, phase: str) -> list[str]:
        """The names of the files that lie in the directory of a phase ("install.d")."""
        start = f"{phase}/"
        return [place.removeprefix(start) for place in self.hooks.files
                if place.startswith(start) and "/" not in place.removeprefix(start)]  # fmt: skip


def set_up(description: Description) -> Setup:
    """Find the elements and merge their hooks; raises ElementError, nothing is written.

    The elements for images of APT are added last, and left out where an element of the user's has
    a hook of the same name: theirs came first.
    """
    package = upstream_package()
    if package is None:
        raise ElementError("upstream's elements are not installed", hint=MISSING_PACKAGE_HINT)
    own = (OWN_ELEMENTS,) if OWN_ELEMENTS.is_dir() else ()
    path = description.environment.get("ELEMENTS_PATH", "")
    directories = search_directories(path, own)
    catalog = Catalog.read(directories)
    names = description.elements
    expansion = expand(catalog, names)
    hooks = merge(expansion.elements)
    added: list[str] = []
    for name in _compat(description, expansion, catalog):
        wider = expand(catalog, [*names, name])
        try:
            hooks = merge(wider.elements)
        except ElementError:
            continue
        names, expansion = (*names, name), wider
        added.append(name)
    return Setup(expansion, hooks, directories, package, tuple(added))


def _compat(description: Description, expansion: Expansion, catalog: Catalog) -> list[str]:
    if not description.compat_elements or APT_BASED not in expansion.names:
        return []
    return [name for name in COMPAT_ELEMENTS
            if name in catalog.elements and name not in expansion.names]  # fmt: skip
