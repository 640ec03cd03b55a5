"""Where the plugins that a template requires are: built in, in a Python package, or a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from goldsmith.cli.components import builtin_registry
from goldsmith.errors import GoldsmithError
from goldsmith.plugin.discovery import (
    InstalledPlugin,
    installed_for,
    of_source,
    unsound_plugins,
    why_unsound,
)
from goldsmith.plugin.lock_file import LockFile
from goldsmith.plugin.remote.catalogue import Catalogue, Chosen
from goldsmith.template.hcl2.required_plugins import RequiredPlugin
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies

_KINDS: Final = ("builder", "provisioner", "post-processor", "data source")
_OF_PACKER: Final = "github.com/hashicorp/"


@dataclass
class Requirements:
    """Looks for plugins; the programs that it chooses are the catalogue's from then on."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    lock: LockFile | None = None
    """What the template is to be built with; None where nothing is locked."""

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
        """What is wrong with a plugin, and what to do about it; "" for one that can be used.

        It is the end of a sentence that names the plugin.
        """
        if self.place(plugin):
            return ""
        others = self._installed(plugin)
        suiting = [one for one in others if _suits(one.version, plugin.constraint)]
        if suiting and (locked := self._locked(plugin)):
            return (
                f"is not here. {locked}, and here is {', '.join(one.label for one in suiting)}. "
                "Install the locked one, or let goldsmith init -upgrade lock the one that is here."
            )
        unsound = of_source(unsound_plugins(self.catalogue.directory), self.catalogue.directory,
                            plugin.source)  # fmt: skip
        for one in unsound:
            if _suits(one.version, plugin.constraint):
                return (
                    f"is here and is not used: {one.path} {why_unsound(one)}. Get it again, and "
                    f"run goldsmith plugins install -force -path PROGRAM {plugin.source}."
                )
        listed = ", ".join(one.label for one in others)
        here = f" Here are {listed}, which do not suit." if others else ""
        return (
            f"is not here.{here} Nothing is fetched unasked: get the program packer-plugin-"
            f"{plugin.source.rpartition('/')[2]} and run goldsmith plugins install -path PROGRAM "
            f"{plugin.source}, or install a Python package that has it."
        )

    def chosen(self, plugin: RequiredPlugin) -> Chosen | None:
        """The newest program that suits, says of itself what its name says, and is locked."""
        locked = self.lock.plugins.get(plugin.source) if self.lock else None
        for one in self._installed(plugin):
            if not _suits(one.version, plugin.constraint):
                continue
            if locked is not None and one.label.removeprefix("v") != locked.version:
                continue
            if locked is not None and locked.digest not in (None, one.digest):
                continue
            if (description := self.catalogue.described(one)) is not None:
                return Chosen(one, description, locked=locked is not None)
        return None

    def _installed(self, plugin: RequiredPlugin) -> list[InstalledPlugin]:
        return installed_for(
            self.catalogue.directory, plugin.source, prereleases=self.catalogue.prereleases
        )

    def _locked(self, plugin: RequiredPlugin) -> str:
        locked = self.lock.plugins.get(plugin.source) if self.lock else None
        if locked is None or self.lock is None:
            return ""
        digest = f" (sha256 {locked.digest[:12]}…)" if locked.digest else ""
        return f"{self.lock.path} locks v{locked.version}{digest}"

    def _built_in(self, plugin: RequiredPlugin) -> str:
        name = plugin.source.removeprefix(_OF_PACKER)
        own = any(one == name or one.startswith(f"{name}-") for one in self.built_in)
        if not own or not plugin.source.startswith(_OF_PACKER):
            return ""
        self._program(plugin)  # its other components are welcome too
        return "built in"

    def _package(self, plugin: RequiredPlugin) -> str:
        for name in (plugin.name, plugin.source.rpartition("/")[2]):
            if (entry := self.catalogue.packages.get(name)) is None:
                continue
            version = entry.dist.version if entry.dist else ""
            if _suits(version, plugin.constraint):
                self.catalogue.packages.setdefault(plugin.name, entry)
                return f"Python package {entry.dist.name if entry.dist else entry.value} {version}"
        return ""

    def _program(self, plugin: RequiredPlugin) -> str:
        chosen = self.chosen(plugin)
        if chosen is None:
            return ""
        self.catalogue.required[plugin.name] = chosen
        return str(chosen.plugin.path)


def _suits(version: str, constraint: str) -> bool:
    try:
        return satisfies(version, constraint)
    except (MalformedConstraint, ValueError):
        return False


def finder(requirements: Requirements) -> Callable[[RequiredPlugin], str]:
    """What loading a template asks about each required plugin."""

    def find(plugin: RequiredPlugin) -> str:
        try:
            return requirements.remedy(plugin)
        except GoldsmithError as error:
            return f"{error}; {error.hint}."

    return find
