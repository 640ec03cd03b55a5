"""Components in other processes, and in Python packages: what a plugin's author imports is here.

Everything is imported when it is first used: a plugin's program has to start quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field

    from goldsmith.core.artifact import Artifact
    from goldsmith.core.options import DurationSeconds, Finding, SizeBytes
    from goldsmith.host.cancellation import check_cancelled, pause
    from goldsmith.plugin.authoring.components import (
        Builder,
        Command,
        DataSource,
        Hook,
        NoOptions,
        PluginError,
        PostProcessor,
        Provisioner,
    )
    from goldsmith.plugin.authoring.configuration import BuildInfo, ConfigError
    from goldsmith.plugin.authoring.host_side import CommandResult, Communicator, Hooks, Ui
    from goldsmith.plugin.authoring.options import Options, Secret
    from goldsmith.plugin.authoring.own_tree import this_host
    from goldsmith.plugin.plugin_set import PluginSet
    from goldsmith.plugin.serve import (
        serve_builder,
        serve_command,
        serve_datasource,
        serve_hook,
        serve_post_processor,
        serve_provisioner,
    )

__all__ = [
    "Artifact",
    "BuildInfo",
    "Builder",
    "Command",
    "CommandResult",
    "Communicator",
    "ConfigError",
    "DataSource",
    "DurationSeconds",
    "Field",
    "Finding",
    "Hook",
    "Hooks",
    "NoOptions",
    "Options",
    "PluginError",
    "PluginSet",
    "PostProcessor",
    "Provisioner",
    "Secret",
    "SizeBytes",
    "Ui",
    "check_cancelled",
    "pause",
    "serve_builder",
    "serve_command",
    "serve_datasource",
    "serve_hook",
    "serve_post_processor",
    "serve_provisioner",
    "this_host",
]

_PLACES = {
    "pydantic": ("Field",),
    "goldsmith.core.artifact": ("Artifact",),
    "goldsmith.core.options": ("DurationSeconds", "Finding", "SizeBytes"),
    "goldsmith.host.cancellation": ("check_cancelled", "pause"),
    "goldsmith.plugin.authoring.components": (
        "Builder", "Command", "DataSource", "Hook", "NoOptions", "PluginError", "PostProcessor",
        "Provisioner",
    ),
    "goldsmith.plugin.authoring.configuration": ("BuildInfo", "ConfigError"),
    "goldsmith.plugin.authoring.host_side": ("CommandResult", "Communicator", "Hooks", "Ui"),
    "goldsmith.plugin.authoring.options": ("Options", "Secret"),
    "goldsmith.plugin.authoring.own_tree": ("this_host",),
    "goldsmith.plugin.plugin_set": ("PluginSet",),
    "goldsmith.plugin.serve": (
        "serve_builder", "serve_command", "serve_datasource", "serve_hook", "serve_post_processor",
        "serve_provisioner",
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"goldsmith.plugin has no {name}")
