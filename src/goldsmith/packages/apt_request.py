"""What a tree is asked to be made of: the request that every program for that takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.repositories import AptPin

Report = Callable[[str, str], None]
"""Called with a level ("message", "warning" or "output": a tool's chatter) and a line."""

PACKAGE_NAME: Final = re.compile(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?\^?"
)

_ESSENTIAL_SETS: Final = {
    "essential": ("?essential",),
    "apt": ("?essential", "apt"),
    "required": ("?essential", "?priority(required)"),
    "minbase": ("?essential", "?priority(required)"),
    "important": ("?essential", "?priority(required)", "?priority(important)"),
    "standard": (
        "?essential", "?priority(required)", "?priority(important)", "?priority(standard)"
    ),
}  # fmt: skip

VARIANTS: Final = frozenset(_ESSENTIAL_SETS)
"""The package sets that mmdebstrap knows and that can be a system of its own."""


@dataclass(frozen=True, slots=True)
class AptRequest:
    """What a tree is to be made of; `architecture` is the host's when it is empty.

    Signatures are always verified, also where the host's own sources do without, unless `trusted`
    is given, or the source is one of `trusted_sources`. `pins` hold for the bootstrap and the
    steps after it. `tool` is "mmdebstrap" or "debootstrap"; "" takes the one that this host has.
    `store` keeps the packages that are fetched (`package_store`), those of `later` too: they are
    not installed yet, but fetched while this is made.
    """

    suite: str
    packages: tuple[str, ...]
    sources: tuple[AptSource, ...]
    settings: AptSettings = field(default_factory=AptSettings)
    architecture: str = ""
    variant: str = "minbase"
    trusted: bool = False
    trusted_sources: tuple[AptSource, ...] = ()
    pins: tuple[AptPin, ...] = ()
    tool: str = ""
    store: Path | None = None
    later: tuple[str, ...] = ()
    release_digests: tuple[str, ...] = ()
    """SHA-256 of the Release file of each suite as it is now; empty where one is not known."""
    offline: bool = False
    """Whether nothing may be fetched, so that all of it has to be kept (the store alone)."""

    def base(self) -> AptRequest:
        """The request for the base system alone; its packages are fetched all the same."""
        return replace(self, packages=(), later=self.all_packages())

    def all_packages(self) -> tuple[str, ...]:
        """The packages asked for, without repetition, and those that they silently need."""
        return tuple(dict.fromkeys([*self.packages, *implied_packages(self.packages)]))

    def wanted(self) -> tuple[str, ...]:
        """Every word that `apt-get install` is given: the variant's patterns and all packages."""
        return (*_ESSENTIAL_SETS[self.variant], *self.all_packages(), *self.later)

    def build_sources(self) -> list[AptSource]:
        """The sources, with the check of signatures that was asked for and no other."""
        return [self._checked(source) for source in self.sources]

    def fetched_sources(self) -> list[AptSource]:
        """The same for APT on the host: dpkg in the tree cannot open files of the host.

        `copy:` puts them where it can.
        """
        return [
            replace(source, uris=tuple(re.sub(r"^file:", "copy:", uri) for uri in source.uris))
            for source in self.build_sources()
        ]

    def _checked(self, source: AptSource) -> AptSource:
        verified = source.verified()
        if not self.trusted and source not in self.trusted_sources:
            return verified
        return replace(verified, options={**verified.options, "trusted": "yes"})


def implied_packages(packages: Sequence[str]) -> tuple[str, ...]:
    """Packages that go along: zstd with an initramfs.

    initramfs-tools only suggests zstd, and without it `COMPRESS=zstd`, its default, silently
    becomes gzip.
    """
    names = [re.split(r"[:=/^]", package)[0] for package in packages]
    has_kernel = any(name.startswith("linux-image") for name in names)
    has_tools = any(name.startswith("initramfs-tools") for name in names)
    has_other = any(name.startswith(("dracut", "tiny-initramfs")) for name in names)
    return ("zstd",) if has_tools or (has_kernel and not has_other) else ()
