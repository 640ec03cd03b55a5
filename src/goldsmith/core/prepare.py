"""From a loaded template to builds that can run: every component made, every finding at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from goldsmith.core.build import Build, Component, Template
from goldsmith.core.builder import Builder, ProvisionerCall
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import Finding, Options, build_options, locate
from goldsmith.core.post_processor import PostProcessor
from goldsmith.core.provisioner import Provisioner
from goldsmith.core.registry import Registry, UnknownComponent
from goldsmith.errors import Diagnostic, TemplateError
from goldsmith.values.value import Value, string


@dataclass(frozen=True, slots=True)
class PostProcessorCall:
    """A post-processor of a chain with the keys that every post-processor has."""

    component: Component
    post_processor: PostProcessor


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build whose template is known to be good."""

    build: Build
    builder: Builder
    chains: tuple[tuple[PostProcessorCall, ...], ...]


class _Checks(Protocol):
    def check(self, directory: Path) -> Sequence[Finding]: ...


def prepare(
    template: Template, registry: Registry, directory: Path, builds: Sequence[Build]
) -> list[PreparedBuild]:
    """Make the components of these builds and check them; nothing on the host is changed.

    Relative paths refer to `directory`. Raises TemplateError with the findings of all builds.
    """
    found: list[Diagnostic] = []
    prepared = [_prepare_build(build, registry, directory, found) for build in builds]
    # Builds that share a source block share its mistakes.
    unique = list(dict.fromkeys(found))
    if unique:
        raise TemplateError(unique, template.sources)
    return [build for build in prepared if build is not None]


def _prepare_build(
    build: Build, registry: Registry, directory: Path, found: list[Diagnostic]
) -> PreparedBuild | None:
    before = len(found)
    body, options = _resolve(build.source, registry, None, found)
    builder: Builder | None = None
    if options is not None:
        builder = registry.get("builder", build.source.type)(options, build.source_name)
        found += locate(builder.check(), body, _subject(build.source))
    for component in build.provisioners:
        _make(component, registry, directory, None, found)
    chains = []
    for chain in build.post_processors:
        calls = []
        for component in chain:
            known = len(found)
            made = _make(component, registry, directory, None, found)
            if made is not None:
                calls.append(PostProcessorCall(component, made))
            elif len(found) == known:
                found.append(_needs_running_build(component))
        chains.append(tuple(calls))
    if len(found) > before or builder is None:
        return None
    return PreparedBuild(build, builder, tuple(chains))


def resolve_provisioners(
    build: Build,
    registry: Registry,
    directory: Path,
    run_values: Mapping[str, str],
    sources: dict[str, str],
) -> list[ProvisionerCall]:
    """The provisioners of a build that runs, with what its builder announced.

    Raises TemplateError for what only now turns out to be wrong.
    """
    values: dict[str, Value] = {name: string(text) for name, text in run_values.items()}
    found: list[Diagnostic] = []
    calls = []
    name = f"{build.source_type}.{build.source_name}"
    for component in build.provisioners:
        if not component.applies_to(name):
            continue
        provisioner: Provisioner | None = _make(component, registry, directory, values, found)
        if provisioner is not None:
            calls.append(
                ProvisionerCall(
                    provisioner, component.pause_before_s, component.max_retries,
                    component.timeout_s,
                )
            )  # fmt: skip
    if found:
        raise TemplateError(found, sources)
    return calls


def _needs_running_build(component: Component) -> Diagnostic:
    detail = "Values that only a running build knows do not work in a post-processor yet."
    return Diagnostic(
        "Not available in goldsmith yet", detail, component.range, subject=_subject(component)
    )


def _subject(component: Component) -> str:
    kind = "source" if component.kind == "builder" else component.kind
    name = f' "{component.name}"' if component.kind == "builder" else ""
    return f'{kind} "{component.type}"{name}'


def _resolve(
    component: Component,
    registry: Registry,
    run_values: Mapping[str, Value] | None,
    found: list[Diagnostic],
) -> tuple[RawBody, Options | None]:
    subject = _subject(component)
    try:
        model: type[Options] = registry.get(component.kind, component.type).options_model
    except UnknownComponent as e:
        found.append(Diagnostic(f"{e}", e.hint or "", component.range, subject=subject))
        return RawBody(range=component.range), None
    try:
        body = component.config.resolve(run_values)
    except TemplateError as e:
        found.extend(e.diagnostics)
        return RawBody(range=component.range), None
    options, findings = build_options(model, body, subject)
    found.extend(findings)
    return body, options


def _make(
    component: Component,
    registry: Registry,
    directory: Path,
    run_values: Mapping[str, Value] | None,
    found: list[Diagnostic],
) -> Any:
    """The component of its class, checked; None with findings added, or with values unknown."""
    body, options = _resolve(component, registry, run_values, found)
    if options is None:
        return None
    made = registry.get(component.kind, component.type)(options)
    found += locate(made.check(directory), body, _subject(component))
    return made
