"""What a template says of APT, as requests to the packages: for the bootstrap, and for the end."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.elements.description import DEBIAN_ARCHITECTURES
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource, parse_sources
from goldsmith.packages.bootstrap import STORE
from goldsmith.packages.finish import FinishPlan
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.repositories import Repository, pins_of, without_repetition


def apt_request(
    bootstrap: Bootstrap, packages: Sequence[str], settings: AptSettings, directory: Path
) -> AptRequest | None:
    """What the tree is to be made of; None when it is not made by APT.

    Paths of keyrings are relative to `directory`. Raises PackageError for a suite without sources
    and for a keyring that is missing.
    """
    if bootstrap.method != "apt" or bootstrap.suite is None:
        return None
    suite_sources = _suite_sources(bootstrap, directory)
    repositories = bootstrap.repositories(directory)
    return AptRequest(
        bootstrap.suite, tuple(packages),
        tuple(without_repetition([*suite_sources, *(r.source for r in repositories)])), settings,
        DEBIAN_ARCHITECTURES.get(platform.machine(), ""), bootstrap.variant,
        trusted_sources=tuple(r.source for r in repositories if r.trusted),
        pins=pins_of(repositories, suite_sources),
        tool=STORE if bootstrap.engine == STORE else "",
    )  # fmt: skip


def finish_plan(bootstrap: Bootstrap, directory: Path) -> FinishPlan:
    """What the finished image's APT uses; raises PackageError as `apt_request` does."""
    given = None
    if bootstrap.apt_sources is not None:
        given = tuple(parse_sources(bootstrap.apt_sources, "apt_sources"))
    if bootstrap.method != "apt" or bootstrap.suite is None:
        return FinishPlan(given, bootstrap.keep_build_sources)
    named: tuple[AptSource, ...] = ()
    if bootstrap.mirror:
        named = tuple(sources_for(bootstrap.suite, bootstrap.mirror,
                                  signed_by=bootstrap.signed_by(directory)))  # fmt: skip
    repositories = bootstrap.repositories(directory)
    kept = [repository for repository in repositories if not repository.build_only]
    if not kept and not repositories:
        return FinishPlan(given, bootstrap.keep_build_sources, named)
    pins = pins_of(kept, _suite_sources(bootstrap, directory)) if kept else ()
    return FinishPlan(
        given, bootstrap.keep_build_sources, named,
        kept_sources=tuple(_as_kept(repository) for repository in kept),
        build_only=tuple(r.source for r in repositories if r.build_only), pins=pins,
    )  # fmt: skip


def _suite_sources(bootstrap: Bootstrap, directory: Path) -> list[AptSource]:
    found = sources_for(
        bootstrap.suite or "", bootstrap.mirror, signed_by=bootstrap.signed_by(directory),
        architecture=DEBIAN_ARCHITECTURES.get(platform.machine(), ""),
    )  # fmt: skip
    if not bootstrap.components:
        return found
    return [replace(source, components=bootstrap.components) for source in found]


def _as_kept(repository: Repository) -> AptSource:
    """The repository as the image has it: what is taken without a signature stays so."""
    if not repository.trusted:
        return repository.source
    return replace(repository.source, options={"trusted": "yes"})
