"""What a playbook's effect depends on: the files that it is made of, and how it is run.

Nobody can tell from a playbook alone what it reads: names may be computed. So the key holds every
file that Ansible looks for beside a playbook and every one that is named in it; while it runs, what
Ansible reads is noted (see `controller.launcher`), and what the key lacks keeps a result from being
used again.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from goldsmith.core.caching import config_inputs, shown_path
from goldsmith.errors import GoldsmithError
from goldsmith.host.tree_digests import tree_digests
from goldsmith.layers.keys import StepKey
from goldsmith.provisioners.ansible.options import AnsibleOptions, SshOptions

_BESIDE: Final = (
    "action_plugins", "become_plugins", "cache_plugins", "callback_plugins", "cliconf_plugins",
    "collections", "connection_plugins", "defaults", "files", "filter_plugins", "group_vars",
    "handlers", "host_vars", "httpapi_plugins", "inventory_plugins", "library", "lookup_plugins",
    "meta", "module_utils", "roles", "shell_plugins", "strategy_plugins", "tasks", "templates",
    "test_plugins", "vars", "vars_plugins",
)  # fmt: skip
"""Directories that Ansible looks into when they lie beside a playbook or an inventory."""
_OF_INVENTORIES: Final = ("group_vars", "host_vars")
CONFIG_FILE: Final = "ansible.cfg"
_LARGEST_READ_BYTES: Final = 4 << 20
_YAML: Final = frozenset({".yml", ".yaml", ".json"})
_WORD: Final = re.compile(r"""[^\s'"=,\[\]{}()|:]+""")
_SHARED: Final = ("~/.ansible", "/usr/share/ansible")
_NOT_KEYED: Final = frozenset({
    "inputs", "playbook_file", "inventory_file", "inventory_directory", "roles_path",
    "collections_path", "galaxy_file", "galaxy_force_install", "galaxy_force_with_deps",
    "needs_python", "network", *SshOptions.model_fields,
})  # fmt: skip
PASSED_OVER: Final = ("/proc/", "/sys/", "/dev/")
_OUTPUT: Final = "the output of programs on this host"


def key(options: AnsibleOptions, directory: Path) -> StepKey:
    """The options, and the modes and contents of all files that are known to be read.

    Raises GoldsmithError for one that cannot be read.
    """
    settings = options.model_dump(exclude=set(_NOT_KEYED))
    variables = settings.pop("extra_vars")
    settings |= _places(options, directory)
    inputs = {"type": "ansible/1", **config_inputs(settings), "config:ansible": versions()}
    inputs |= {f"var:{name}": value for name, value in variables.items()}
    for name in roots(options, directory):
        shown = f"file:{shown_path(name, directory)}"
        while shown in inputs:
            shown += "'"
        try:
            digests = tree_digests(directory / name)
        except OSError as e:
            raise GoldsmithError(f"cannot read {name}: {e.filename}: {e.strerror}") from e
        inputs |= {
            shown if path == "." else f"{shown}/{path}": digest for path, digest in digests.items()
        }
    return StepKey(inputs)


def _places(options: AnsibleOptions, directory: Path) -> dict[str, str]:
    """Which of the files is the playbook, which the inventory, and what is searched first."""
    found = {}
    for name in ("playbook_file", "inventory_file", "inventory_directory", "galaxy_file"):
        given = getattr(options, name)
        found[name] = "" if given is None else shown_path(given, directory)
    for name in ("roles_path", "collections_path"):
        given = getattr(options, name)
        parts = [] if given is None else search_path(given, "")
        found[name] = ":".join(shown_path(part, directory) for part in parts)
    return found


def versions() -> str:
    """The versions of what interprets a playbook; "" for what is not there."""
    found = []
    for name in ("ansible-core", "ansible", "Jinja2"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def roots(options: AnsibleOptions, directory: Path) -> list[str]:
    """The files and directories that are known to be read, each once, in order."""
    playbook = directory / options.playbook_file
    found = [options.playbook_file, *_beside(playbook.parent, directory)]
    found += [name for name in (options.inventory_file, options.inventory_directory,
                                options.galaxy_file) if name is not None]  # fmt: skip
    if options.inventory_file is not None:
        found += _beside((directory / options.inventory_file).parent, directory)
    found += search_path(options.roles_path, "roles")
    found += search_path(options.collections_path, "collections")
    found += config_files(options, directory)
    for name in _named_in_arguments(options.extra_arguments, directory):
        # It may be an inventory: Ansible reads the variables beside it.
        found += [name, *_beside((directory / name).parent, directory, _OF_INVENTORIES)]
    found += options.inputs
    found += _named_in(playbook, directory)
    return _once([name for name in found if (directory / name).exists()], directory)


def search_path(given: str | None, kind: str) -> list[str]:
    """Where roles or collections are looked for: where the template says, or in shared places."""
    if given is not None:
        return [os.path.expanduser(part) for part in given.split(":") if part]
    return [
        path for path in (f"{os.path.expanduser(place)}/{kind}" for place in _SHARED)
        if os.path.isdir(path)
    ]  # fmt: skip


def config_files(options: AnsibleOptions, directory: Path) -> list[str]:
    """Ansible's own settings: the file that its variables name, or the one of the directory."""
    for pair in reversed(options.ansible_env_vars):
        name, _, value = pair.partition("=")
        if name == "ANSIBLE_CONFIG":
            return [value]
    return [CONFIG_FILE] if (directory / CONFIG_FILE).is_file() else []


def unkeyed(
    notes: Path, options: AnsibleOptions, directory: Path, own: Iterable[Path]
) -> list[str]:
    """What Ansible read besides what the key holds, by the notes of a run; `own` is not counted.

    Parts of the interpreter and of Ansible belong to their versions.
    """
    known = [os.path.realpath(directory / name) for name in roots(options, directory)]
    known += [os.path.realpath(path) for path in (*map(str, own), *interpreter())]
    found = set()
    ran_programs = False
    for line in notes.read_text(errors="surrogateescape").splitlines():
        noted = json.loads(line)
        if not isinstance(noted, str):
            ran_programs = True
            continue
        path = os.path.realpath(noted)
        above = any(place.startswith(path.rstrip("/") + "/") for place in known)
        inside = any(path == place or path.startswith(place + "/") for place in known)
        if not inside and not (above and os.path.isdir(path)) and os.path.exists(path):
            found.add(path)
    return [*([_OUTPUT] if ran_programs else []), *sorted(found)]


def interpreter() -> list[str]:
    """Where Python and Ansible lie."""
    places = [sys.prefix, sys.base_prefix + "/lib", sys.base_prefix + "/share", "/usr/lib",
              "/usr/share/zoneinfo", "/etc/localtime", "/etc/ssl", "/etc/os-release",
              "/etc/debian_version", "/etc/lsb-release"]  # fmt: skip
    return [place for place in dict.fromkeys(places) if place not in ("/", "/usr")]


def _beside(place: Path, directory: Path, names: Iterable[str] = _BESIDE) -> list[str]:
    return [os.path.relpath(place / name, directory) for name in names if (place / name).exists()]


def _named_in_arguments(arguments: Sequence[str], directory: Path) -> list[str]:
    """Files that arguments name: `-e @vars.yml`, `--vault-password-file=pass`, `-i hosts`."""
    found = []
    for argument in arguments:
        for word in (argument, *re.split(r"[=@]", argument)[1:]):
            if word and _is_file(directory / os.path.expanduser(word)):
                found.append(os.path.expanduser(word))
    return found


def _named_in(playbook: Path, directory: Path) -> Iterator[str]:
    """Files that a playbook names beside it, and those that they name."""
    pending, seen = [playbook], {os.path.realpath(playbook)}
    while pending:
        path = pending.pop()
        for word in sorted(set(_WORD.findall(_text(path)))):
            # Absolute paths are mostly those of the machine; a run notes the others.
            named = path.parent / word
            if word.startswith("/") or not _is_file(named) or os.path.realpath(named) in seen:
                continue
            seen.add(os.path.realpath(named))
            yield os.path.relpath(named, directory)
            if named.suffix in _YAML:
                pending.append(named)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # too long for a name, or none at all


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST_READ_BYTES).decode(errors="surrogateescape")
    except OSError:
        return ""


def _once(names: Iterable[str], directory: Path) -> list[str]:
    """The names without those that lie in a directory that is named as well, or are named twice."""
    kept: dict[str, str] = {}
    for name in names:
        kept.setdefault(os.path.realpath(directory / name), name)
    return [
        name for path, name in kept.items()
        if not any(path != other and path.startswith(other + "/") for other in kept)
    ]  # fmt: skip
