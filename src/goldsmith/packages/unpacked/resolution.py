"""What APT decides for a request, kept under the digests of the Release files it was decided by.

The same indexes, sources, words and version of APT give the same answer, so neither indexes nor
packages are looked at again. An answer is kept only when the Release files that APT has verified
are those by whose digests it will be looked up, and for as long as these say that they are valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Self

from goldsmith.host.journal import remove_tree
from goldsmith.host.parallel import run_all
from goldsmith.host.process import run
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.errors import PackageError, StoreRefused
from goldsmith.packages.host_apt import HostApt
from goldsmith.packages.package_store import Archive, digest_of
from goldsmith.packages.unpacked.content_store import remove_old
from goldsmith.packages.unpacked.sealed import sealed, unsealed

STORE_NAME: Final = "resolutions"
"""The directory of kept answers, beside that of the downloaded packages."""
_VERSION: Final = 2
_ANSWER: Final = "answer.json"
_LISTS: Final = "lists"
_REFUSED: Final = "refused"
_MOST_KEPT: Final = 32
_VALID_UNTIL: Final = re.compile(rb"^Valid-Until: *(\S.*?)\s*$", re.MULTILINE)
_RELEASE_NAMES: Final = ("InRelease", "Release")
_APT: Final = "apt"
_ESSENTIAL: Final = (f"?and(?essential, ?not(?exact-name({_APT})))",)
"""APT counts itself among the essential packages.

It would not with an option for that, but then reads all indexes again: for a second, each time.
"""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The packages that a request means, and the indexes that say so, in a directory."""

    architecture: str
    archives: tuple[Archive, ...]
    automatic: tuple[str, ...]
    """The names of packages that nobody has asked for (see apt-mark(8))."""
    lists: Path
    valid_until_s: float | None = None
    indexes: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each index, by its name, of an answer that is kept."""

    @classmethod
    def read(cls, place: Path, now_s: float) -> Self | None:
        """A kept answer; None for one that is not whole, or not valid any more."""
        try:
            fields = json.loads(unsealed((place / _ANSWER).read_text()))
            if fields["version"] != _VERSION:
                return None
            valid_until_s = fields["valid_until_s"]
            if valid_until_s is not None and valid_until_s <= now_s:
                return None
            archives = tuple(Archive(**one) for one in fields["archives"])
            return cls(fields["architecture"], archives, tuple(fields["automatic"]),
                       place / _LISTS, valid_until_s, fields["indexes"])  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def text(self) -> str:
        """What `read` reads."""
        return sealed(json.dumps({
            "version": _VERSION, "architecture": self.architecture,
            "archives": [asdict(one) for one in self.archives],
            "automatic": list(self.automatic), "valid_until_s": self.valid_until_s,
            "indexes": {path.name: digest_of(path) for path in index_files(self.lists)},
        }))  # fmt: skip

    def changed(self) -> str | None:
        """The first index of a kept answer that is not as it was kept; reads every one."""
        for name, digest in self.indexes.items():
            try:
                if digest_of(self.lists / name) != digest:
                    return name
            except OSError:
                return name
        return None


@dataclass(frozen=True, slots=True)
class ResolutionStore:
    """Kept answers, each in a directory of its key's name that is renamed into place when whole."""

    directory: Path

    def find(self, request: AptRequest) -> Resolution | None:
        """The answer for a request, if there is one that may be used."""
        key = request_key(request)
        found = None if key is None else Resolution.read(self.directory / key, time.time())
        if found is not None and found.changed() is not None:
            return None
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(found.lists.parent)
        return found

    def indexes(self, request: AptRequest) -> tuple[Path, ...]:
        """Indexes of any kept answer by just the Release files of a request; none where none is.

        APT need neither fetch nor unpack them again, whatever else was asked for.
        """
        if request_key(request) is None:
            return ()
        wanted = set(request.release_digests)
        for place in self._places():
            answer = Resolution.read(place, time.time())
            if answer is None:
                continue
            # Another build may drop the oldest answers meanwhile.
            with contextlib.suppress(OSError):
                if _release_digests(answer.lists) == wanted and answer.changed() is None:
                    return tuple(answer.lists / name for name in sorted(answer.indexes))
        return ()

    def absence(self, request: AptRequest) -> str:
        """Why `find` has no answer for a request."""
        key = request_key(request)
        kept = None if key is None else Resolution.read(self.directory / key, 0.0)
        if kept is None:
            return (
                "which packages are needed is not kept for these sources and packages as their "
                "Release files are known"
            )
        if kept.valid_until_s is not None and kept.valid_until_s <= time.time():
            date = datetime.fromtimestamp(kept.valid_until_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
            return f"what APT chose is kept, but its Release files were valid until {date} only"
        return f"what APT chose is kept, but its index {kept.changed()} was changed since"

    def keep(self, request: AptRequest, answer: Resolution) -> None:
        """Keep an answer, where the Release files are those that the request speaks of.

        That it cannot be kept is no reason to fail.
        """
        key = request_key(request)
        if key is None or _release_digests(answer.lists) != set(request.release_digests):
            return
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            remove_old(path for path in self.directory.iterdir() if path.name.startswith("."))
            if self.find(request) is not None:
                return  # another build was quicker, and a third may read its indexes
            with tempfile.TemporaryDirectory(
                dir=self.directory, prefix=".", ignore_cleanup_errors=True
            ) as name:
                partial = Path(name) / key
                (partial / _LISTS).mkdir(parents=True)
                for file in index_files(answer.lists):
                    # APT replaces them by renaming, and so do we: nobody writes into one.
                    try:
                        os.link(file, partial / _LISTS / file.name)
                    except OSError:
                        shutil.copy2(file, partial / _LISTS / file.name)
                (partial / _ANSWER).write_text(answer.text())
                place = self.directory / key
                if place.exists():
                    os.rename(place, Path(name) / "old")
                os.rename(partial, place)
            self._drop_oldest()

    def note_refused(self, request: AptRequest, reason: str) -> None:
        """Note that the store cannot make this tree, so that nobody tries it again."""
        key = request_key(request)
        if key is not None:
            with contextlib.suppress(OSError):
                (self.directory / key).mkdir(parents=True, exist_ok=True, mode=0o700)
                (self.directory / key / _REFUSED).write_text(reason)

    def refused(self, request: AptRequest) -> str:
        """Why the store cannot make this tree, as far as is known; "" where it can."""
        key = request_key(request)
        if key is None:
            return ""
        try:
            return (self.directory / key / _REFUSED).read_text()
        except OSError:
            return ""

    def damaged(self) -> list[tuple[Path, str]]:
        """The kept answers that are not as they were kept, with what was changed."""
        found = []
        for place in self._places():
            if (place / _ANSWER).exists():
                answer = Resolution.read(place, 0.0)
                changed = _ANSWER if answer is None else answer.changed()
                if changed is not None:
                    found.append((place, changed))
        return found

    def _places(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if not path.name.startswith(".")]

    def _drop_oldest(self) -> None:
        places = sorted(self._places(), key=lambda path: path.stat().st_mtime, reverse=True)
        for place in places[_MOST_KEPT:]:
            remove_tree(place)


def request_key(request: AptRequest) -> str | None:
    """What an answer is kept under; None where the Release files are not known.

    Packages on this host's disk may change under the same Release file's name, so those that are
    trusted without one have no key.
    """
    if not request.release_digests or request.trusted or request.trusted_sources:
        return None
    sources = [replace(one, uris=tuple(map(_without_user, one.uris)))
               for one in request.build_sources()]  # fmt: skip
    parts = [
        str(_VERSION), apt_version(), request.architecture, *request.release_digests, "words",
        *request.wanted(), "now", *replace(request, later=()).wanted(),
        render_sources(sources), repr(request.pins),
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _without_user(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def apt_version() -> str:
    """The version of this host's APT, whose resolver decides."""
    return run(["apt-get", "--version"], capture=True).text.partition("\n")[0].strip()


def index_files(lists: Path) -> list[Path]:
    """The indexes that APT has read, without what is its own."""
    return sorted(path for path in lists.iterdir() if path.is_file() and path.name != "lock")


def _release_files(lists: Path) -> Iterator[Path]:
    for path in index_files(lists):
        if path.name.rpartition("_")[2] in _RELEASE_NAMES:
            yield path


def _release_digests(lists: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in _release_files(lists)}


def _valid_until_s(lists: Path) -> float | None:
    """The first time (seconds since 1970) at which APT refuses one of the Release files."""
    times = []
    for path in _release_files(lists):
        match = _VALID_UNTIL.search(path.read_bytes())
        if match is not None:
            try:
                times.append(parsedate_to_datetime(match.group(1).decode()).timestamp())
            except (ValueError, OverflowError):
                times.append(0.0)
    return min(times, default=None)


def resolve(request: AptRequest, apt: HostApt) -> Resolution:
    """Read the indexes and let APT decide.

    Raises ToolFailed, PackageError for no system, StoreRefused.
    """
    apt.update()
    words = replace(request, later=()).wanted()
    # Each reads APT's whole cache, on one core.
    listed = run_all({
        "wanted": lambda _: apt.all_listed(words), "essential": lambda _: apt.all_listed(_ESSENTIAL)
    })  # fmt: skip
    (now, are_all), (essential, _) = listed["wanted"], listed["essential"]
    if not essential:
        # Else a tree without dpkg would fail only where that is run.
        raise PackageError("the sources have no essential packages: is the component right?")
    if not are_all:
        raise StoreRefused(
            "an index of these sources has no SHA-256 of some package", hint="name another source"
        )
    lists = apt.directory / _LISTS
    automatic = _automatic(now, essential, words, apt)
    return Resolution(apt.architecture, now, automatic, lists, _valid_until_s(lists))


def _automatic(
    archives: Sequence[Archive], essential: Sequence[Archive], words: Sequence[str], apt: HostApt
) -> tuple[str, ...]:
    """Those that nobody has asked for by name or by a pattern, and that no essential one needs.

    mmdebstrap installs the essential ones by dpkg alone, so APT takes them as asked for.
    """
    asked = {re.split(r"[:=/^]", word)[0] for word in words}
    by_dpkg = {archive.sha256 for archive in essential}
    names = {archive.name.partition("_")[0]: archive for archive in archives}
    # The index may give a package another priority than its own control file does.
    records = apt.records(list(names))
    if records.get(_APT, {}).get("essential") == "yes":
        by_dpkg.update(archive.sha256 for archive in apt.all_listed(("?essential",))[0])
    found = []
    for name, archive in names.items():
        priority = records.get(name, {}).get("priority", "")
        by_pattern = f"?priority({priority})" in words
        if name not in asked and archive.sha256 not in by_dpkg and not by_pattern:
            found.append(name)
    return tuple(found)
