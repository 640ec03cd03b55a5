"""The components of one plugin, by kind and name; imports nothing that `describe` does not need.

Packer asks a plugin up to four times per build what it has, each time in a new process: a set whose
components are given as "module:Class" answers without importing them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Union

if TYPE_CHECKING:
    from goldsmith.plugin.authoring.components import (
        Builder,
        Command,
        DataSource,
        Hook,
        PostProcessor,
        Provisioner,
    )

DEFAULT_COMPONENT: Final = "-packer-default-plugin-name-"
"""The component that templates name by the plugin's name alone."""
SDK_VERSION: Final = "0.6.10"
"""The version of Packer's SDK whose protocol this is."""

KINDS: Final = ("builder", "provisioner", "post-processor", "datasource", "hook", "command")
_KEYS: Final = {
    "builder": "builders",
    "provisioner": "provisioners",
    "post-processor": "post_processors",
    "datasource": "datasources",
    "hook": "hooks",
    "command": "commands",
}
"""The field of a set, and the key of `describe`, for each kind."""
OF_GOLDSMITH_ONLY: Final = ("hook", "command")

Place = Union[str, type[Any]]  # noqa: UP007 (evaluated when the module is imported)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSet:
    """What a plugin offers: each name with a class, or with "module:Class".

    In templates a component is called PLUGIN-NAME; one named DEFAULT_COMPONENT, or "", is called
    PLUGIN. `version` has three numbers, perhaps with "-dev".
    """

    version: str = "0.0.1"
    builders: Mapping[str, str | type[Builder[Any]]] = field(default_factory=dict)
    provisioners: Mapping[str, str | type[Provisioner[Any]]] = field(default_factory=dict)
    post_processors: Mapping[str, str | type[PostProcessor[Any]]] = field(default_factory=dict)
    datasources: Mapping[str, str | type[DataSource[Any, Any]]] = field(default_factory=dict)
    hooks: Mapping[str, str | type[Hook]] = field(default_factory=dict)
    commands: Mapping[str, str | type[Command]] = field(default_factory=dict)
    four_fields: bool | None = None
    """Whether the first line names the minor version, as Packer from 1.7 on wants it and 1.6 does
    not take; None decides by the file's name and the arguments."""

    def places(self, kind: str) -> dict[str, Place]:
        """The components of a kind by their names within the plugin."""
        given: Mapping[str, Place] = getattr(self, _KEYS[kind])
        return {name or DEFAULT_COMPONENT: place for name, place in given.items()}

    def component(self, kind: str, name: str) -> type[Any]:
        """The class of a component, imported now; raises KeyError when there is none."""
        place = self.places(kind)[name]
        if not isinstance(place, str):
            return place
        from importlib import import_module

        module, _, class_name = place.partition(":")
        found: type[Any] = getattr(import_module(module), class_name)
        return found

    def plain_component(self, kind: str, name: str) -> Any:
        """A new component as the wire knows it (see `protocols`), for use in this process too.

        Raises GoldsmithError when it cannot be made.
        """
        from goldsmith.errors import GoldsmithError
        from goldsmith.plugin.authoring.served import plain

        try:
            return plain(kind, self.component(kind, name))
        except (Exception, SystemExit) as error:
            # Whatever a foreign module does when it is imported.
            said = f"{type(error).__name__}: {error}"
            raise GoldsmithError(
                f"the {kind} {name!r} of the plugin cannot be loaded: {said}",
                hint="report it to the author of the plugin",
            ) from error

    def description(self) -> dict[str, Any]:
        """What `describe` prints; hooks and commands only where there are some."""
        said: dict[str, Any] = {
            "version": self.version, "sdk_version": SDK_VERSION, "api_version": "x5.0",
            "protocol_version": "v2",
        }  # fmt: skip
        for kind, key in _KEYS.items():
            names = sorted(self.places(kind))
            if names or kind not in OF_GOLDSMITH_ONLY:
                said[key] = names
        return said

    def serve(self, argv: Sequence[str] | None = None) -> None:
        """Be the plugin's program: do what `argv` asks for and end the process.

        `argv` is sys.argv unless it is given.
        """
        from goldsmith.plugin.serve import main

        main(self, list(sys.argv if argv is None else argv))
