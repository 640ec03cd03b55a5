"""The plugins on this host: programs in a directory, each with its digest beside it.

The names, the digests and the places are those of Packer 1.11 and later, so that both programs use
the same plugins; programs of one component lie in the directory itself, as before 1.11. Nothing is
fetched, and nothing but `described` starts a program.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.described import Description, NotDescribed, describe

API_VERSION: Final = "x5.0"
DEEPEST: Final = 16
"""Levels of directories that are searched."""
DIGEST_SUFFIX: Final = "_SHA256SUM"
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_FILE: Final = re.compile(
    r"packer-plugin-(?P<name>[0-9A-Za-z-]+)_v(?P<version>\d+\.\d+\.\d+)(?P<pre>-[0-9A-Za-z.]+)?"
    r"_(?P<api>x?5\.0)_(?P<system>[a-z0-9]+_[a-z0-9]+)"
)
_SINGLE: Final = re.compile(
    r"packer-(?P<kind>builder|provisioner|post-processor)-(?P<name>[0-9A-Za-z][0-9A-Za-z_.-]*)"
)


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plugin's program; `prerelease` is "" for a release, else such as "-dev"."""

    path: Path
    name: str
    version: str
    prerelease: str = ""
    api_version: str = API_VERSION
    digest: str = ""
    """The SHA-256 that was held against the file beside it."""

    @property
    def label(self) -> str:
        """The version as people write it."""
        return f"v{self.version}{self.prerelease}"


@dataclass(frozen=True, slots=True)
class SingleProgram:
    """A program that is one component, started without arguments: packer-provisioner-NAME."""

    path: Path
    kind: str
    name: str
    digest: str = ""
    """The SHA-256 that was held against the file beside it; "" where there is none."""


def system_name() -> str:
    """System and processor as file names of plugins say them: linux_amd64."""
    machine = platform.machine()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"


def plugin_directory(environment: Mapping[str, str]) -> Path:
    """Where plugins lie, by Packer's rules; raises GoldsmithError for a list of directories."""
    if given := environment.get("PACKER_PLUGIN_PATH"):
        if os.pathsep in given:
            raise GoldsmithError(
                "PACKER_PLUGIN_PATH names several directories, which has no meaning any more",
                hint="set it to the one directory in which the plugins lie",
            )
        return Path(given)
    if configured := environment.get("PACKER_CONFIG_DIR"):
        return Path(configured) / ".packer.d/plugins"
    home = Path(environment.get("HOME") or Path.home())
    if (home / ".packer.d").is_dir():
        return home / ".packer.d/plugins"
    config = environment.get("XDG_CONFIG_HOME")
    return (Path(config) if config else home / ".config") / "packer/plugins"


def installed_plugins(
    directory: Path, *, prereleases: bool = True, named: str | None = None
) -> list[InstalledPlugin]:
    """The plugins below a directory whose digest is right, by path; those of one name if given."""
    return [one for one in _programs(directory, prereleases=prereleases, named=named) if one.digest]


def _programs(
    directory: Path, *, prereleases: bool, named: str | None
) -> Iterator[InstalledPlugin]:
    """The programs whose names are those of plugins, by path; without a sound digest it is ""."""
    for path in sorted(_files(directory)):
        match = _FILE.fullmatch(path.name.removesuffix(".exe"))
        if match is None or match["system"] != system_name():
            continue
        if named is not None and match["name"] != named:
            continue
        if (match["pre"] and not prereleases) or not os.access(path, os.X_OK):
            continue
        yield InstalledPlugin(path, match["name"], match["version"], match["pre"] or "",
                              match["api"], _sound_digest(path))  # fmt: skip


def unsound_plugins(
    directory: Path, *, prereleases: bool = True, named: str | None = None
) -> list[InstalledPlugin]:
    """The plugins below a directory that are not used, because nothing says that they are whole."""
    programs = _programs(directory, prereleases=prereleases, named=named)
    return [one for one in programs if not one.digest]


def why_unsound(plugin: InstalledPlugin) -> str:
    """What is wrong with the digest of a plugin, as the end of a sentence that names it."""
    name = plugin.path.name + DIGEST_SUFFIX
    if plugin.path.with_name(name).exists():
        return f"is not what {name} beside it says: it was damaged or changed"
    return f"has no {name} beside it, which says what it should be"


def of_source(
    plugins: Iterable[InstalledPlugin], directory: Path, source: str
) -> list[InstalledPlugin]:
    """Those of a source address HOST/NAMESPACE/NAME, the newest first.

    As with Packer everything below the parent of the address counts.
    """
    parent, _, name = source.rpartition("/")
    found = [one for one in plugins
             if one.name == name and one.path.is_relative_to(directory / parent)]  # fmt: skip
    return sorted(found, key=age, reverse=True)


def installed_for(
    directory: Path, source: str, *, prereleases: bool = True
) -> list[InstalledPlugin]:
    """The plugins of a source address whose digest is right, the newest first."""
    name = source.rpartition("/")[2]
    plugins = installed_plugins(directory, prereleases=prereleases, named=name)
    return of_source(plugins, directory, source)


def plugin_names(directory: Path) -> set[str]:
    """The names of the plugins below a directory, by their files' names alone."""
    matches = (_FILE.fullmatch(path.name.removesuffix(".exe")) for path in _files(directory))
    return {match["name"] for match in matches if match and match["system"] == system_name()}


def agreed(plugin: InstalledPlugin) -> Description | None:
    """What a plugin says of itself; None when it says nothing, or what its name contradicts."""
    try:
        said = describe(plugin.path)
    except NotDescribed:
        return None
    same = said.api_version == plugin.api_version and said.release == plugin.version
    return said if same and said.prerelease == plugin.prerelease else None


def single_programs(directory: Path) -> list[SingleProgram]:
    """The programs of one component in a directory itself, by name.

    Nothing makes a digest for them; one that has a digest beside it must have the right one, else
    GoldsmithError is raised.
    """
    found = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    for name in names:
        match, path = _SINGLE.fullmatch(name), directory / name
        if match is None or name.endswith(DIGEST_SUFFIX) or not path.is_file():
            continue
        if not os.access(path, os.X_OK):
            continue
        digest = _sound_digest(path)
        if path.with_name(name + DIGEST_SUFFIX).exists() and not digest:
            raise GoldsmithError(
                f"{path} is not what {name}{DIGEST_SUFFIX} says",
                hint="get the program again, or remove both files",
            )
        component = match["name"].removesuffix(".exe")
        found.append(SingleProgram(path, match["kind"], component, digest))
    return found


def file_name(name: str, version: str) -> str:
    """The name of a plugin's program; `version` without the "v"."""
    return f"packer-plugin-{name}_v{version}_{API_VERSION}_{system_name()}"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    """The files below a directory, none of its own."""
    top = len(directory.parts)
    for place, directories, names in os.walk(directory):
        depth = len(Path(place).parts) - top
        if depth >= DEEPEST:
            directories.clear()
        if depth:
            yield from (Path(place, name) for name in names)


def _sound_digest(path: Path) -> str:
    """The SHA-256 of a file that is what the file beside it says; "" for any other."""
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    try:
        wanted = beside.read_text("utf-8", "replace")[:64].lower()
        return wanted if wanted == digest_of(path) else ""
    except OSError:
        return ""


def age(plugin: InstalledPlugin) -> tuple[list[int], bool, str]:
    """A sort key: older versions first, a release after its pre-releases."""
    numbers = [int(part) for part in plugin.version.split(".")]
    return numbers, not plugin.prerelease, plugin.prerelease
