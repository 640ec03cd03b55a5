"""APT of this host, for a tree that is not there yet: indexes, resolution, downloads."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from goldsmith.host.process import Completed, LineSink, run, tool_environment
from goldsmith.packages.apt_errors import package_error
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.download import apt_configuration, reachable_by_all
from goldsmith.packages.package_store import PRINT_URIS, Archive, PackageStore, parse_uris
from goldsmith.packages.parallel_fetch import fetch_in_parallel
from goldsmith.packages.repositories import render_pins

_RELEASE_FIELDS: Final = re.compile(r"^(Suite|Codename): *(\S+)$", re.MULTILINE)
_KEPT_LINES: Final = 100


class ToolFailed(Exception):
    """A program has failed; its lines, which the caller has seen, say why."""


def download_bytes(request: AptRequest, scratch: Path) -> int:
    """What a bootstrap of this request would download now, besides the indexes.

    Reads the indexes into a directory below `scratch` that is removed again. Raises PackageError.
    """
    recent: deque[str] = deque(maxlen=_KEPT_LINES)
    with tempfile.TemporaryDirectory(prefix="plan.", dir=scratch) as directory:
        Path(directory).chmod(0o700)
        try:
            apt = HostApt(request, Path(directory), lambda stream, line: recent.append(line))
            apt.update()
            archives = apt.listed(request.wanted())
        except ToolFailed as e:
            raise package_error(list(recent)) from e
    if request.store is None:
        return sum(archive.size_bytes for archive in archives)
    return PackageStore(request.store).missing_bytes(archives)


def package_names(request: AptRequest, scratch: Path) -> frozenset[str]:
    """The packages that a bootstrap of this request would install, by the indexes of now.

    Raises PackageError.
    """
    recent: deque[str] = deque(maxlen=_KEPT_LINES)
    with tempfile.TemporaryDirectory(prefix="names.", dir=scratch) as directory:
        Path(directory).chmod(0o700)
        try:
            apt = HostApt(request, Path(directory), lambda stream, line: recent.append(line))
            apt.update()
            archives = apt.listed(request.wanted())
        except ToolFailed as e:
            raise package_error(list(recent)) from e
    return frozenset(archive.name.partition("_")[0] for archive in archives)


class HostApt:
    """This host's APT with a configuration, lists and caches of its own."""

    def __init__(self, request: AptRequest, work: Path, on_line: LineSink) -> None:
        self._request, self._on_line = request, on_line
        self.architecture = request.architecture or host_architecture()
        self.directory = work / "apt"
        self.archives = self.directory / "cache/archives"
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True)
        sources = self.directory / "host.sources"
        sources.write_text(render_sources(request.fetched_sources()))
        # A cache older than the sources is made anew, and what was kept is older.
        os.utime(sources, (0, 0))
        (self.directory / "preferences").write_text(render_pins(request.pins))
        self._sandboxed = reachable_by_all(self.directory)
        text = apt_configuration(self.directory, self.architecture, sandboxed=self._sandboxed)
        configuration = self.directory / "apt.conf"
        # The later line wins: packages of a file: source are copied, and pins heeded.
        configuration.write_text(
            f'{text}Dir::Etc::preferences "{self.directory}/preferences";\n'
            # Its cache names the indexes as it reads them, and is of use from no other directory.
            'Dir::State::lists "./lists/";\nDir::Cache::srcpkgcache "";\n'
            f"{request.settings.bootstrap_text()}"
            # APT would link parts of them (acquire-item.cc), and a relative link leads nowhere.
            'Acquire::PDiffs "false";\n'
        )
        # APT ends its apt-key without waiting, which then leaves a copy of the key behind.
        temporary = self.directory / "tmp"
        temporary.mkdir()
        temporary.chmod(0o1777)
        self._environment = tool_environment(
            APT_CONFIG=str(configuration), TMPDIR=str(temporary)
        )  # fmt: skip
        self._listed: dict[tuple[str, ...], tuple[tuple[Archive, ...], bool]] = {}
        self.has_taken_cache = False
        """Whether it reads the cache of indexes that were verified before."""

    def _run(self, *argv: str, stdout_to: int | None = None) -> Completed:
        done = run(
            argv, env=self._environment, cwd=self.directory, check=False,
            on_line=self._on_line, stdout_to=stdout_to,
        )  # fmt: skip
        if done.status != 0:
            raise ToolFailed
        return done

    @property
    def cache(self) -> Path | None:
        """APT's own cache of the indexes that it has read."""
        place = self._cache_place
        return place if place.is_file() else None

    @property
    def _cache_place(self) -> Path:
        return self.directory / "cache/pkgcache.bin"

    def take_indexes(self, files: Sequence[Path], cache: Path | None = None) -> None:
        """Let `update` find these indexes: it fetches only what the Release files say otherwise.

        With APT's cache of them there is nothing left for it to do. One that is gone is fetched.
        """
        lists = self.directory / "lists"
        if cache is not None and self._has_linked(files, cache):
            self.has_taken_cache = True
            return
        for file in files:
            taken = lists / file.name
            # Copies, as APT gives its own files to another user.
            taken.unlink(missing_ok=True)
            try:
                shutil.copy2(file, taken)
            except OSError:
                taken.unlink(missing_ok=True)

    def _has_linked(self, files: Iterable[Path], cache: Path) -> bool:
        """Whether all of it has a name here now: an update, which alone writes, is not run."""
        try:
            for file in files:
                os.link(file, self.directory / "lists" / file.name)
            os.link(cache, self._cache_place)
        except OSError:
            self._cache_place.unlink(missing_ok=True)
            return False
        return True

    def update(self) -> None:
        """Read the indexes, unless it has taken them with their cache."""
        self._listed.clear()
        self._on_line("stdout", "I: running --setup-hook")
        if not self.has_taken_cache:
            self._run("apt-get", "update", "--error-on=any")

    def codename(self) -> str:
        """The release that the suite is: debootstrap decides by it, and "stable" is none."""
        for release in sorted((self.directory / "lists").glob("*Release")):
            text = release.read_text(errors="replace")
            fields: dict[str, str] = dict(_RELEASE_FIELDS.findall(text))
            if self._request.suite in fields.values():
                return fields.get("Codename", self._request.suite)
        return self._request.suite

    def dump_available(self) -> Path:
        """A file with the record of every package's candidate, the pins heeded."""
        dumped = self.directory / "available"
        with dumped.open("wb") as file:
            self._run("apt-cache", "dumpavail", stdout_to=file.fileno())
        return dumped

    def records(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """What the indexes say of the candidates of packages, by name."""
        shown = self.directory / "shown"
        with shown.open("wb") as file:
            self._run("apt-cache", "show", "--no-all-versions", *names, stdout_to=file.fileno())
        return {
            fields["package"]: fields for fields in paragraphs(shown.read_text(errors="replace"))
        }

    def listed(self, words: Sequence[str]) -> tuple[Archive, ...]:
        """The package files that an installation of these words into an empty tree needs."""
        return self.all_listed(words)[0]

    def all_listed(self, words: Sequence[str]) -> tuple[tuple[Archive, ...], bool]:
        """And whether these are all: an index may lack the digest of a package.

        Asked once for the same words; may be called on several threads.
        """
        known = self._listed.get(tuple(words))
        if known is not None:
            return known
        with tempfile.TemporaryFile(dir=self.directory) as file:
            self._run("apt-get", "--yes", *PRINT_URIS, "install", *words,
                      stdout_to=file.fileno())  # fmt: skip
            file.seek(0)
            text = file.read().decode(errors="replace")
        archives = parse_uris(text)
        are_all = len(archives) == sum(line.startswith("'") for line in text.splitlines())
        self._listed[tuple(words)] = archives, are_all
        return archives, are_all

    def _is_verified(self) -> bool:
        """Whether the lists of all sources are signed, so that only apt-get need judge them."""
        settings = self._request.settings.bootstrap_text().lower()
        return "insecure" not in settings and "unauthenticated" not in settings and not any(
            source.is_unverified for source in self._request.fetched_sources()
        )  # fmt: skip

    def fetch(self, base: Sequence[str], *, without: Collection[str] = ()) -> tuple[Archive, ...]:
        """Fetch the base and all that is asked for; what the store has is not fetched.

        Packages `without` (SHA-256) have their files already, as far as anybody needs them.
        """
        words = [*base, *self._request.wanted()]
        listed, all_listed = self.all_listed(words)
        archives = tuple(one for one in listed if one.sha256 not in without)
        store = PackageStore(self._request.store) if self._request.store is not None else None
        if store is not None:
            store.give_all(archives, self.archives)
        try:
            if self._is_verified():
                fetch_in_parallel(
                    archives, self.archives, environment=self._environment,
                    sandboxed=self._sandboxed, on_line=self._on_line,
                )  # fmt: skip
            there = all((self.archives / archive.name).exists() for archive in archives)
            if not (all_listed and there and self._is_verified()):
                if store is not None:
                    store.give_all(listed, self.archives)
                self._run("apt-get", "--yes", "--download-only", "install", *words)
        finally:
            if store is not None:
                store.take_all(archives, self.archives)
        return archives


def host_architecture() -> str:
    """The architecture of dpkg on this host."""
    return run(["dpkg", "--print-architecture"], capture=True).text.strip()
