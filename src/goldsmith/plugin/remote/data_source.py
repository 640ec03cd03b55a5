"""A data source in a plugin, as templates read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.options import Finding, Options
from goldsmith.errors import GoldsmithError
from goldsmith.host.digests import bytes_digest
from goldsmith.plugin.remote.kinds import foreign
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.preparing import checked, layers_for, required
from goldsmith.plugin.remote.session import Session
from goldsmith.plugin.wire import cty_json
from goldsmith.values.types import Type
from goldsmith.values.value import Value
from goldsmith.values.world import World

KIND: Final = "data source"


@dataclass(frozen=True, slots=True)
class DataSourceKind:
    """Stands for the class."""

    place: ComponentPlace
    session: Session
    options_model: ClassVar[type[Options]] = ForeignOptions

    @property
    def type_name(self) -> str:
        """What templates say."""
        return self.place.name

    def __call__(self, options: Options, name: str) -> PluginDataSource:
        """One block."""
        return PluginDataSource(self, foreign(options), name)


class PluginDataSource:
    """One block of a data source in a plugin; its process lives as long as it is asked."""

    type_name: ClassVar[str] = ""
    options_model: ClassVar[type[Options]] = ForeignOptions

    def __init__(self, kind: DataSourceKind, options: ForeignOptions, name: str) -> None:
        self.kind = kind
        self.options = options
        self.name = name
        self.outputs: Mapping[str, Type] = {}

    def check(self) -> Sequence[Finding]:
        """What the plugin says of the options; `outputs` holds the types of its outputs then."""
        session, place = self.kind.session, self.kind.place
        if not session.checks:
            return []

        def prepare() -> Sequence[Finding]:
            layers, found = layers_for(self.options, use.component, session.settings)
            if not found:
                use.component.configure(layers)
                self.outputs = use.component.output_spec().type.attributes
            return found

        with session.passing_use(place) as use:
            return checked(use, prepare)

    def read(self, world: World) -> Mapping[str, Value]:
        """The outputs; a second evaluation hears what the first one was told."""
        place, session = self.kind.place, self.kind.session

        def ask() -> str:
            with session.passing_use(place) as use, use.phase("read"):
                layers, found = layers_for(self.options, use.component, session.settings)
                required(found, f"data source {place.name}")
                use.component.configure(layers)
                return cty_json.encode(use.component.execute()).decode()

        identity = bytes_digest([repr(self.options.body.attributes).encode()])
        told = world.outside(f"plugin {place.name} {self.name} {identity}", ask)
        value = cty_json.decode(told.encode())
        if not isinstance(value.raw, dict):
            raise GoldsmithError(f"the data source {place.name} gave no object")
        return value.raw
