"""From the elements that the user names to all that take part, in an order that never changes.

Upstream keeps them in a set, so its order differs from run to run. Here an element comes after
what it depends on; where that leaves a choice, the user's order decides, then the name.
Source: `specs/diskimage-builder.md`, A5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from goldsmith.elements.catalog import Catalog, Element, ElementError

OPERATING_SYSTEM: Final = "operating-system"
"""What one of the elements must provide."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """All elements that take part: in order, with the reason why each one does."""

    elements: tuple[Element, ...]
    wanted_by: dict[str, str]
    """For an element that the user did not name: the first one that depends on it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the elements, in order."""
        return tuple(element.name for element in self.elements)


def asked_for(
    arguments: Sequence[str], *, ramdisk_element: str = "", skip_base: bool = False, arch: str = ""
) -> tuple[str, ...]:
    """What `disk-image-create` makes of its arguments before it looks for dependencies.

    An image for virtual machines gets a partition table unless the user names one.
    """
    names = [*([ramdisk_element] if ramdisk_element else []), *([] if skip_base else ["base"])]
    names += arguments
    has_layout = any(name.startswith("block-device-") for name in names)
    if "vm" in names and not has_layout:
        names.append("block-device-efi" if arch in ("arm64", "aarch64") else "block-device-mbr")
    return tuple(dict.fromkeys(names))


def expand(catalog: Catalog, names: Sequence[str], *, needs_system: bool = True) -> Expansion:
    """Add what the named elements depend on, and leave out what others provide.

    Raises ElementError for an element that does not exist, for two that provide the same, for a
    named one that another provides, and, with `needs_system`, when none is an operating system.
    """
    given = tuple(dict.fromkeys(names))
    found, providers, wanted_by = _collect(catalog, given)
    for name in given:
        if name in providers:
            raise _already_provided(name, providers[name])
    if needs_system and OPERATING_SYSTEM not in providers:
        known = ", ".join(one.name for one in catalog.provided_by(OPERATING_SYSTEM))
        raise ElementError(
            "Please include an operating system element",
            hint=f"name one of: {known}" if known else None,
        )
    left = {name: element for name, element in found.items() if name not in providers}
    return Expansion(tuple(_in_order(left, given, providers)), wanted_by)


def _collect(
    catalog: Catalog, given: Sequence[str]
) -> tuple[dict[str, Element], dict[str, str], dict[str, str]]:
    """Walk through the dependencies, breadth first; a name that is provided is not looked for."""
    queue = list(given)
    found: dict[str, Element] = {}
    providers: dict[str, str] = {}
    wanted_by: dict[str, str] = {}
    for name in queue:
        if name in found or name in providers:
            continue
        element = catalog.get(name, wanted_by=wanted_by.get(name, ""))
        for provided in element.provides:
            if provided in providers:
                raise _already_provided(provided, providers[provided], second=name)
            providers[provided] = name
        found[name] = element
        for required in element.requires:
            if required not in found and required not in providers:
                if required not in given:
                    wanted_by.setdefault(required, name)
                queue.append(required)
    return found, providers, wanted_by


def _already_provided(name: str, provider: str, *, second: str = "") -> ElementError:
    also = f", and by {second}" if second else ""
    return ElementError(
        f"{name}: already provided by [{provider}]{also}",
        hint=f"leave out one of {provider} and {second or name}",
    )


def _in_order(
    found: dict[str, Element], given: Sequence[str], providers: dict[str, str]
) -> Iterable[Element]:
    """Depth first through the dependencies; a cycle is entered at its first element."""
    ordered: dict[str, Element] = {}
    entered: set[str] = set()
    # Each entry is an element and those of its dependencies that are still to be looked at.
    path: list[tuple[str, Iterator[str]]] = []

    def enter(name: str) -> None:
        if name not in entered:
            entered.add(name)
            path.append((name, iter(_needed(found[name], found, providers))))

    for root in (*(name for name in given if name in found), *sorted(found)):
        enter(root)
        while path:
            name, needed = path[-1]
            following = next(needed, None)
            if following is None:
                path.pop()
                ordered[name] = found[name]
            else:
                enter(following)
    return ordered.values()


def _needed(element: Element, found: dict[str, Element], providers: dict[str, str]) -> list[str]:
    """What an element depends on, by the names of those that are there for it."""
    names = {providers.get(name, name) for name in element.requires}
    return sorted(name for name in names if name in found)
