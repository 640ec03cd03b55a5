"""`goldsmith plugins`: the plugin programs on this host, and what a template requires."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.gotemplate.quoting import quote
from goldsmith.plugin.discovery import (
    installed_for,
    installed_plugins,
    plugin_directory,
    single_programs,
)
from goldsmith.plugin.installation import install, remove
from goldsmith.template.hcl2.loader import load_requirements
from goldsmith.template.hcl2.required_plugins import constraint_problem, source_problem
from goldsmith.template.hcl2.required_version import satisfies
from goldsmith.template.load import is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.world import LiveWorld

FLAGS = {
    "path": Flag("text", "install: the plugin's program, a directory with it, or a wheel"),
    "force": Flag("bool", "install: replace what is there"),
}
USAGE: Final = """\
Usage: goldsmith plugins <subcommand> [options]

  install -path PATH SOURCE [CONSTRAINT]
                                       copy a plugin (a program, a directory with it, or a
                                       Python wheel) to where it is found
  installed                            list the plugins that are here
  new NAME                             write the project of a new plugin in Python
  remove SOURCE|PATH [CONSTRAINT]      remove plugins
  required TEMPLATE                    list what a template requires"""


def run(words: list[str], machine_readable: bool) -> int:
    """Run a subcommand; 1 for errors, and for none or an unknown one."""
    subcommand = _SUBCOMMANDS.get(words[0]) if words else None
    if subcommand is None:
        write_line(USAGE)
        return 0 if words[:1] in (["-help"], ["--help"], ["-h"]) else 1
    if words[1:2] in (["-help"], ["--help"], ["-h"]):
        write_line(f"{USAGE}\n\n{describe(FLAGS)}")
        return 0
    try:
        subcommand(read_flags(FLAGS, words[1:]))
    except FlagError as e:
        write_line(f"{USAGE}\n\n{e}")
        return 1
    except (GoldsmithError, OSError) as e:
        error = explain_os_error(e) if isinstance(e, OSError) else e
        write_line(render_error(error, color=wants_color(sys.stdout, None)))
        return 1
    return 0


def _installed(flags: Flags) -> None:
    directory = plugin_directory(os.environ)
    paths = [one.path for one in installed_plugins(directory)]
    paths += [one.path for one in single_programs(directory)]
    for path in sorted(paths):
        write_line(str(path))


def _required(flags: Flags) -> None:
    if len(flags.words) != 1:
        raise FlagError("exactly one template is needed")
    path, world = flags.words[0], LiveWorld()
    if not is_hcl2(path, world):
        raise GoldsmithError(
            f"{path} is in JSON, where plugins cannot be required",
            hint="goldsmith hcl2_upgrade rewrites it in HCL2",
        )
    for plugin in load_requirements(path, world=world):
        write_line(f"{plugin.name} {plugin.source} {quote(plugin.constraint)}")


def _source_and_constraint(flags: Flags, verb: str) -> tuple[str, str]:
    if not 1 <= len(flags.words) <= 2:
        raise FlagError(f"{verb} takes a source address, and perhaps a version constraint")
    source, constraint = flags.words[0], (*flags.words, "")[1]
    if problem := source_problem(source):
        raise GoldsmithError(problem.rstrip("."))
    if constraint and (problem := constraint_problem(constraint)):
        raise GoldsmithError(problem.rstrip("."))
    return source, constraint


def _remove(flags: Flags) -> None:
    directory = plugin_directory(os.environ)
    given = flags.words[0] if flags.words else ""
    if given.startswith("/"):
        chosen = [one for one in installed_plugins(directory) if str(one.path) == given]
    else:
        source, constraint = _source_and_constraint(flags, "remove")
        chosen = [
            one
            for one in installed_for(directory, source)
            if not constraint or satisfies(one.version, constraint)
        ]
    if not chosen:
        raise GoldsmithError(
            f"no installed plugin is {' '.join(flags.words)}",
            hint="goldsmith plugins installed lists them",
        )
    for plugin in chosen:
        remove(plugin.path)
        write_line(str(plugin.path))


def _install(flags: Flags) -> None:
    source, constraint = _source_and_constraint(flags, "install")
    given = flags.text("path")
    if not given:
        raise GoldsmithError(
            f"goldsmith fetches nothing: {source} has to be on this host already",
            hint=f"get its program or wheel, then: goldsmith plugins install -path FILE {source}",
        )
    made = install(
        Path(given), source, plugin_directory(os.environ), force=flags.on("force"),
        suits=(lambda version: satisfies(version, constraint)) if constraint else None,
    )  # fmt: skip
    write_line(f"Successfully installed plugin {source} from {given} to {made.path}")


def _new(flags: Flags) -> None:
    from goldsmith.plugin.scaffold.project import write_project

    if len(flags.words) != 1:
        raise FlagError("new takes the name of the plugin")
    written = write_project(flags.words[0], Path.cwd())
    for path in written:
        write_line(str(path.relative_to(Path.cwd())))
    write_line(f"README.md in packer-plugin-{flags.words[0]} tells how to try it.")


_SUBCOMMANDS: Final[dict[str, Callable[[Flags], None]]] = {
    "install": _install,
    "installed": _installed,
    "new": _new,
    "remove": _remove,
    "required": _required,
}
