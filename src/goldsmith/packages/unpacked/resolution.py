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
from functools import cache
from pathlib import Path
from typing import Final, Self

from goldsmith.host.journal import remove_tree
from goldsmith.host.process import run
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.keyrings import keys_digest
from goldsmith.packages.package_store import Archive, digest_of
from goldsmith.packages.unpacked.content_store import remove_old
from goldsmith.packages.unpacked.sealed import sealed, unsealed

STORE_NAME: Final = "resolutions"
"""The directory of kept answers, beside that of the downloaded packages."""
_VERSION: Final = 3
_ANSWER: Final = "answer.json"
_LISTS: Final = "lists"
_CACHE: Final = "pkgcache.bin"
_REFUSED: Final = "refused"
_MOST_KEPT: Final = 32
_CACHE_AGE_S: Final = 24 * 3600.0
"""So long after APT has verified indexes its cache of them is read: keys expire, too."""
_VALID_UNTIL: Final = re.compile(rb"^Valid-Until: *(\S.*?)\s*$", re.MULTILINE)
_RELEASE_NAMES: Final = ("InRelease", "Release")
_USER: Final = re.compile(r"//[^/@\s\"]*@")
_AGE_LIMIT: Final = re.compile(r"valid-?time|valid-until-m", re.IGNORECASE)
"""Options by which APT takes files for old that do not say so (sources.list(5), apt.conf(5))."""


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
    cache: Path | None = None
    """APT's own cache of the indexes, where there is one."""
    cache_sha256: str = ""
    """The SHA-256 of the cache of an answer that is kept."""
    essential: tuple[str, ...] = ()
    """The SHA-256 of each package that the essential ones alone would need."""
    sources_key: str = ""
    """What cache and essential packages of a kept answer are good for (see `sources_key`)."""
    verified_s: float = 0.0
    """When APT itself has last verified the indexes (seconds since 1970)."""

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
            cache = place / _CACHE if fields["cache_sha256"] else None
            return cls(fields["architecture"], archives, tuple(fields["automatic"]),
                       place / _LISTS, valid_until_s, fields["indexes"], cache,
                       fields["cache_sha256"], tuple(fields["essential"]),
                       fields["sources_key"], fields["verified_s"])  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def text(self, sources_key: str) -> str:
        """What `read` reads."""
        return sealed(json.dumps({
            "version": _VERSION, "architecture": self.architecture,
            "archives": [asdict(one) for one in self.archives],
            "automatic": list(self.automatic), "valid_until_s": self.valid_until_s,
            "indexes": {path.name: digest_of(path) for path in index_files(self.lists)},
            "cache_sha256": "" if self.cache is None else digest_of(self.cache),
            "essential": list(self.essential), "sources_key": sources_key,
            "verified_s": self.verified_s,
        }))  # fmt: skip

    def changed(self) -> str | None:
        """The first index of a kept answer that is not as it was kept; reads every one."""
        for name, digest in self.indexes.items():
            if not _is_still(self.lists / name, digest):
                return name
        return None

    def has_changed_cache(self) -> bool:
        """Whether the cache of a kept answer is not as it was kept."""
        return self.cache is not None and not _is_still(self.cache, self.cache_sha256)

    def for_others(self, sources_key: str) -> Resolution:
        """What of a kept answer may be used for other packages of the sources with that key."""
        is_young = 0 <= time.time() - self.verified_s < _CACHE_AGE_S
        is_same = sources_key != "" and self.sources_key == sources_key
        if is_same and is_young and not self.has_changed_cache():
            return self
        return replace(self, cache=None, essential=())


def _is_still(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except OSError:
        return False


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

    def alike(self, request: AptRequest) -> Resolution | None:
        """A kept answer by just the Release files of a request, whatever else was asked for.

        APT need neither fetch nor unpack its indexes again. One to the same sources goes first:
        of these it need not even read them, as its cache is kept, nor look for essential packages.
        Of others neither is in what is returned.
        """
        if request_key(request) is None:
            return None
        key = sources_key(request)
        wanted = set(request.release_digests)
        answers = [Resolution.read(place, time.time()) for place in self._by_use()]
        known = [answer for answer in answers if answer is not None]
        for answer in sorted(known, key=lambda one: one.sources_key != key):
            # Another build may drop the oldest answers meanwhile.
            with contextlib.suppress(OSError):
                if _release_digests(answer.lists) == wanted and answer.changed() is None:
                    return answer.for_others(key)
        return None

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
                    _link(file, partial / _LISTS / file.name)
                if answer.cache is not None:
                    _link(answer.cache, partial / _CACHE)
                (partial / _ANSWER).write_text(answer.text(sources_key(request)))
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
                if answer is not None and changed is None and answer.has_changed_cache():
                    changed = _CACHE
                if changed is not None:
                    found.append((place, changed))
        return found

    def _places(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if not path.name.startswith(".")]

    def _by_use(self) -> list[Path]:
        """All answers, the one that was used last first."""
        used_s = {}
        for place in self._places():
            with contextlib.suppress(OSError):
                used_s[place] = place.stat().st_mtime
        return sorted(used_s, key=lambda place: -used_s[place])

    def _drop_oldest(self) -> None:
        for place in self._by_use()[_MOST_KEPT:]:
            remove_tree(place)


def request_key(request: AptRequest) -> str | None:
    """What an answer is kept under; None where the Release files are not known.

    Packages on this host's disk may change under the same Release file's name, so those that are
    trusted without one have no key.
    """
    if not _has_key(request):
        return None
    parts = [
        str(_VERSION), apt_version(), request.architecture, *request.release_digests, "words",
        *request.wanted(), "now", *replace(request, later=()).wanted(),
        _sources_without_users(request), repr(request.pins),
    ]  # fmt: skip
    return _digest(parts)


def sources_key(request: AptRequest) -> str:
    """What APT's cache of the indexes is good for; "" where no other request may read it.

    Its version, its settings, pins, and sources with the content of the keyrings that they are
    checked with: whatever decides which indexes it reads, that it may believe them, and what they
    offer.
    """
    sources = request.build_sources()
    settings = request.settings.bootstrap_text()
    if not _has_key(request) or _AGE_LIMIT.search(settings + render_sources(sources)):
        return ""
    parts = [
        "cache", str(_VERSION), apt_version(), request.architecture, *request.release_digests,
        _sources_without_users(request), _USER.sub("//", settings), repr(request.pins),
        *(keys_digest(source.signed_by) for source in sources),
    ]  # fmt: skip
    return _digest(parts)


def _has_key(request: AptRequest) -> bool:
    return bool(request.release_digests) and not (request.trusted or request.trusted_sources)


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _sources_without_users(request: AptRequest) -> str:
    return render_sources([
        replace(one, uris=tuple(_USER.sub("//", uri) for uri in one.uris))
        for one in request.build_sources()
    ])  # fmt: skip


def _link(file: Path, target: Path) -> None:
    """Give a file one more name: APT replaces its own by renaming, and nobody writes into one."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


@cache
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


def valid_until_s(lists: Path) -> float | None:
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
