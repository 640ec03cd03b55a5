"""`goldsmith plugins`: the plugin programs on this host, and what a template requires."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.gotemplate.quoting import quote
from goldsmith.host import process
from goldsmith.plugin.discovery import (
    API_VERSION,
    DIGEST_SUFFIX,
    digest_of,
    file_name,
    installed_for,
    installed_plugins,
    plugin_directory,
)
from goldsmith.template.hcl2.loader import load_requirements
from goldsmith.template.hcl2.required_plugins import constraint_problem, source_problem
from goldsmith.template.hcl2.required_version import satisfies
from goldsmith.template.load import is_hcl2
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.terminal import wants_color, write_line
from goldsmith.values.world import LiveWorld

FLAGS = {
    "path": Flag("text", "install: the plugin's program, which is copied"),
    "force": Flag("bool", "install: replace what is there"),
}
USAGE: Final = """\
Usage: goldsmith plugins <subcommand> [options]

  install -path PROGRAM SOURCE         copy a plugin's program to where it is found
  installed                            list the plugins that are here
  remove SOURCE|PATH [CONSTRAINT]      remove plugins
  required TEMPLATE                    list what a template requires"""
ANSWER_WITHIN_S: Final = 60.0


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
    for plugin in installed_plugins(plugin_directory(os.environ)):
        write_line(str(plugin.path))


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
        plugin.path.unlink()
        plugin.path.with_name(plugin.path.name + DIGEST_SUFFIX).unlink(missing_ok=True)
        write_line(str(plugin.path))


def _install(flags: Flags) -> None:
    source, _ = _source_and_constraint(flags, "install")
    program = flags.text("path")
    if not program:
        raise GoldsmithError(
            f"goldsmith fetches nothing: {source} has to be on this host already",
            hint=f"get its program, then: goldsmith plugins install -path PROGRAM {source}",
        )
    version = _described_version(Path(program).resolve())
    target = plugin_directory(os.environ).joinpath(
        *source.split("/"), file_name(source.rpartition("/")[2], version)
    )
    if target.exists() and not flags.on("force"):
        raise GoldsmithError(f"{target} is there already", hint="-force replaces it")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.new")
    shutil.copyfile(program, unfinished)
    unfinished.chmod(0o755)
    target.with_name(target.name + DIGEST_SUFFIX).write_text(digest_of(unfinished))
    unfinished.replace(target)
    write_line(f"Successfully installed plugin {source} from {program} to {target}")


def _described_version(program: Path) -> str:
    """The version of a plugin's program, asked of itself; raises GoldsmithError."""
    ended = process.run([program, "describe"], capture=True, timeout_s=ANSWER_WITHIN_S)
    hint = "it must be a program for Packer 1.7 or later, with protocol x5.0"
    try:
        said = json.loads(ended.text)
        version, api = str(said["version"]).removeprefix("v"), str(said["api_version"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"{program} does not describe itself as plugins do"
        raise GoldsmithError(message, hint=hint) from error
    if api not in (API_VERSION, API_VERSION.removeprefix("x")):
        raise GoldsmithError(f"{program} speaks protocol {api}", hint=hint)
    release, _, prerelease = version.partition("-")
    if prerelease not in ("", "dev") or not _is_release(release):
        raise GoldsmithError(
            f"{program} has version {version}", hint="only releases and -dev can be installed"
        )
    return version


def _is_release(version: str) -> bool:
    """A version of three numbers."""
    parts = version.split(".")
    return len(parts) == 3 and all(part.isdecimal() for part in parts)


_SUBCOMMANDS: Final[dict[str, Callable[[Flags], None]]] = {
    "install": _install,
    "installed": _installed,
    "remove": _remove,
    "required": _required,
}
