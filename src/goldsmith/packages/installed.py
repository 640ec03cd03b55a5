"""What is installed in a tree, and which system it is: read from its files, nothing is run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.host.confined import read_confined
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.errors import PackageError

STATUS_FILE: Final = "/var/lib/dpkg/status"


@dataclass(frozen=True, slots=True, order=True)
class InstalledPackage:
    """A package as dpkg knows it; `source` is the name of its source package."""

    name: str
    architecture: str
    version: str
    source: str
    priority: str = ""
    essential: bool = False


def installed_packages(tree: Path) -> tuple[InstalledPackage, ...]:
    """Every package that is unpacked or configured, sorted; empty where dpkg has no database.

    Packages whose configuration files alone are left do not count. Raises PackageError for a
    status file that cannot be read.
    """
    text = (read_confined(tree, STATUS_FILE) or b"").decode(errors="replace")
    try:
        found = [_package(fields) for fields in paragraphs(text) if is_installed(fields)]
    except (ValueError, KeyError) as e:
        raise PackageError(f"{tree}{STATUS_FILE} cannot be read: {e}") from e
    return tuple(sorted(found))


def installed_names(tree: Path) -> frozenset[str]:
    """The names of the installed packages."""
    return frozenset(package.name for package in installed_packages(tree))


def is_installed(fields: Mapping[str, str]) -> bool:
    """Whether a paragraph of the status file is of a package that is unpacked or configured."""
    state = fields.get("status", "").rpartition(" ")[2]
    return state not in ("", "not-installed", "config-files")


def _package(fields: dict[str, str]) -> InstalledPackage:
    return InstalledPackage(
        name=fields["package"],
        architecture=fields.get("architecture", ""),
        version=fields.get("version", ""),
        source=fields.get("source", fields["package"]).partition(" ")[0],
        priority=fields.get("priority", ""),
        essential=fields.get("essential") == "yes",
    )


def os_release(tree: Path) -> dict[str, str]:
    """The fields of the tree's os-release(5); empty when it has none."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        text = read_confined(tree, path)
        if text is not None:
            return dict(_assignments(text.decode(errors="replace")))
    return {}


def _assignments(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            words = [value]
        found.append((name, words[0] if words else ""))
    return found
