"""Packages whose preinst may use what they pre-depend on: dpkg unpacks them, once that works.

The preinst of a laid package runs before any other package is configured, so it may do no more than
debhelper's helper calls, which do nothing in a new tree. Source: deb-control(5), Debian Policy 7.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from goldsmith.packages.package_closure import names_in_relation
from goldsmith.packages.unpacked.content_store import UnpackedPackage

Offers = Mapping[str, Sequence[UnpackedPackage]]
"""Packages by each name that others may depend on."""

_NEEDS: Final = ("pre-depends", "depends")
_LONGEST_LINE: Final = 1000
"""Of a longer one nothing is said: it would take long to match."""
_HARMLESS: Final = re.compile(
    rb"(?:#.*|set -e|exit 0|true|:|dpkg-maintscript-helper .*"
    rb"|if \[[^`$()]*(?:\$1|\$2)?[^`$()]*\]\s*;?\s*(?:then)?|then|else|fi"
    rb"|case \"?\$1\"? in|\(?[a-z*|-]+\)|;;|esac)?\s*;?"
)


def offers(
    packages: Sequence[UnpackedPackage], is_first: Callable[[UnpackedPackage], bool]
) -> Offers:
    """The packages, by their names and by what they provide, that may not work yet.

    The first ones have to work as soon as they are unpacked, and so does what they depend on.
    """
    everything = _by_name(packages)
    works = {one.digest for one in packages if is_first(one)}
    works |= {needed.digest for one in packages if is_first(one)
              for needed in _needed(one, _NEEDS, everything)}  # fmt: skip
    return _by_name(one for one in packages if one.digest not in works)


def _by_name(packages: Iterable[UnpackedPackage]) -> Offers:
    found: dict[str, list[UnpackedPackage]] = {}
    for package in packages:
        provided = names_in_relation(package.fields.get("provides", ""))
        for name in {package.name, *provided}:
            found.setdefault(name, []).append(package)
    return found


def pre_depends_reason(package: UnpackedPackage, offered: Offers, slow: Collection[str]) -> str:
    """Why only dpkg may unpack a package; "" where what its preinst may use works as it is laid.

    `slow` has the digests of packages that dpkg unpacks.
    """
    script = package.control("preinst")
    if "pre-depends" not in package.fields or script is None or does_nothing_when_new(script):
        return ""
    for one in configured_before(package, offered):
        if one.digest in slow or one.conffiles or one.control("postinst") is not None:
            return f"its preinst may use {one.name}, on which it pre-depends"
    return ""


def does_nothing_when_new(script: bytes) -> bool:
    """Whether a script does nothing but what debhelper has put into it."""
    lines = [line.strip() for line in script.replace(b"\\\n", b" ").split(b"\n")]
    return all(len(line) <= _LONGEST_LINE and _HARMLESS.fullmatch(line) for line in lines)


def configured_before(package: UnpackedPackage, offered: Offers) -> list[UnpackedPackage]:
    """What has to work before its preinst runs, of those offered: all that these depend on, too."""
    return _needed(package, _NEEDS[:1], offered)


def _needed(package: UnpackedPackage, own: Sequence[str], offered: Offers) -> list[UnpackedPackage]:
    """What its `own` fields name, and all that this needs."""
    found: dict[str, UnpackedPackage] = {}
    pending = [package.fields.get(kind, "") for kind in own]
    while pending:
        for name in names_in_relation(pending.pop()):
            for one in offered.get(name, ()):
                if one.digest not in found and one.digest != package.digest:
                    found[one.digest] = one
                    pending += [one.fields.get(kind, "") for kind in _NEEDS]
    return sorted(found.values(), key=lambda one: one.info_name)


def in_order(
    slow: Sequence[UnpackedPackage], offered: Offers
) -> list[tuple[UnpackedPackage, list[UnpackedPackage]]]:
    """The packages that dpkg unpacks, each after those that its preinst needs; and what it needs.

    They keep the order in which they are given where that is no matter.
    """
    digests = {one.digest for one in slow}
    needs = {
        one.digest: configured_before(one, offered)
                    if pre_depends_reason(one, offered, digests) else []
        for one in slow
    }  # fmt: skip
    ordered: list[tuple[UnpackedPackage, list[UnpackedPackage]]] = []
    seen: set[str] = set()

    def add(package: UnpackedPackage) -> None:
        if package.digest in seen or package.digest not in needs:
            return
        seen.add(package.digest)
        for one in needs[package.digest]:
            add(one)
        ordered.append((package, needs[package.digest]))

    for package in slow:
        add(package)
    return ordered
