"""The components that a command can use, those of plugins among them, and their processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from goldsmith.cli.components import builtin_registry
from goldsmith.cli.flags import Flags
from goldsmith.cli.requirements import Requirements
from goldsmith.core.registry import Registry
from goldsmith.plugin.remote.catalogue import Catalogue
from goldsmith.plugin.remote.configuration import RunSettings
from goldsmith.plugin.remote.kinds import PluginComponents
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.session import Session
from goldsmith.template.hcl2.scope import PACKER_VERSION

if TYPE_CHECKING:
    from goldsmith.cli.start_document import StartDocument

Watch = Callable[[], AbstractContextManager[object]]


def own_watcher() -> AbstractContextManager[object]:
    """A watcher for a command that has none but for its plugins."""
    from goldsmith.host.watcher import start_watcher

    return start_watcher()


@dataclass(frozen=True, slots=True)
class Plugins:
    """What a command knows of plugins: a registry with their components, and their processes."""

    registry: Registry
    session: Session
    components: PluginComponents
    requirements: Requirements | None = None
    """None in a worker, where everything was chosen before."""

    def keep_secret(self, secrets: frozenset[str]) -> None:
        """Tell plugins which variables are secret."""
        self.session.settings = replace(self.session.settings, secrets=secrets)

    def places(self) -> list[dict[str, Any]]:
        """Every component that was found so far, for a worker."""
        return [place.to_wire() for place in self.components.places.values() if place is not None]


@contextmanager
def plugins_of(flags: Flags, *, watch: Watch | None) -> Iterator[Plugins]:
    """The plugins of this host for a command; leaving the block ends their processes.

    `watch` makes the watcher that ends them if the command is killed, before the first one starts;
    None where there is one.
    """
    catalogue = Catalogue(prereleases=not flags.on("ignore-prerelease-plugins"))
    settings = RunSettings(
        core_version=PACKER_VERSION, debug=flags.on("debug"), force=flags.on("force"),
        on_error=flags.text("on-error"),
    )  # fmt: skip
    with _offered(catalogue, Session(settings, watch), {}) as plugins:
        yield replace(plugins, requirements=Requirements(catalogue))


@contextmanager
def plugins_of_worker(document: StartDocument) -> Iterator[Plugins]:
    """The plugins that a worker was told of; they were asked about the template before."""
    settings = RunSettings(
        core_version=PACKER_VERSION, debug=document.debug, force=document.force,
        on_error=document.on_error, secrets=frozenset(document.secrets),
    )  # fmt: skip
    places = [ComponentPlace.from_wire(wire) for wire in document.plugins]
    found = {(place.kind, place.name): place for place in places}
    with _offered(None, Session(settings, checks=False), found) as plugins:
        yield plugins


@contextmanager
def _offered(
    catalogue: Catalogue | None,
    session: Session,
    places: Mapping[tuple[str, str], ComponentPlace],
) -> Iterator[Plugins]:
    registry = builtin_registry()
    components = PluginComponents(catalogue, session, dict(places))
    registry.offer(components)
    with session:
        yield Plugins(registry, session, components)
