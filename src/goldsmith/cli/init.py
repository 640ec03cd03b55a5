"""`goldsmith init`: are the plugins here that a template requires? Nothing is fetched."""

from __future__ import annotations

import sys

from goldsmith.cli.flags import Flag, FlagError, read_flags, usage_of
from goldsmith.cli.requirements import Requirements
from goldsmith.cli.templates import template_path, variable_pairs
from goldsmith.errors import Diagnostics, GoldsmithError
from goldsmith.plugin.lock_file import LockFile
from goldsmith.template.hcl2.loader import load_requirements
from goldsmith.template.hcl2.required_plugins import report_missing
from goldsmith.template.load import is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.world import LiveWorld

FLAGS = {
    "upgrade": Flag("bool", "lock the newest suitable plugins that are here"),
    "force": Flag("bool", "accepted; nothing is fetched"),
    "var": Flag("many", "accepted; requirements hold no variables"),
    "var-file": Flag("many", "accepted; requirements hold no variables"),
}


def run(words: list[str], machine_readable: bool) -> int:
    """Say where each required plugin is; 1 when one is missing or the template is wrong."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage_of("init", FLAGS))
        return 0
    try:
        flags = read_flags(FLAGS, words)
        variable_pairs(flags)
        _look(template_path("init", flags), upgrade=flags.on("upgrade"))
    except FlagError as e:
        write_line(f"{usage_of('init', FLAGS)}\n\n{e}")
        return 1
    except GoldsmithError as e:
        write_line(render_error(e, color=wants_color(sys.stdout, None)))
        return 1
    return 0


def _look(path: str, *, upgrade: bool) -> None:
    """Report on each plugin, and lock those that are here; raises TemplateError for the others."""
    world = LiveWorld()
    if not is_hcl2(path, world):
        raise GoldsmithError(
            f"init works with HCL2 templates only, and {path} is in JSON",
            hint="goldsmith hcl2_upgrade rewrites it",
        )
    plugins = load_requirements(path, world=world)
    if not plugins:
        write_line("No plugins are required: there is no required_plugins block in the template.")
        return
    lock = LockFile.beside(path)
    requirements = Requirements(lock=None if upgrade else lock)
    for plugin in plugins:
        if place := requirements.place(plugin):
            write_line(f"{plugin.name} ({plugin.source} {plugin.constraint}): {place}")
        if (chosen := requirements.catalogue.required.get(plugin.name)) is not None:
            program = chosen.plugin
            lock.lock(plugin.source, program.label.removeprefix("v"), program.digest)
    if lock.plugins:
        lock.write()
        write_line(f"{lock.path} says which plugins the template is built with.")
    found = Diagnostics()
    report_missing(plugins, requirements.remedy, found)
    found.raise_if_errors({path: world.read_file(path).decode("utf-8", "replace")}
                          if world.path_kind(path) == "file" else {})  # fmt: skip
