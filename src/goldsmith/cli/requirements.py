"""Where the plugins that a template requires are: built in, in a Python package, or a program."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from goldsmith.cli.components import builtin_registry
from goldsmith.errors import GoldsmithError
from goldsmith.plugin.discovery import installed_for, plugin_directory
from goldsmith.template.hcl2.required_plugins import RequiredPlugin
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies

ENTRY_POINTS: Final = "goldsmith.components"
"""The group in which Python packages name their components: `NAME = "module:register"`."""
_KINDS: Final = ("builder", "provisioner", "post-processor", "data source")
_OF_PACKER: Final = "github.com/hashicorp/"


@dataclass(frozen=True)
class Requirements:
    """Looks for plugins; `prereleases` tells whether such versions count."""

    prereleases: bool = True

    @cached_property
    def directory(self) -> Path:
        """The directory of plugins."""
        return plugin_directory(os.environ)

    @cached_property
    def built_in(self) -> frozenset[str]:
        """The type names of all components of goldsmith's own."""
        registry = builtin_registry()
        return frozenset(name for kind in _KINDS for name in registry.names(kind))

    def place(self, plugin: RequiredPlugin) -> str:
        """Where a plugin is, for people; "" when it is not here."""
        for look in (self._built_in, self._package, self._program):
            if place := look(plugin):
                return place
        return ""

    def remedy(self, plugin: RequiredPlugin) -> str:
        """What to do about a plugin that is not here; "" for one that is."""
        if self.place(plugin):
            return ""
        others = [one.label for one in installed_for(self.directory, plugin.source)]
        here = f" Here are {', '.join(others)}, which do not suit." if others else ""
        return (
            f"{here} Nothing is fetched unasked: get the program packer-plugin-"
            f"{plugin.source.rpartition('/')[2]} and run goldsmith plugins install -path PROGRAM "
            f"{plugin.source}, or install a Python package that has it."
        ).strip()

    def _built_in(self, plugin: RequiredPlugin) -> str:
        name = plugin.source.removeprefix(_OF_PACKER)
        own = any(one == name or one.startswith(f"{name}-") for one in self.built_in)
        return "built in" if own and plugin.source.startswith(_OF_PACKER) else ""

    def _package(self, plugin: RequiredPlugin) -> str:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=plugin.name):
            version = entry.dist.version if entry.dist else ""
            if _suits(version, plugin.constraint):
                return f"Python package {entry.dist.name if entry.dist else entry.value} {version}"
        return ""

    def _program(self, plugin: RequiredPlugin) -> str:
        for one in installed_for(self.directory, plugin.source, prereleases=self.prereleases):
            if _suits(one.version, plugin.constraint):
                return str(one.path)
        return ""


def _suits(version: str, constraint: str) -> bool:
    try:
        return satisfies(version, constraint)
    except (MalformedConstraint, ValueError):
        return False


def finder(*, prereleases: bool) -> Callable[[RequiredPlugin], str]:
    """What loading a template asks about each required plugin."""
    requirements = Requirements(prereleases)

    def find(plugin: RequiredPlugin) -> str:
        try:
            return requirements.remedy(plugin)
        except GoldsmithError as error:
            return f"{error}; {error.hint}."

    return find
