"""Which APT sources a Debian suite is built from: the host's own, or a mirror that was named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from goldsmith.packages.apt_sources import AptSource, read_host_sources
from goldsmith.packages.errors import PackageError
from goldsmith.packages.keyrings import keyring_for

_MIRROR_LIST = "mirror+file:"


def sources_for(
    suite: str,
    mirror: str,
    host_root: Path = Path("/"),
    *,
    security_mirror: str = "",
    architecture: str = "",
    signed_by: str = "",
) -> list[AptSource]:
    """The sources that a tree of `suite` is made from.

    Without a mirror: the host's entries for the suite, its updates and its security suite. With
    one: that mirror's component main with the key `signed_by` or else that of the suite's
    distribution, and for the security suite `security_mirror` or else the host's entries.
    `architecture` leaves out the host's entries for others. Raises PackageError when the host knows
    no such suite, or has no keyring for it.
    """
    host = [source for source in read_host_sources(host_root) if _fits(source, architecture)]
    if not mirror:
        chosen = _select(host, {suite, *updates_of(suite), *security_of(suite)})
        if not any(suite in source.suites for source in chosen):
            raise _unknown_suite(suite, host)
        return [_readable(source, host_root) for source in chosen]
    keyring = signed_by or keyring_for(suite, host_root)
    named = [_main_of(mirror, suite, keyring)]
    if security_mirror:
        named.append(_main_of(security_mirror, security_of(suite)[0], keyring))
    else:
        security = _select(host, set(security_of(suite)))
        named += [_readable(source, host_root) for source in security]
    return named


def updates_of(suite: str) -> tuple[str, ...]:
    """The suites with updates to a release."""
    return (f"{suite}-updates",)


def security_of(suite: str) -> tuple[str, ...]:
    """The names of the security suite of a release: the one of today, and that before Debian 11."""
    return (f"{suite}-security", f"{suite}/updates")


def _main_of(mirror: str, suite: str, signed_by: str) -> AptSource:
    return AptSource(("deb",), (mirror,), (suite,), ("main",), signed_by)


def _fits(source: AptSource, architecture: str) -> bool:
    """Whether an entry has binary packages of the architecture that may be fetched unattended."""
    of_architecture = not (source.architectures and architecture)
    return (
        "deb" in source.types
        and (of_architecture or architecture in source.architectures)
        and not any(uri.startswith("cdrom:") for uri in source.uris)
    )


def _select(host: Iterable[AptSource], suites: set[str]) -> list[AptSource]:
    """The entries with component main for any of the suites, cut down to these suites.

    Vendors name their suites after Debian's and sign them with keys of their own. Where Debian's
    own entry for a suite is present, theirs are left out; a site's re-signed mirror stands alone.
    """
    named = [source for source in host if "main" in source.components]
    of_debian = {suite for source in named if _by_debian(source) for suite in source.suites}
    found = []
    for source in named:
        vendor = not _by_debian(source)
        kept = [s for s in source.suites if s in suites and not (vendor and s in of_debian)]
        if kept:
            found.append(replace(source, types=("deb",), suites=tuple(kept)))
    return found


def _by_debian(source: AptSource) -> bool:
    return not source.signed_by or "debian-archive" in source.signed_by


def _readable(source: AptSource, host_root: Path) -> AptSource:
    """The source with a list of mirrors on this host (Debian's cloud images) replaced by its first.

    The tree has no such list, so APT inside it could not read it.
    """
    uris: list[str] = []
    for uri in source.uris:
        if not uri.startswith(_MIRROR_LIST):
            uris.append(uri)
            continue
        path = host_root / uri.removeprefix(_MIRROR_LIST).lstrip("/")
        lines = path.read_text().splitlines() if path.is_file() else []
        named = [words[0] for line in lines if (words := line.split()) and words[0][0] != "#"]
        if not named:
            raise PackageError(f"the host's list of mirrors {path} names none")
        uris.append(named[0])
    return replace(source, uris=tuple(uris))


def _unknown_suite(suite: str, host: Iterable[AptSource]) -> PackageError:
    known = sorted({name for source in host if "main" in source.components
                    for name in source.suites})  # fmt: skip
    have = f"it has {', '.join(known)}" if known else "it has none at all"
    return PackageError(
        f"this host's APT sources have no suite {suite!r}: {have}",
        hint=f'name a mirror that has {suite}: mirror = "http://...", and a keyring = "PATH" '
        "where neither Debian nor Ubuntu has signed it",
    )
