"""The plugin sets of Python packages, by their places."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.plugin_set import PluginSet
from goldsmith.plugin.printed import logged_prints

ENTRY_POINTS: Final = "goldsmith.plugins"
"""The group in which packages name their plugin sets: `NAME = "module:PLUGIN_SET"`."""


def load_set(place: str) -> PluginSet:
    """The plugin set at "module:object"; raises GoldsmithError when there is none."""
    module, _, name = place.partition(":")
    try:
        with logged_prints():
            found = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever a foreign module does when it is imported
        told = f"the Python package of a plugin ({place}) cannot be imported"
        raise GoldsmithError(
            f"{told}: {type(error).__name__}: {error}", hint="reinstall or remove the package"
        ) from error
    if not isinstance(found, PluginSet):
        raise GoldsmithError(
            f"the entry point {place} is no goldsmith.plugin.PluginSet", hint="let it name one"
        )
    return found
