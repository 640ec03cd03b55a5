"""Puts plugins of this host where they are found: from a program, a directory or a Python wheel.

A wheel gets a program of its own, which runs it alone: its packages reach no other Python code.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.described import Description, describe
from goldsmith.plugin.discovery import (
    API_VERSION,
    DIGEST_SUFFIX,
    digest_of,
    file_name,
    system_name,
)
from goldsmith.plugin.packages import ENTRY_POINTS

WHEEL_SUFFIX: Final = ".whl"
SUMS_SUFFIX: Final = "_SHA256SUMS"
_MOST_ENTRY_POINTS_BYTES: Final = 1 << 20
_PLACE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NAMED: Final = re.compile(r"packer-plugin-(?P<name>[0-9A-Za-z-]+?)(_v.*)?(\.exe)?")
_LAUNCHER: Final = '''\
#!{python} -IP
"""Runs the plugin of the wheel beside it; goldsmith plugins install has written this."""
import hashlib
import os
import sys

WHEEL = os.path.join(os.path.dirname(os.path.realpath(__file__)), {wheel!r})
with open(WHEEL, "rb") as file:
    if hashlib.file_digest(file, "sha256").hexdigest() != {digest!r}:
        sys.exit(WHEEL + " is not what was installed: install it again")
sys.path[:0] = [WHEEL]
from {module} import {name} as plugins  # noqa: E402

plugins.serve()
'''

Suits = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a plugin was put."""

    path: Path
    version: str


def install(
    origin: Path, source: str, directory: Path, *, force: bool = False, suits: Suits | None = None
) -> Installed:
    """Install what is at a path as the plugin HOST/NAMESPACE/NAME below a directory.

    `suits` says which versions are wanted. Raises GoldsmithError, and OSError.
    """
    if not origin.exists():
        raise GoldsmithError(f"there is no {origin}")
    place = directory.joinpath(*source.split("/"))
    name = source.rpartition("/")[2]
    if origin.is_dir():
        origin = _in_directory(origin, name)
    digest = _checked_digest(origin)
    if origin.name.endswith(WHEEL_SUFFIX):
        return _install_wheel(origin, digest, name, place, force=force, suits=suits)
    description = _installable(origin.resolve(), suits)
    target = _target(place, name, description.version, force=force)
    _put(origin, target, digest)
    _sum(target, digest)
    return Installed(target, description.version)


def remove(path: Path) -> None:
    """Remove an installed program with its checksum and, if it has one, its wheel."""
    path.unlink()
    for beside in (path.name + DIGEST_SUFFIX, path.name + WHEEL_SUFFIX):
        path.with_name(beside).unlink(missing_ok=True)


def _in_directory(directory: Path, name: str) -> Path:
    """The program, or else the wheel, of that plugin in a directory as it was unpacked."""
    found = []
    for path in sorted(directory.iterdir()):
        match = _NAMED.fullmatch(path.name)
        is_program = match is not None and match["name"] == name and os.access(path, os.X_OK)
        if is_program and path.is_file():
            elsewhere = re.search(r"_[a-z0-9]+_[a-z0-9]+(\.exe)?$", path.name)
            if elsewhere is None or system_name() in path.name:
                found.append(path)
    if not found:
        found = sorted(directory.glob(f"*{WHEEL_SUFFIX}"))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found)
        raise GoldsmithError(
            f"{directory} has several plugins: {listed}" if found else
            f"{directory} has no program packer-plugin-{name} for {system_name()} and no wheel",
            hint="name the program itself with -path",
        )  # fmt: skip
    return found[0]


def _checked_digest(path: Path) -> str:
    """The SHA-256 of a program, held against the checksum files beside it, if there are any."""
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    wanted = [beside.read_text("utf-8", "replace")[:64]] if beside.is_file() else []
    for sums in path.parent.glob(f"*{SUMS_SUFFIX}"):
        for line in sums.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) == 2 and words[1].lstrip("*") == path.name:
                wanted.append(words[0])
    digest = digest_of(path)
    for one in wanted:
        if one.lower() != digest:
            raise GoldsmithError(
                f"{path} is not what its checksum file says", hint="get both again"
            )
    return digest


def _installable(program: Path, suits: Suits | None) -> Description:
    """What a program says of itself; raises GoldsmithError for one that must not be installed."""
    description = describe(program)
    hint = "it must be a program for Packer 1.7 or later, with protocol x5.0"
    if description.api_version not in (API_VERSION, API_VERSION.removeprefix("x")):
        raise GoldsmithError(f"{program} speaks protocol {description.api_version}", hint=hint)
    released = re.fullmatch(r"\d+\.\d+\.\d+(-dev)?", description.version)
    if released is None:
        raise GoldsmithError(
            f"{program} has version {description.version}",
            hint="only releases and -dev can be installed",
        )
    if suits is not None and not suits(description.release):
        raise GoldsmithError(f"{program} has version {description.version}, which does not suit")
    return description


def _install_wheel(
    wheel: Path, digest: str, name: str, place: Path, *, force: bool, suits: Suits | None
) -> Installed:
    """Copy a wheel and write the program that runs it; both go again if it does not work."""
    module, plugins = _plugin_set(wheel, name).split(":")
    place.mkdir(parents=True, exist_ok=True)
    trial = place / f".{name}.new"
    trial_wheel = place / f".{name}.new{WHEEL_SUFFIX}"
    try:
        _put(wheel, trial_wheel, digest, mode=0o644)

        def write(target: Path, beside: str) -> None:
            text = _LAUNCHER.format(
                python=sys.executable, wheel=beside, digest=digest, module=module, name=plugins
            )
            target.write_text(text)
            target.chmod(0o755)

        write(trial, trial_wheel.name)
        description = _installable(trial, suits)
        target = _target(place, name, description.version, force=force)
        trial_wheel.replace(target.with_name(target.name + WHEEL_SUFFIX))
        write(trial, target.name + WHEEL_SUFFIX)
        launcher_digest = digest_of(trial)
        trial.replace(target)
        _sum(target, launcher_digest)
    finally:
        trial.unlink(missing_ok=True)
        trial_wheel.unlink(missing_ok=True)
    return Installed(target, description.version)


def _plugin_set(wheel: Path, name: str) -> str:
    """The place of the plugin set in a wheel: that of its name, else its only one."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [
                info for info in archive.infolist()
                if re.fullmatch(r"[^/]+\.dist-info/entry_points\.txt", info.filename)
            ]  # fmt: skip
            text = ""
            if members and members[0].file_size <= _MOST_ENTRY_POINTS_BYTES:
                text = archive.read(members[0]).decode("utf-8", "replace")
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise GoldsmithError(f"{wheel} is no Python wheel: {error}") from error
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise GoldsmithError(f"the entry points of {wheel} cannot be read: {error}") from error
    places = dict(parser[ENTRY_POINTS]) if parser.has_section(ENTRY_POINTS) else {}
    place = places.get(name) or (next(iter(places.values())) if len(places) == 1 else "")
    if not _PLACE.fullmatch(place):
        raise GoldsmithError(
            f"{wheel} has no plugin {name}",
            hint=f'it needs an entry point {name} = "module:PLUGIN_SET" in {ENTRY_POINTS}',
        )
    return place


def _target(place: Path, name: str, version: str, *, force: bool) -> Path:
    target = place / file_name(name, version)
    if target.exists() and not force:
        raise GoldsmithError(f"{target} is there already", hint="-force replaces it")
    return target


def _put(origin: Path, target: Path, digest: str, mode: int = 0o755) -> None:
    """Copy a file under another name and rename it: what others see is whole, and was checked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(origin, unfinished)
        if digest_of(unfinished) != digest:
            raise GoldsmithError(
                f"{origin} has changed while it was installed", hint="install it again"
            )
        unfinished.chmod(mode)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _sum(target: Path, digest: str) -> None:
    target.with_name(target.name + DIGEST_SUFFIX).write_text(digest)
