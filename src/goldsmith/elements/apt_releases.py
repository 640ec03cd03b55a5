"""The APT sources that hooks will install from, as far as the environment says them beforehand.

Source: upstream's elements `debian-minimal`, `ubuntu-minimal`, `apt-sources`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from goldsmith.elements.setup import APT_BASED, Setup
from goldsmith.packages.apt_sources import AptSource, parse_source_lines, parse_sources
from goldsmith.packages.errors import PackageError

_CONF: Final = "DIB_APT_SOURCES_CONF"


def apt_sources(setup: Setup, environment: Mapping[str, str], directory: Path) -> list[AptSource]:
    """The sources of the image's APT; `environment` is what `environment.d` makes of it.

    The file that it names may be relative to `directory`, where hooks run.
    Empty for images without APT, and where nothing is known beforehand.
    """
    if APT_BASED not in setup.expansion.names:
        return []
    found = upgrade_sources(environment)
    named = environment.get("DIB_APT_SOURCES", "")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found += _parsed((directory / named).read_text() if named else "", named)
    mirror, suite = environment.get("DIB_DISTRIBUTION_MIRROR"), environment.get("DIB_RELEASE")
    if not found and mirror and suite:
        components = environment.get("DIB_DEBIAN_COMPONENTS", "main").replace(",", " ").split()
        found = [AptSource(("deb",), (mirror,), (suite,), tuple(components))]
    return found


def upgrade_sources(environment: Mapping[str, str]) -> list[AptSource]:
    """What the tree is upgraded from right after its bootstrap: DIB_APT_SOURCES_CONF."""
    lines = environment.get(_CONF, "").splitlines()
    return _parsed("\n".join(line.partition(":")[2] for line in lines), _CONF)


def _parsed(text: str, origin: str) -> list[AptSource]:
    """The sources of a text in either form; of what cannot be read APT itself tells."""
    for parse in (parse_source_lines, parse_sources):
        with contextlib.suppress(PackageError):
            return parse(text, origin)
    return []
