"""Finds the plugin behind a name that a template says; asks only the plugins that may have it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.described import BEING_DESCRIBED, Description, parse_description
from goldsmith.plugin.discovery import (
    InstalledPlugin,
    SingleProgram,
    age,
    agreed,
    digest_of,
    installed_plugins,
    plugin_directory,
    plugin_names,
    single_programs,
    unsound_plugins,
    why_unsound,
)
from goldsmith.plugin.packages import ENTRY_POINTS, load_set
from goldsmith.plugin.remote.places import KIND_NAMES, ComponentPlace
from goldsmith.plugin.wire.handshake import is_cookie_right

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

FORCE_GOB: Final = "PACKER_FORCE_GOB"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plugin with what it says of itself, under one of the names that templates may use."""

    plugin: InstalledPlugin
    description: Description
    locked: bool = False
    """Whether the template is to be built with this one and no other."""


@dataclass
class Catalogue:
    """The plugins of this host; `required` are those that a template's requirements chose."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    prereleases: bool = True
    required: dict[str, Chosen] = field(default_factory=dict)
    """By the name on the left side of the requirement."""
    _described: dict[Path, Description | None] = field(default_factory=dict)

    @cached_property
    def directory(self) -> Path:
        """Where plugins lie; raises GoldsmithError where that cannot be told."""
        return plugin_directory(self.environment)

    @cached_property
    def _is_plugin(self) -> bool:
        """Whether this process is a plugin itself, which must not look for others without end."""
        return is_cookie_right(self.environment) or BEING_DESCRIBED in self.environment

    @cached_property
    def singles(self) -> Mapping[tuple[str, str], SingleProgram]:
        """The programs of one component, by kind and name. Raises GoldsmithError."""
        if self._is_plugin:
            return {}
        return {(one.kind, one.name): one for one in single_programs(self.directory)}

    @cached_property
    def packages(self) -> dict[str, EntryPoint]:
        """The Python packages of this environment that have plugins, by the plugins' names."""
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}

    @cached_property
    def _files(self) -> set[str]:
        return set() if self._is_plugin else plugin_names(self.directory)

    @property
    def forces_gob(self) -> bool:
        """Whether schemas must not come in protobuf."""
        return self.environment.get(FORCE_GOB, "") not in ("", "0")

    def described(self, plugin: InstalledPlugin) -> Description | None:
        """What a plugin says of itself, asked once; None for one that contradicts its name.

        Within a plugin nobody is asked: a `describe` that runs goldsmith would do so without end.
        """
        if self._is_plugin:
            return None
        if plugin.path not in self._described:
            self._described[plugin.path] = agreed(plugin)
        return self._described[plugin.path]

    def find_locked(self, kind: str, name: str) -> ComponentPlace | None:
        """The component of that name in a plugin that the template requires and has locked."""
        for accessor, chosen in self.required.items():
            if chosen.locked and (place := self._in_program(kind, name, accessor, chosen)):
                return place
        return None

    def find_single(self, kind: str, name: str) -> ComponentPlace | None:
        """The program that is this one component."""
        single = self.singles.get((kind, name))
        if single is None:
            return None
        return ComponentPlace(
            kind=kind, name=name, label=single.path.name, command=(str(single.path),),
            digest=single.digest or digest_of(single.path),
        )  # fmt: skip

    def find(self, kind: str, name: str) -> ComponentPlace | None:
        """The component of that name: of required plugins, of files, of Python packages.

        Raises GoldsmithError where plugins cannot be looked for, or the only one that may have it
        is not what its digest says.
        """
        for accessor, chosen in self.required.items():
            if place := self._in_program(kind, name, accessor, chosen):
                return place
        for plugin in self._candidates(name):
            for chosen in self._newest(plugin):
                if place := self._in_program(kind, name, plugin, chosen):
                    return place
        if place := self._in_package(kind, name):
            return place
        for plugin in self._candidates(name):
            self._refuse_unsound(kind, name, plugin)
        return None

    def _refuse_unsound(self, kind: str, name: str, plugin: str) -> None:
        """Raise GoldsmithError where only a plugin that cannot be trusted may have a component."""
        every = unsound_plugins(self.directory, prereleases=self.prereleases, named=plugin)
        for one in sorted(every, key=age, reverse=True):
            raise GoldsmithError(
                f'there is no {kind} "{name}" that can be used: {one.path} {why_unsound(one)}',
                hint="get the plugin again and run goldsmith plugins install, or remove it",
            )

    def names(self, kind: str) -> list[str]:
        """All names of a kind; asks every plugin."""
        found = {name for of, name in self.singles if of == kind}
        for accessor, chosen in self.required.items():
            found.update(chosen.description.names(kind, accessor))
        for plugin in self._files:
            for chosen in self._newest(plugin):
                found.update(chosen.description.names(kind, plugin))
        for plugin in self.packages:
            found.update(self._package_description(plugin).names(kind, plugin))
        return sorted(found)

    def _candidates(self, name: str) -> list[str]:
        """The plugins that may have a component of this name, the longest name first."""
        fits = [one for one in self._files if name == one or name.startswith(f"{one}-")]
        return sorted(fits, key=len, reverse=True)

    def _newest(self, plugin: str) -> Iterator[Chosen]:
        """The newest sound release of a plugin, if there is any."""
        every = installed_plugins(self.directory, prereleases=self.prereleases, named=plugin)
        for one in sorted(every, key=age, reverse=True):
            if (description := self.described(one)) is not None:
                yield Chosen(one, description)
                return

    def _in_program(
        self, kind: str, name: str, plugin: str, chosen: Chosen
    ) -> ComponentPlace | None:
        component = chosen.description.component_named(kind, name, plugin)
        if component is None:
            return None
        path = chosen.plugin.path
        protobuf = chosen.description.protobuf and not self.forces_gob
        flag = ("--protobuf",) if protobuf else ()
        return ComponentPlace(
            kind=kind, name=name, label=path.name, protobuf=protobuf, component=component,
            command=(str(path), "start", KIND_NAMES[kind], *flag, component),
            digest=chosen.plugin.digest, version=chosen.description.version,
        )  # fmt: skip

    def _in_package(self, kind: str, name: str) -> ComponentPlace | None:
        for plugin in sorted(self.packages, key=len, reverse=True):
            if name != plugin and not name.startswith(f"{plugin}-"):
                continue
            description = self._package_description(plugin)
            component = description.component_named(kind, name, plugin)
            if component is not None:
                entry = self.packages[plugin]
                return ComponentPlace(
                    kind=kind, name=name, package=entry.value, component=component,
                    label=f"{plugin} ({entry.dist.name if entry.dist else entry.value})",
                    version=entry.dist.version if entry.dist else description.version,
                )  # fmt: skip
        return None

    def _package_description(self, plugin: str) -> Description:
        import json

        entry = self.packages[plugin]
        plugins = load_set(entry.value)
        return parse_description(json.dumps(plugins.description()), entry.value)
