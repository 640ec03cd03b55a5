"""Single Debian packages fetched by APT and not installed: for what goldsmith builds for itself.

APT works in a directory of its own, with sources and settings that are given: neither the host's
lists nor its dpkg database are read or changed, and its hooks do not run. Every package is checked
against an index whose Release file is signed. Source: apt-get(8) (`download`), apt-cache(8),
apt.conf(5) of apt 2.6.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.host.process import run, tool_environment
from goldsmith.packages.apt_errors import package_error
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource, render_sources
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.errors import PackageError

PACKAGE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_ROUNDS_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """The newest version of a package that the sources offer.

    `depends` has one entry for each dependency (Pre-Depends first): the names that satisfy it, in
    order of preference, without versions and architectures.
    """

    name: str
    version: str
    architecture: str
    section: str
    depends: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> PackageRecord:
        """Read a paragraph of `apt-cache show`; raises KeyError for one that is none."""
        relations = f"{fields.get('pre-depends', '')},{fields.get('depends', '')}"
        depends = (_alternatives(text) for text in relations.split(","))
        return cls(
            name=fields["package"],
            version=fields["version"],
            architecture=fields["architecture"],
            # Archive areas other than main stand before the section: "non-free/libs".
            section=fields.get("section", "").rpartition("/")[2],
            depends=tuple(names for names in depends if names),
        )


def _alternatives(relation: str) -> tuple[str, ...]:
    """The names in `a (>= 1) | b:any`."""
    found = (PACKAGE_NAME.match(word.strip()) for word in relation.split("|"))
    return tuple(match.group() for match in found if match)


@dataclass(frozen=True, slots=True)
class FetchedPackage:
    """A package's file, whose content APT has verified."""

    record: PackageRecord
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Where packages come from and go to.

    `directory` exists and is ours alone: APT's lists and caches lie in it beside the packages.
    """

    directory: Path
    sources: Sequence[AptSource]
    settings: AptSettings
    architecture: str


def fetch_packages(
    names: Iterable[str],
    download: Download,
    *,
    follow: Callable[[PackageRecord], bool] = lambda record: False,
) -> tuple[FetchedPackage, ...]:
    """Fetch packages, and of those that they depend on the ones that `follow` takes.

    Recommended packages are not looked at. Raises PackageError with APT's own message for names
    that no source has, signatures that are wrong and mirrors that cannot be reached.
    """
    wanted = tuple(dict.fromkeys(names))
    wrong = [name for name in wanted if not PACKAGE_NAME.fullmatch(name)]
    if wrong:
        raise PackageError(f"not a package's name: {', '.join(map(repr, wrong))}")
    if not download.sources:
        raise PackageError("there are no APT sources to fetch packages from")
    apt = _Apt(download)
    apt.run("apt-get", "update", "--error-on=any")
    records = resolve(wanted, apt.show, follow=follow)
    apt.run("apt-get", "download", *(f"{r.name}={r.version}" for r in records))
    return tuple(FetchedPackage(record, _file_of(record, download.directory)) for record in records)


def resolve(
    names: Sequence[str],
    show: Callable[[Sequence[str]], Mapping[str, PackageRecord]],
    *,
    follow: Callable[[PackageRecord], bool],
) -> tuple[PackageRecord, ...]:
    """The records of packages and of the dependencies that `follow` takes, sorted by name.

    `show` gives the records of those names that exist. Of alternatives the first that exists is
    looked at. Raises PackageError for wanted names without a record.
    """
    known = dict(show(names))
    absent = [name for name in names if name not in known]
    if absent:
        raise PackageError(
            f"packages cannot be found: {', '.join(absent)}",
            hint="this host's APT sources must have Debian's component main for its own suite",
        )
    chosen = {name: known[name] for name in names}
    fresh = list(chosen.values())
    for _ in range(_ROUNDS_LIMIT):
        needed = [names for record in fresh for names in record.depends]
        unseen = sorted({name for names in needed for name in names} - set(known))
        known |= show(unseen) if unseen else {}
        first = (next((known[n] for n in names if n in known), None) for names in needed)
        fresh = [
            record
            for record in dict.fromkeys(first)
            if record is not None and record.name not in chosen and follow(record)
        ]
        if not fresh:
            break
        chosen |= {record.name: record for record in fresh}
    return tuple(chosen[name] for name in sorted(chosen))


class _Apt:
    """APT with a configuration, lists and caches of its own."""

    def __init__(self, download: Download) -> None:
        self._directory = download.directory
        for name in ("lists/partial", "cache/archives/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "apt.conf"
        sandboxed = reachable_by_all(self._directory)
        text = apt_configuration(self._directory, download.architecture, sandboxed=sandboxed)
        _write_private(configuration, text + download.settings.bootstrap_text())
        _write_private(
            self._directory / "host.sources",
            render_sources(_copied(source.verified()) for source in download.sources),
        )
        self._environment = tool_environment(APT_CONFIG=str(configuration))

    def run(self, *argv: str) -> str:
        """Run one of APT's programs in the directory; raises PackageError with what it says."""
        lines: list[str] = []
        done = run(argv, env=self._environment, cwd=self._directory, check=False, capture=True,
                   on_line=lambda _, line: lines.append(line))  # fmt: skip
        if done.status != 0:
            raise package_error([*done.text.splitlines(), *lines])
        return done.text

    def show(self, names: Sequence[str]) -> dict[str, PackageRecord]:
        """The newest versions of those packages that the sources have."""
        # It fails where it finds none at all, and passes over virtual packages.
        done = run(["apt-cache", "show", "--no-all-versions", *names], env=self._environment,
                   cwd=self._directory, check=False, capture=True)  # fmt: skip
        records = [PackageRecord.of(fields) for fields in paragraphs(done.text)]
        return {record.name: record for record in records}


def apt_configuration(directory: Path, architecture: str, *, sandboxed: bool = True) -> str:
    """The apt.conf of an APT that knows nothing but `directory` and the host's keys."""
    # Without dpkg's status nothing counts as installed, so its records are those of the sources.
    settings = {
        "APT::Architecture": architecture,
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        # Only Packages files are read: no DEP-11, no Contents, whatever the host asks for.
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::IndexTargets::deb::CNF::DefaultEnabled": "false",
        "Dir::State": str(directory),
        "Dir::State::status": "/dev/null",
        # Else it locks files beside that one, /dev/lock-frontend of the host, for which another
        # build would fail: all of this directory is its own.
        "Debug::NoLocking": "true",
        "Dir::State::extended_states": "/dev/null",
        "Dir::Cache": f"{directory}/cache",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": f"{directory}/host.sources",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    if not sandboxed:
        settings["APT::Sandbox::User"] = "root"
    lines = [f'{name} "{value}";\n' for name, value in settings.items()]
    # The list of foreign architectures is dpkg's where it is not given.
    return "".join([*lines, f'APT::Architectures {{ "{architecture}"; }};\n'])


def _write_private(path: Path, text: str) -> None:
    """Write a file that may hold the password of a mirror or a proxy."""
    path.touch(mode=0o600)
    path.write_text(text)


def reachable_by_all(directory: Path) -> bool:
    """Whether an unprivileged user, as which APT downloads, can get into a directory."""
    path = Path(os.path.realpath(directory))
    return all(stat.S_IMODE(place.stat().st_mode) & 0o001 for place in (path, *path.parents))


def _copied(source: AptSource) -> AptSource:
    """A package of a `file:` source would be left where it is; `copy:` fetches it."""
    return replace(source, uris=tuple(re.sub(r"^file:", "copy:", uri) for uri in source.uris))


def _file_of(record: PackageRecord, directory: Path) -> Path:
    """The file that `apt-get download` wrote: colons of an epoch are percent-encoded."""
    version = record.version.replace(":", "%3a")
    path = directory / f"{record.name}_{version}_{record.architecture}.deb"
    if not path.is_file():
        raise PackageError(f"APT fetched {record.name} {record.version}, but {path} is not there")
    return path
