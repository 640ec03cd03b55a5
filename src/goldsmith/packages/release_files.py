"""Whether the repositories of a tree have changed: the digests of their Release files, at once.

Every file is asked for in parallel and only if it has changed since the last time, so an answer
takes about one round trip. Nothing is verified here: a digest only says whether APT would see the
same files as before; what is installed, APT verifies. Source: sources.list(5), RFC 9110 (13.1).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.release_transport import NotThere, Transport, Unreachable, without_user

_THREADS: Final = 16
_NAMES: Final = ("InRelease", "Release")
_DATE: Final = re.compile(rb"^Date: *(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """What is known of a Release file.

    `digest` is the SHA-256 of its content, None when it is not known, for which `reason` has the
    cause. `fetched` says that the repository confirmed it now; otherwise it is from the cache.
    `since_s` is the time (seconds since 1970) at which this content was first seen, `date_s` the
    one that it says of itself.
    """

    digest: str | None
    fetched: bool
    since_s: float | None = None
    reason: str = ""
    date_s: float | None = None


def release_digests(
    sources: Sequence[AptSource], settings: AptSettings, *, cache: Path, offline: bool = False
) -> Mapping[str, ReleaseState]:
    """The state of the Release file of every suite of the sources, by the name of a key input.

    A name is `release:SUITE COMPONENT ...`, with ` #2` and so on where sources have the same one:
    mirrors have equal files, so no name has a host. `cache` is a directory, made if it is missing,
    that never holds a password or an address. `offline` asks nothing of the network; files of this
    host are read in any case. Never raises for a repository that fails: its state says so.
    """
    named = dict(_named(sources))
    secrets = set(settings.secrets).union(*(source.passwords() for source in sources))
    transport = Transport(settings)
    pool = ThreadPoolExecutor(min(_THREADS, max(1, len(named))))
    asked: dict[str, Future[ReleaseState]] = {}
    try:
        for place in named.values():
            if place not in asked:
                request = _Request(place, cache, offline=offline)
                asked[place] = pool.submit(request.answer, transport)
        states = {name: asked[place].result() for name, place in named.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {name: _redacted(state, secrets) for name, state in states.items()}


def _named(sources: Sequence[AptSource]) -> Iterator[tuple[str, str]]:
    """The name of each Release file, and the address of the directory that it lies in."""
    counts: dict[str, int] = {}
    for source in sources:
        if "deb" not in source.types:
            continue
        for uri in source.uris:
            for suite in source.suites:
                name = f"release:{' '.join([suite, *source.components])}"
                counts[name] = counts.get(name, 0) + 1
                count = counts[name]
                yield (name if count == 1 else f"{name} #{count}"), _directory(uri, suite)


def _directory(uri: str, suite: str) -> str:
    base = uri.rstrip("/")
    if not suite.endswith("/"):
        return f"{base}/dists/{suite}"
    below = "/".join(part for part in suite.split("/") if part not in ("", "."))
    return f"{base}/{below}" if below else base


@dataclass(frozen=True, slots=True)
class _Known:
    """What the cache holds of one Release file."""

    digest: str
    since_s: float
    name: str
    etag: str = ""
    last_modified: str = ""
    date_s: float | None = None

    def state(self, *, fetched: bool) -> ReleaseState:
        """The state of a file that is known."""
        return ReleaseState(self.digest, fetched, self.since_s, date_s=self.date_s)


@dataclass(frozen=True, slots=True)
class _Request:
    """One Release file, to be asked for."""

    directory: str
    cache: Path
    offline: bool

    def answer(self, transport: Transport) -> ReleaseState:
        """Ask; every failure becomes a state."""
        known = self._read()
        is_local = self.directory.partition(":")[0] in ("file", "copy")
        if self.offline and not is_local:
            if known is None:
                return ReleaseState(None, fetched=False, reason="it was never read before")
            return known.state(fetched=False)
        try:
            fresh = self._local() if is_local else self._remote(transport, known)
        except (Unreachable, GoldsmithError) as e:
            return ReleaseState(None, fetched=False, reason=str(e))
        except OSError as e:
            return ReleaseState(None, fetched=False, reason=e.strerror or str(e))
        if known is not None and known.digest == fresh.digest:
            fresh = replace(fresh, since_s=known.since_s)
        if fresh != known:
            self._write(fresh)
        return fresh.state(fetched=True)

    def _local(self) -> _Known:
        folder = Path("/" + self.directory.partition(":")[2].lstrip("/"))
        for name in _NAMES:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return _known(name, (folder / name).read_bytes())
        raise Unreachable(f"there is no Release file in {folder}")

    def _remote(self, transport: Transport, known: _Known | None) -> _Known:
        # What was there the last time is asked for first: one round trip when nothing changed.
        first = known.name if known is not None else _NAMES[0]
        for name in sorted(_NAMES, key=lambda each: each != first):
            conditions = known if known is not None and known.name == name else None
            try:
                answer = transport.get(
                    f"{self.directory}/{name}",
                    etag=conditions.etag if conditions else "",
                    last_modified=conditions.last_modified if conditions else "",
                )
            except NotThere:
                continue
            if answer.content is None:
                if conditions is None:
                    raise Unreachable(f"{without_user(self.directory)} answered what was not asked")
                return conditions
            fresh = _known(name, answer.content)
            return replace(fresh, etag=answer.etag, last_modified=answer.last_modified)
        raise Unreachable(f"{without_user(self.directory)} has no Release file")

    @property
    def _place(self) -> Path:
        address = without_user(self.directory)
        return self.cache / f"{hashlib.sha256(address.encode()).hexdigest()}.json"

    def _read(self) -> _Known | None:
        """What the cache has; nothing where it is damaged, or of another version."""
        try:
            fields = json.loads(self._place.read_text())
            known = _Known(**fields)
            good = known.name in _NAMES and len(known.digest) == 64 and known.since_s >= 0
        except (OSError, ValueError, TypeError):
            return None
        return known if good else None

    def _write(self, known: _Known) -> None:
        """Put it into the cache by one rename; that it cannot be is no reason to fail."""
        with contextlib.suppress(OSError):
            self.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, name = tempfile.mkstemp(dir=self.cache, prefix=".")
            try:
                with os.fdopen(fd, "w") as file:
                    json.dump(asdict(known), file)
                os.replace(name, self._place)
            except OSError:
                os.unlink(name)
                raise


def _known(name: str, content: bytes) -> _Known:
    digest = hashlib.sha256(content).hexdigest()
    return _Known(digest, time.time(), name, date_s=_date_s(content))


def _date_s(content: bytes) -> float | None:
    """The field Date (RFC 5322, in UTC), None where there is none that can be read."""
    match = _DATE.search(content)
    if match is None:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return parsedate_to_datetime(match.group(1).decode("ascii", "replace")).timestamp()
    return None


def _redacted(state: ReleaseState, secrets: set[str]) -> ReleaseState:
    reason = state.reason
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        reason = reason.replace(secret, "***")
    return replace(state, reason=reason)
