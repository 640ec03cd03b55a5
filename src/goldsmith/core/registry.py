"""Which class stands behind a name that a template says; classes are imported when first used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from goldsmith.core.options import did_you_mean
from goldsmith.errors import GoldsmithError


class UnknownComponent(GoldsmithError):
    """A template names a component that does not exist here."""


class Offer(Protocol):
    """Components from elsewhere: those of plugins."""

    def find(self, kind: str, name: str) -> Any | None:
        """What stands for a class of goldsmith's own; None for an unknown name.

        Raises GoldsmithError where what has it cannot be used.
        """
        ...

    def replaces(self, kind: str, name: str) -> bool:
        """Whether it has one that is to be used in place of goldsmith's own."""
        ...

    def names(self, kind: str) -> list[str]:
        """The names that it has of a kind; may start programs to find out."""
        ...


@dataclass(slots=True)
class Registry:
    """The components by kind ("builder", "provisioner", "post-processor") and type name."""

    _places: dict[tuple[str, str], str] = field(default_factory=dict)
    _planned: dict[tuple[str, str], str] = field(default_factory=dict)
    _refused: dict[tuple[str, str], str] = field(default_factory=dict)
    _offers: list[Offer] = field(default_factory=list)

    def register(self, kind: str, places: Mapping[str, str]) -> None:
        """Add components; a place is "module:Class"."""
        self._places.update({(kind, name): place for name, place in places.items()})

    def plan(self, kind: str, names: Mapping[str, str]) -> None:
        """Name components that are known but not there yet, each with what to do instead."""
        self._planned.update({(kind, name): text for name, text in names.items()})

    def refuse(self, kind: str, names: Mapping[str, str]) -> None:
        """Name components of Packer's that will not be there, each with what to do instead."""
        self._refused.update({(kind, name): text for name, text in names.items()})

    def offer(self, offer: Offer) -> None:
        """Add components from elsewhere."""
        self._offers.append(offer)

    def names(self, kind: str) -> list[str]:
        """The type names of goldsmith's own of a kind, sorted."""
        return sorted(name for k, name in self._places if k == kind)

    def is_foreign(self, kind: str, name: str) -> bool:
        """Whether a name means no component of goldsmith's own."""
        if any(offer.replaces(kind, name) for offer in self._offers):
            return True
        return (kind, name) not in self._places

    def get(self, kind: str, name: str) -> Any:
        """The class; raises UnknownComponent with the nearest name, or what to do instead."""
        place = self._places.get((kind, name))
        for offer in self._offers:
            if place is not None and not offer.replaces(kind, name):
                continue
            if (found := offer.find(kind, name)) is not None:
                return found
        if place is None:
            if refused := self._refused.get((kind, name)):
                raise UnknownComponent(f'goldsmith has no {kind} "{name}"', hint=refused)
            if instead := self._planned.get((kind, name)):
                raise UnknownComponent(
                    f'the {kind} "{name}" is not available in goldsmith yet', hint=instead
                )
            elsewhere = {one for offer in self._offers for one in offer.names(kind)}
            known = sorted({*self.names(kind), *elsewhere})
            raise UnknownComponent(
                f'there is no {kind} "{name}".{did_you_mean(name, known)}',
                hint=f"known {kind}s: {', '.join(known)}",
            )
        module, _, class_name = place.partition(":")
        return getattr(importlib.import_module(module), class_name)
