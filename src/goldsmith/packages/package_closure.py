"""dpkg's database as files: what each installed package laid into the tree, and what it needs.

Nothing is run. A closure takes every kind of dependency that is installed, suggestions included:
it says what may have an influence, not what must be there.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, read_confined
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.errors import PackageError
from goldsmith.packages.installed import STATUS_FILE, is_installed

INFO_DIRECTORY: Final = "/var/lib/dpkg/info"

_NEEDS: Final = ("pre-depends", "depends", "recommends", "suggests")
_ALTERNATIVE: Final = re.compile(r"[,|]")
_NAME: Final = re.compile(r"\s*([a-z0-9][a-z0-9.+-]*)")


@dataclass(frozen=True, slots=True, eq=False)
class PackageFiles:
    """An installed package with its paths as dpkg lists them, directories among them."""

    name: str
    architecture: str
    version: str
    essential: bool
    needs: frozenset[str]
    """Names of packages in its dependencies of any kind and in any alternative."""
    provides: frozenset[str]
    paths: tuple[str, ...] = field(repr=False)
    laid_ns: int
    """The time of its list of files: not before the time at which its files were laid."""

    @property
    def shown(self) -> str:
        """`name:architecture`."""
        return f"{self.name}:{self.architecture}"


def package_files(tree: Path) -> tuple[PackageFiles, ...]:
    """Every package that is unpacked or configured in a tree; empty where dpkg has no database.

    Raises PackageError for a status file that cannot be read.
    """
    text = (read_confined(tree, STATUS_FILE) or b"").decode(errors="replace")
    info = confined(tree, INFO_DIRECTORY, follow_last=True)
    try:
        return tuple(_read(info, f) for f in paragraphs(text) if is_installed(f))
    except (ValueError, KeyError) as e:
        raise PackageError(f"{tree}{STATUS_FILE} cannot be read: {e}") from e


def _read(info: Path, fields: Mapping[str, str]) -> PackageFiles:
    name, architecture = fields["package"], fields.get("architecture", "")
    paths, laid_ns = _listed(info, name, architecture)
    return PackageFiles(
        name, architecture, fields.get("version", ""),
        "yes" in (fields.get("essential"), fields.get("protected")),
        frozenset(n for kind in _NEEDS for n in names_in_relation(fields.get(kind, ""))),
        frozenset(names_in_relation(fields.get("provides", ""))), paths, laid_ns,
    )  # fmt: skip


def names_in_relation(relation: str) -> list[str]:
    """The names in a field such as Depends, in any alternative, without versions."""
    found = (_NAME.match(part) for part in _ALTERNATIVE.split(relation))
    return [match.group(1) for match in found if match]


def _listed(info: Path, name: str, architecture: str) -> tuple[tuple[str, ...], int]:
    """The paths and the time of a package's list; of Multi-Arch: same ones it names the latter."""
    for stem in (name, f"{name}:{architecture}"):
        path = info / f"{stem}.list"
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(status.st_mode):
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            return tuple(line for line in text.split("\n") if line), status.st_mtime_ns
    return (), 0


def closure(
    packages: Iterable[PackageFiles], is_root: Callable[[PackageFiles], bool]
) -> frozenset[PackageFiles]:
    """The roots with everything installed that they need, and what that needs."""
    by_name: dict[str, list[PackageFiles]] = {}
    everything = list(packages)
    for package in everything:
        for name in (package.name, *package.provides):
            by_name.setdefault(name, []).append(package)
    pending = [package for package in everything if is_root(package)]
    found = set(pending)
    while pending:
        needed = {p for name in pending.pop().needs for p in by_name.get(name, ())}
        pending += needed - found
        found |= needed
    return frozenset(found)
