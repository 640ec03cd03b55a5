"""Repositories that a template names besides its suite, and the pins that rank them.

Source: sources.list(5), apt_preferences(5) of apt 2.6.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.errors import PackageError

REPOSITORY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""APT reads no file of preferences with other characters in its name."""
PIN_EXPRESSION: Final = re.compile(r"(?:release|origin|version) \S[^\n\r]*")
PRIORITIES: Final = range(-32768, 32768)
"""APT keeps a priority in 16 bits; 0 has no meaning there."""


@dataclass(frozen=True, slots=True)
class AptPin:
    """One record of apt_preferences(5): which packages of which origin get which priority."""

    pin: str
    priority: int
    packages: tuple[str, ...] = ("*",)

    def render(self) -> str:
        """Its paragraph of a preferences file, with a newline at the end."""
        return (
            f"Package: {' '.join(self.packages)}\nPin: {self.pin}\nPin-Priority: {self.priority}\n"
        )


def render_pins(pins: Iterable[AptPin]) -> str:
    """The text of a preferences file."""
    return "\n".join(pin.render() for pin in pins)


@dataclass(frozen=True, slots=True)
class Repository:
    """A further source of packages; with `build_only` the finished image does not have it.

    `trusted` takes its packages without a signature.
    """

    name: str
    source: AptSource
    build_only: bool = True
    trusted: bool = False
    priority: int | None = None
    pin: str = ""
    pinned_packages: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if not REPOSITORY_NAME.fullmatch(self.name):
            raise PackageError(f"{self.name!r} cannot name a repository",
                               hint="letters, digits, _ and -")  # fmt: skip
        flat = [suite for suite in self.source.suites if suite.endswith("/")]
        if flat and self.source.components:
            raise PackageError(
                f"repository {self.name}: {flat[0]} is a flat repository, which has no components",
                hint="leave components out, or name a suite without a slash at its end",
            )
        if not flat and not self.source.components:
            raise PackageError(
                f"repository {self.name}: which components of {' '.join(self.source.suites)}?",
                hint='components = ["main"]; a flat repository is suite = "./"',
            )

    def apt_pin(self, others: Sequence[AptSource]) -> AptPin | None:
        """Its pin, when it has a priority; `others` are the sources that it must not catch.

        Without an expression of the template, the repository is known by its site where no other
        source has the same, and else by its suite: APT cannot ask for both at once.
        """
        if self.priority is None:
            return None
        return AptPin(self.pin or self._expression(others), self.priority, self.pinned_packages)

    def _expression(self, others: Sequence[AptSource]) -> str:
        site = _site(self.source)
        if site not in {_site(other) for other in others}:
            return f'origin "{site}"'
        suite = self.source.suites[0]
        if suite.endswith("/") or any(suite in other.suites for other in others):
            raise PackageError(
                f"repository {self.name}: its site and its suite are those of another source too, "
                "so its packages cannot be told from theirs",
                hint='say how: pin = "release o=ORIGIN,l=LABEL" (apt_preferences(5))',
            )
        return f"release {suite}"


def _site(source: AptSource) -> str:
    """What APT calls the origin: the host of the address, "" for files of this host."""
    parts = urllib.parse.urlsplit(source.uris[0].removeprefix("mirror+"))
    return parts.hostname or ""


def pins_of(repositories: Sequence[Repository], sources: Sequence[AptSource]) -> tuple[AptPin, ...]:
    """The pins of all repositories, each told from the other ones and from `sources`."""
    found = []
    for repository in repositories:
        others = [*sources, *(r.source for r in repositories if r is not repository)]
        pin = repository.apt_pin(others)
        if pin is not None:
            found.append(pin)
    return tuple(found)


def without_repetition(sources: Iterable[AptSource]) -> list[AptSource]:
    """The sources, with nothing named twice: APT would fetch it once and warn of it each time.

    Suites and components that an earlier source of the same address has are left out; a source
    with a key or option of its own is never merged.
    """
    kept: list[AptSource] = []
    known: dict[tuple[str, str], set[str]] = {}
    for source in sources:
        suites = []
        for suite in source.suites:
            places = [(uri.rstrip("/"), suite) for uri in source.uris]
            wanted = set(source.components) or {""}
            if not all(wanted <= known.get(place, set()) for place in places):
                suites.append(suite)
                for place in places:
                    known.setdefault(place, set()).update(wanted)
        if suites:
            kept.append(replace(source, suites=tuple(suites)))
    return kept
