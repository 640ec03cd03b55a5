"""The files of ours that stand in a tree while it is built: sources, their keys, APT's settings.

`finish` takes all of them out again, so each has a name that nobody else uses.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, read_confined, remove_confined, write_confined
from goldsmith.packages.apt_sources import AptSource, parse_sources, render_sources
from goldsmith.packages.errors import PackageError
from goldsmith.packages.repositories import AptPin, render_pins

SOURCES_FILE: Final = "/etc/apt/sources.list.d/goldsmith-build.sources"
SETTINGS_FILE: Final = "/etc/apt/apt.conf.d/99goldsmith-build"
PRIVATE_SETTINGS_FILE: Final = "/etc/apt/apt.conf.d/99goldsmith-private"
"""Where a step binds settings with passwords; it never has content in the tree itself."""
PRIVATE_NETRC_FILE: Final = "/etc/apt/auth.conf.d/99goldsmith-private.conf"
"""The same for the host's passwords by machine (apt_auth.conf(5))."""
PINS_FILE: Final = "/etc/apt/preferences.d/goldsmith-build.pref"
DPKG_FILE: Final = "/etc/dpkg/dpkg.cfg.d/99goldsmith-build"
KEY_DIRECTORY: Final = "/etc/apt/keyrings"
KEY_PREFIX: Final = "goldsmith-build-"
CA_FILE: Final = f"{KEY_DIRECTORY}/{KEY_PREFIX}ca.crt"

DPKG_OPTIONS: Final = "force-unsafe-io\n"
"""No fsync of every unpacked file: a tree that a crash hits is made again."""


_KEEP_ARCHIVES: Final = 'Binary::apt::APT::Keep-Downloaded-Packages "true";\n'
"""apt(8) deletes what it has installed, apt-get(8) does not; the package store wants it."""


def write_build_sources(
    tree: Path, sources: Iterable[AptSource], *, host_root: Path = Path("/")
) -> tuple[str, ...]:
    """Write the sources that steps use, with their keys; returns warnings about those left out.

    A source on this host's disk cannot be reached from inside the tree.
    """
    given = list(sources)
    local = [source for source in given if source.is_local]
    reachable = [source for source in given if not source.is_local]
    placed = place_keys(tree, reachable, prefix=KEY_PREFIX, host_root=host_root)
    write_confined(tree, SOURCES_FILE, render_sources(placed).encode())
    return tuple(
        f"{' '.join(source.uris)} is on this host: steps in the tree cannot install from it"
        for source in local
    )


def read_build_sources(tree: Path) -> list[AptSource]:
    """The sources of the build that stand in the tree."""
    text = read_confined(tree, SOURCES_FILE)
    return parse_sources(text.decode(), SOURCES_FILE) if text else []


def place_keys(
    tree: Path, sources: Iterable[AptSource], *, prefix: str = "", host_root: Path = Path("/")
) -> list[AptSource]:
    """Copy the keys that sources name by path, or hold as text, into the tree, where it lacks them.

    Returns the sources with the paths that the keys have in the tree. A key that the tree has
    under the same path (Debian's own keyring) stays with its package. Raises PackageError for a
    key that neither has.
    """
    return [_with_keys(tree, source, prefix, host_root) for source in sources]


def _with_keys(tree: Path, source: AptSource, prefix: str, host_root: Path) -> AptSource:
    if not source.signed_by:
        return source
    if source.inline_key:
        # A file, since APT before 2.4 (Debian 11) knows no keys in sources.
        armored = f"{source.signed_by.strip()}\n".encode()
        return replace(source, signed_by=_place_key(tree, prefix, "key.asc", armored))
    words = []
    for word in source.signed_by.replace(",", " ").split():
        if not word.startswith("/") or read_confined(tree, word) is not None:
            words.append(word)
            continue
        key = read_confined(host_root, word)
        if key is None:
            raise PackageError(
                f"{' '.join(source.uris)} is signed by {word}, which this host does not have",
                hint="install the package with that keyring, or correct Signed-By",
            )
        words.append(_place_key(tree, prefix, os.path.basename(word).removeprefix(prefix), key))
    return replace(source, signed_by=" ".join(words))


def _place_key(tree: Path, prefix: str, name: str, key: bytes) -> str:
    """Write a key under its name; where another key has that name, under one with its digest."""
    place = f"{KEY_DIRECTORY}/{prefix}{name}"
    if read_confined(tree, place) not in (None, key):
        stem, ending = os.path.splitext(name)
        digest = hashlib.sha256(key).hexdigest()[:16]
        place = f"{KEY_DIRECTORY}/{prefix}{stem}-{digest}{ending}"
    write_confined(tree, place, key)
    return place


def write_build_pins(tree: Path, pins: Iterable[AptPin]) -> None:
    """Write the pins that hold while the image is built."""
    if text := render_pins(pins):
        write_confined(tree, PINS_FILE, text.encode())


def write_build_settings(tree: Path, settings_text: str, ca_bundle: bytes = b"") -> None:
    """Write APT's and dpkg's settings for the steps of this build."""
    write_confined(tree, SETTINGS_FILE, f"{settings_text}{_KEEP_ARCHIVES}".encode())
    write_confined(tree, DPKG_FILE, DPKG_OPTIONS.encode())
    if ca_bundle:
        write_confined(tree, CA_FILE, ca_bundle)


def remove_build_files(tree: Path) -> None:
    """Take every file of ours out of the tree's APT and dpkg configuration."""
    for path in (SOURCES_FILE, SETTINGS_FILE, PRIVATE_SETTINGS_FILE, PRIVATE_NETRC_FILE, PINS_FILE,
                 DPKG_FILE):  # fmt: skip
        remove_confined(tree, path)
    folder = confined(tree, KEY_DIRECTORY, follow_last=True)
    if folder.is_dir():
        for key in folder.glob(f"{KEY_PREFIX}*"):
            key.unlink()
