"""What a template says of APT, as requests to the packages: for the bootstrap, and for the end."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.cache import expected_method
from goldsmith.core.caching import CachePolicy
from goldsmith.elements.description import DEBIAN_ARCHITECTURES
from goldsmith.layers.method import OVERLAY
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource, parse_sources
from goldsmith.packages.bootstrap import STORE
from goldsmith.packages.finish import FinishPlan
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.release_files import ReleaseState
from goldsmith.packages.repositories import Repository, pins_of, without_repetition
from goldsmith.packages.unpacked.resolution import STORE_NAME, ResolutionStore


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
        tool=tool_of(bootstrap),
    )  # fmt: skip


def tool_of(bootstrap: Bootstrap) -> str:
    """The store, unless the template has another wish, or trees are no overlays (see `layers`)."""
    if bootstrap.engine is not None:
        return STORE if bootstrap.engine == STORE else ""
    return STORE if expected_method() == OVERLAY.name else ""


def with_answer(
    request: AptRequest, bootstrap: Bootstrap, state: Path, releases: Mapping[str, ReleaseState],
    policy: CachePolicy,
) -> AptRequest:  # fmt: skip
    """The request with the Release files that an earlier answer of APT may be known by.

    Where the store is known to refuse its packages, and the template does not insist, it is one for
    mmdebstrap.
    """
    request = replace(request, store=state / "packages", offline=policy.offline)
    digests = [one.digest for one in releases.values() if one.digest is not None]
    # Who wants the packages unpacked anew has them fetched as well, if they are not kept.
    anew = "unpack" in policy.refresh and not policy.offline
    if request.tool != STORE or len(digests) < len(releases) or not policy.use or anew:
        return request
    request = replace(request, release_digests=tuple(sorted(set(digests))))
    answers = ResolutionStore(state / STORE_NAME)
    if bootstrap.engine is None and answers.refused(request):
        return replace(request, tool="")
    return request


def refusal(request: AptRequest, state: Path) -> str:
    """Why mmdebstrap is to make the tree of a request that `with_answer` has returned, if known."""
    if request.tool == STORE:
        return ""
    return ResolutionStore(state / STORE_NAME).refused(request)


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
    if bootstrap.base is not None:
        return []
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
