"""Has APT decide which packages a request means, with as little reading of indexes as it takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from goldsmith.host.parallel import OnPercent, run_all
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.errors import PackageError, StoreRefused
from goldsmith.packages.host_apt import HostApt
from goldsmith.packages.package_store import Archive
from goldsmith.packages.unpacked.resolution import Resolution, valid_until_s

_APT: Final = "apt"
_ESSENTIAL: Final = (f"?and(?essential, ?not(?exact-name({_APT})))",)
"""APT counts itself among the essential packages.

It would not with an option for that, but then reads all indexes again: for a second, each time.
"""


def decide(request: AptRequest, apt: HostApt, alike: Resolution | None = None) -> Resolution:
    """Read the indexes and let APT decide; who is automatic is left open (`with_automatic`).

    `alike` is a kept answer by the same Release files: what it has need not be asked again. Raises
    ToolFailed, PackageError for no system, StoreRefused.
    """
    apt.update()
    words = replace(request, later=()).wanted()
    questions: dict[str, Callable[[OnPercent], tuple[tuple[Archive, ...], bool]]] = {
        "wanted": lambda _: apt.all_listed(words)
    }
    essential = () if alike is None else alike.essential
    if not essential:
        # Each reads APT's whole cache, on one core.
        questions["essential"] = lambda _: apt.all_listed(_ESSENTIAL)
    answers = run_all(questions)
    now, are_all = answers["wanted"]
    if not essential:
        essential = tuple(archive.sha256 for archive in answers["essential"][0])
    if not essential:
        # Else a tree without dpkg would fail only where that is run.
        raise PackageError("the sources have no essential packages: is the component right?")
    if not are_all:
        raise StoreRefused(
            "an index of these sources has no SHA-256 of some package", hint="name another source"
        )
    lists = apt.directory / "lists"
    verified_s = time.time() if alike is None or not apt.has_taken_cache else alike.verified_s
    return Resolution(
        apt.architecture, now, (), lists, valid_until_s(lists), cache=apt.cache,
        essential=essential, verified_s=verified_s,
    )  # fmt: skip


def with_automatic(answer: Resolution, request: AptRequest, apt: HostApt) -> Resolution:
    """The answer with those that nobody has asked for, by name or by a pattern.

    Nor does an essential one need them: mmdebstrap installs these by dpkg alone, so APT takes them
    as asked for.
    """
    words = replace(request, later=()).wanted()
    asked = {re.split(r"[:=/^]", word)[0] for word in words}
    by_dpkg = set(answer.essential)
    names = {archive.name.partition("_")[0]: archive for archive in answer.archives}
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
    return replace(answer, automatic=tuple(found))
