"""Which package lays which path, and which packages only dpkg may unpack.

The tree is merged: `/bin`, `/sbin` and `/lib*` are links into `/usr`, so a path below one of them
is laid there. Two packages never lay one path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from goldsmith.packages.unpacked.content_store import UnpackedPackage
from goldsmith.packages.unpacked.deb_file import Member
from goldsmith.packages.unpacked.dpkg_state import interests
from goldsmith.packages.unpacked.pre_depends import offers, pre_depends_reason

MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_OWNS_THE_TOP: Final = "base-files"
_DIVERTS: Final = re.compile(rb"dpkg-(?:divert|statoverride)")
_REQUIRED: Final = "required"
_MERGING_PACKAGES: Final = ("usrmerge", "usr-is-merged")
_OURS: Final = (
    *(f"usr/{name}" for name in MERGED), "var/lib/dpkg", "var/lib/apt/lists",
    "var/lib/apt/extended_states",
)  # fmt: skip
"""Where other files than those of packages are written before anything of the tree runs."""
_OURS_AND_ABOVE: Final = frozenset(
    "/".join(parts[: depth + 1]) for parts in (path.split("/") for path in _OURS)
    for depth in range(len(parts))
)  # fmt: skip
_DATABASES: Final = ("var/lib/dpkg/", "var/lib/apt/lists/", "var/lib/apt/extended_states/")
_TRIGGER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:-]*")
_NO_TRIGGERS: Final = frozenset({"Lock", "Unincorp"})
"""Files of dpkg's own beside those of triggers."""


@dataclass(frozen=True, slots=True)
class SlowPackage:
    """A package that dpkg unpacks, and the reason."""

    package: UnpackedPackage
    reason: str

    def __str__(self) -> str:
        return f"{self.package.name} is unpacked by dpkg: {self.reason}"


@dataclass(frozen=True, slots=True)
class TreePlan:
    """The packages that are laid, in order, and those that are not."""

    laid: tuple[UnpackedPackage, ...]
    slow: tuple[SlowPackage, ...]
    paths: dict[str, tuple[UnpackedPackage, Member]] = field(default_factory=dict)
    """Who lays a path, by its place in the merged tree; directories are those of the first one."""

    @property
    def is_merged(self) -> bool:
        """Whether its packages want `/bin` and the like to be links, as they are laid here."""
        names = {one.name for one in (*self.laid, *(slow.package for slow in self.slow))}
        own = any(_is_merging(member) for one in self.laid for member in one.members)
        return own or not names.isdisjoint(_MERGING_PACKAGES)

    @property
    def first(self) -> tuple[UnpackedPackage, ...]:
        """The packages that are configured before all others."""
        return tuple(one for one in self.laid if is_first(one))


def is_first(package: UnpackedPackage) -> bool:
    """Whether others depend on a package without saying so: Essential, or Priority: required."""
    fields = package.fields
    return fields.get("essential") == "yes" or fields.get("priority") == _REQUIRED


def plan_tree(packages: Iterable[UnpackedPackage]) -> TreePlan:
    """Decide for each package; the one that owns the top directories comes first."""
    ordered = sorted(packages, key=lambda one: (one.name != _OWNS_THE_TOP, one.info_name))
    offered = offers(ordered, is_first)
    contested = _contested(ordered)
    left = {package.digest: reason for package in ordered
            if (reason := package.unusual or _own_reason(package)
                or _contested_reason(package, contested))}  # fmt: skip
    while True:
        plan = _plan(ordered, left)
        slow = {one.package.digest for one in plan.slow}
        reasons = {one.digest: pre_depends_reason(one, offered, slow)
                   for one in plan.laid if not is_first(one)}  # fmt: skip
        if not any(reasons.values()):
            return plan
        left |= {digest: reason for digest, reason in reasons.items() if reason}


def _plan(ordered: Sequence[UnpackedPackage], left: Mapping[str, str]) -> TreePlan:
    """Decide where some are left to dpkg already, each digest with its reason."""
    plan = TreePlan((), ())
    laid: list[UnpackedPackage] = []
    slow: list[SlowPackage] = []
    for package in ordered:
        if reason := left.get(package.digest, "") or _collision(package, plan):
            slow.append(SlowPackage(package, reason))
            continue
        laid.append(package)
        for member in package.members:
            if _is_merging(member):
                continue
            plan.paths.setdefault(merged(member.path), (package, member))
    return TreePlan(tuple(laid), tuple(slow), plan.paths)


def _contested(packages: Iterable[UnpackedPackage]) -> frozenset[str]:
    """Places that are a directory in one package and none in another.

    What becomes of them depends on the order in which dpkg unpacks the packages.
    """
    directories: set[str] = set()
    others: set[str] = set()
    for package in packages:
        for member in package.members:
            if not _is_merging(member):
                (directories if member.kind == "d" else others).add(merged(member.path))
    return frozenset(directories & others)


def _contested_reason(package: UnpackedPackage, contested: frozenset[str]) -> str:
    """Why a package that has such a place is dpkg's, unless it must be there before dpkg."""
    if not contested or is_first(package):
        return ""
    for member in package.members:
        place = merged(member.path)
        if place in contested and not _is_merging(member):
            return f"/{place} is a directory in one package and none in another"
    return ""


def _own_reason(package: UnpackedPackage) -> str:
    """What in a package itself needs dpkg's own way."""
    script = package.control("preinst") or b""
    if _DIVERTS.search(script):
        return "its preinst diverts files"
    conffiles = package.conffiles
    if any(not line.startswith("/") for line in conffiles):
        return "it has conffiles to be removed"
    kinds = {f"/{member.path}": member.kind for member in package.members}
    if any(kinds.get(path) != "f" for path in conffiles):
        return "a conffile of it is no plain file"
    if package.control("md5sums") is None and "f" in kinds.values():
        return "dpkg makes its md5sums"
    for member in package.members:
        if member.kind != "d" and not _is_merging(member) and _is_ours(member):
            return f"/{member.path} of it is where dpkg, APT or a merged tree have their own"
    for name, _ in interests(package):
        if not _TRIGGER.fullmatch(name) or name in _NO_TRIGGERS:
            return f"it waits for {name!r}, which is no trigger's name"
    return _own_collision(package)


def _is_ours(member: Member) -> bool:
    place = merged(member.path)
    return place in _OURS_AND_ABOVE or place.startswith(_DATABASES)


def _own_collision(package: UnpackedPackage) -> str:
    """What two paths of it mean when they are one place of the merged tree."""
    kinds: dict[str, str] = {}
    for member in package.members:
        if _is_merging(member):
            continue
        place = merged(member.path)
        above = place.rpartition("/")[0]
        if place in kinds and (kinds[place], member.kind) != ("d", "d"):
            return f"/{place} is in it twice"
        if kinds.get(above, "d") != "d":
            return f"/{place} lies behind a link of its own"
        kinds[place] = member.kind
    return ""


def _collision(package: UnpackedPackage, plan: TreePlan) -> str:
    seen: set[str] = set()
    for member in package.members:
        if _is_merging(member):
            continue
        place = merged(member.path)
        there = plan.paths.get(place)
        if member.kind == "d":
            if there is not None and there[1].kind != "d":
                return f"/{place} is no directory in {there[0].name}"
            continue
        if there is not None:
            return f"/{place} is also in {there[0].name}"
        folder = place.rpartition("/")[0]
        while folder and folder not in seen:
            above = plan.paths.get(folder)
            if above is not None and above[1].kind != "d":
                return f"/{place} lies behind a link of {above[0].name}"
            seen.add(folder)
            folder = folder.rpartition("/")[0]
    return ""


def _is_merging(member: Member) -> bool:
    """Whether it is one of the links of a merged tree itself: base-files has them since 13.3."""
    return member.kind == "l" and member.path in MERGED and member.target == f"usr/{member.path}"


def merged(path: str) -> str:
    """The place of a package's path in a tree whose top directories are merged into /usr."""
    first, slash, rest = path.partition("/")
    return f"usr/{first}{slash}{rest}" if first in MERGED else path
