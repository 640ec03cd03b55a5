"""What stands in the registry for the class of a component that is in a plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.options import Options
from goldsmith.plugin.remote.catalogue import Catalogue
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.session import Session


@dataclass(slots=True)
class PluginComponents:
    """The components of plugins, for a registry (see `registry.Offer`)."""

    catalogue: Catalogue | None
    """None in a worker, which is told its places."""
    session: Session
    places: dict[tuple[str, str], ComponentPlace | None] = field(default_factory=dict)
    """What was found, by kind and name."""

    def find(self, kind: str, name: str) -> Any | None:
        """What makes components of this kind and name."""
        place = self._place(kind, name)
        if place is None:
            return None
        return _made(kind)(place, self.session)

    def replaces(self, kind: str, name: str) -> bool:
        """A program of one component has been put there to be used; what is locked it is not."""
        if self.catalogue is None:
            return self.places.get((kind, name)) is not None
        stray = (kind, name) in self.catalogue.singles
        return stray and self.catalogue.find_locked(kind, name) is None

    def names(self, kind: str) -> list[str]:
        """The names that plugins have."""
        return [] if self.catalogue is None else self.catalogue.names(kind)

    def _place(self, kind: str, name: str) -> ComponentPlace | None:
        key = (kind, name)
        if key not in self.places and self.catalogue is not None:
            self.places[key] = (
                self.catalogue.find_locked(kind, name)
                or self.catalogue.find_single(kind, name)
                or self.catalogue.find(kind, name)
            )
        return self.places.get(key)


def _made(kind: str) -> Any:
    """The class of a kind."""
    # Late: a command without plugins needs none of them.
    if kind == "builder":
        from goldsmith.plugin.remote.builder import BuilderKind

        return BuilderKind
    if kind == "provisioner":
        from goldsmith.plugin.remote.provisioner import ProvisionerKind

        return ProvisionerKind
    if kind == "post-processor":
        from goldsmith.plugin.remote.post_processor import PostProcessorKind

        return PostProcessorKind
    if kind == "hook":
        from goldsmith.plugin.remote.hook import HookKind

        return HookKind
    from goldsmith.plugin.remote.data_source import DataSourceKind

    return DataSourceKind


def foreign(options: Options) -> ForeignOptions:
    """The options of a component in a plugin."""
    assert isinstance(options, ForeignOptions)
    return options
