"""Where elements lie: in the directories of ELEMENTS_PATH, and in upstream's Python package.

Source: `specs/diskimage-builder.md`, A5; upstream's `element_dependencies`.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError

MISSING_PACKAGE_HINT: Final = (
    "upstream's elements come from the Python package diskimage-builder: "
    "pip install 'goldsmith[elements]'"
)


class ElementError(GoldsmithError):
    """The elements that were asked for cannot make an image together."""


@dataclass(frozen=True, slots=True)
class Element:
    """A directory of hooks and declarations, and the name that others call it by."""

    name: str
    path: Path

    def lines(self, file: str) -> tuple[str, ...]:
        """The names in `element-deps` or `element-provides`: one in each line, no comments."""
        place = self.path / file
        if not place.is_file():
            return ()
        try:
            text = place.read_text()
        except (OSError, UnicodeDecodeError) as e:
            raise ElementError(f"{place} of element {self.name} cannot be read: {e}") from e
        return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))

    @property
    def requires(self) -> tuple[str, ...]:
        """The elements that this one cannot do without."""
        return self.lines("element-deps")

    @property
    def provides(self) -> tuple[str, ...]:
        """The names that this element stands for beside its own."""
        return self.lines("element-provides")


@dataclass(frozen=True, slots=True)
class Hidden:
    """An element that is never used, since one of the same name comes earlier."""

    element: Element
    used: Element

    def __str__(self) -> str:
        return f"{self.element.name}: {self.used.path} hides {self.element.path}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every element that can be named, by name, and those that others hide."""

    elements: Mapping[str, Element]
    hidden: tuple[Hidden, ...] = ()

    @classmethod
    def read(cls, directories: Iterable[Path]) -> Catalog:
        """Look into each directory; earlier ones win. Raises ElementError for what is none.

        An element that is a link goes by the name of what the link leads to, as upstream has it.
        """
        found: dict[str, Element] = {}
        hidden: list[Hidden] = []
        for directory in directories:
            for element in _elements_in(directory):
                used = found.setdefault(element.name, element)
                if used.path != element.path:
                    hidden.append(Hidden(element, used))
        return cls(found, tuple(hidden))

    def get(self, name: str, *, wanted_by: str = "") -> Element:
        """The element of this name; raises ElementError with what was probably meant."""
        element = self.elements.get(name)
        if element is not None:
            return element
        near = difflib.get_close_matches(name, self.elements, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        needed = f", which {wanted_by} depends on," if wanted_by else ""
        raise ElementError(
            f"Element '{name}'{needed} not found",
            hint=f"{meant}add its directory's parent to ELEMENTS_PATH; "
            "`goldsmith elements ls` lists what there is",
        )

    def provided_by(self, name: str) -> list[Element]:
        """Every element that provides this name, in the order of their names."""
        return [self.elements[one] for one in sorted(self.elements)
                if name in self.elements[one].provides]  # fmt: skip


def _elements_in(directory: Path) -> Iterator[Element]:
    if not directory.is_dir():
        raise ElementError(
            f"'{directory}' in ELEMENTS_PATH is not a directory",
            hint="ELEMENTS_PATH is a list of directories that hold elements, separated by colons",
        )
    for entry in sorted(directory.iterdir()):
        place = entry.resolve()
        if place.is_dir() and place.name != "__pycache__":
            yield Element(place.name, place)


def upstream_package() -> Path | None:
    """The directory of the installed `diskimage-builder` package, None without it; imports none."""
    spec = importlib.util.find_spec("diskimage_builder")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None


def search_directories(elements_path: str, own: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The directories of ELEMENTS_PATH, upstream's elements, and last those of goldsmith.

    Raises ElementError when upstream's package is not installed.
    """
    package = upstream_package()
    if package is None:
        raise ElementError("upstream's elements are not installed", hint=MISSING_PACKAGE_HINT)
    given = [Path(part) for part in elements_path.split(":") if part]
    return (*given, package / "elements", *own)
