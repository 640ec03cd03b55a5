"""Which builds and post-processors `-only` and `-except` leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from goldsmith.core.build import Build, Component
from goldsmith.core.name_patterns import matches_any
from goldsmith.errors import GoldsmithError


def select_builds(
    builds: Sequence[Build], only: Sequence[str], except_: Sequence[str]
) -> tuple[list[Build], list[str]]:
    """The builds that are left, and a warning for each pattern that matched nothing.

    Patterns are globs over build names, or the very name of a build that has `selected_by`; those
    of `except_` also match post-processors, by name or type, and cut the rest of their chain.
    Raises GoldsmithError when no build is left, and for a malformed pattern.
    """
    warnings = []
    for flag, patterns in (("-only", only), ("-except", except_)):
        for pattern in patterns:
            matched = any(_selects(build, [pattern]) for build in builds)
            if flag == "-except":
                components = (
                    one for build in builds for chain in build.post_processors for one in chain
                )
                matched |= any(matches_any(_name(one), [pattern]) for one in components)
            if not matched:
                known = ", ".join(build.selected_by or build.name for build in builds)
                warnings.append(f'{flag} "{pattern}" matched nothing; the builds are: {known}')
    left = [
        build for build in builds
        if (not only or _selects(build, only)) and not _selects(build, except_)
    ]  # fmt: skip
    if not left:
        known = ", ".join(build.selected_by or build.name for build in builds)
        error = GoldsmithError(
            "no builds are left to run", hint=f"the template has: {known or 'none'}"
        )
        for warning in warnings:
            error.add_note(f"Warning: {warning}")
        raise error
    return [_without(build, except_) for build in left], warnings


def _selects(build: Build, patterns: Sequence[str]) -> bool:
    if build.selected_by is not None:
        return build.selected_by in patterns
    return matches_any(build.name, patterns)


def _name(component: Component) -> str:
    return component.name or component.type


def _without(build: Build, except_: Sequence[str]) -> Build:
    chains = []
    for chain in build.post_processors:
        kept: list[Component] = []
        for component in chain:
            if matches_any(_name(component), except_):
                break
            kept.append(component)
        if kept:
            chains.append(tuple(kept))
    return replace(build, post_processors=tuple(chains))
