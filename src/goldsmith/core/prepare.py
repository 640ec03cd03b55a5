"""From a loaded template to builds that can run: every component made, every finding at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from goldsmith.core.all_of import AllOf
from goldsmith.core.artifact import ExpectedArtifact
from goldsmith.core.build import Build, Component, Template
from goldsmith.core.builder import Builder
from goldsmith.core.deferred import RawBody
from goldsmith.core.foreign import ForeignOptions, foreign_options
from goldsmith.core.interpolation import Interpolation
from goldsmith.core.loose import tightened
from goldsmith.core.options import Finding, Options, ReadOptions, locate, read_options
from goldsmith.core.post_processor import PostProcessor
from goldsmith.core.provisioner import Provisioner, ProvisionerCall
from goldsmith.core.registry import Registry, UnknownComponent
from goldsmith.errors import Diagnostic, GoldsmithError, Severity, TemplateError, in_order
from goldsmith.redact import Redactor
from goldsmith.values.marks import Impure
from goldsmith.values.value import Value, all_marks, string
from goldsmith.values.world import LiveWorld, World


@dataclass(frozen=True, slots=True)
class PostProcessorCall:
    """A post-processor of a chain with the keys that every post-processor has.

    `post_processor` is None where it can only be made with what the running build told.
    """

    component: Component
    post_processor: PostProcessor | None
    make: Callable[[Mapping[str, str]], PostProcessor] | None = None

    def made(self, run_values: Mapping[str, str] | None, given: ExpectedArtifact) -> PostProcessor:
        """The post-processor, made now if need be; raises GoldsmithError when it cannot be.

        One that is made only now has its preflight now, with `given` of the artifact before it.
        """
        if self.post_processor is not None:
            return self.post_processor
        if self.make is None or run_values is None:
            raise GoldsmithError(
                f'post-processor "{self.component.type}" asks for values of the running build, and '
                "this builder tells none to post-processors",
                hint="take build.* other than build.name out of this post-processor",
            )
        made = self.make(run_values)
        made.preflight(given)
        return made


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A build whose template is known to be good."""

    build: Build
    builder: Builder
    chains: tuple[tuple[PostProcessorCall, ...], ...]
    warnings: tuple[Diagnostic, ...] = ()


def prepare(
    template: Template,
    registry: Registry,
    directory: Path,
    builds: Sequence[Build],
    world: World | None = None,
) -> list[PreparedBuild]:
    """Make the components of these builds and check them; nothing on the host is changed.

    Relative paths refer to `directory`; Go templates in arguments look at `world`, or at the world
    as it is. Raises TemplateError with the findings of all builds.
    """
    found: list[Diagnostic] = []
    prepared = []
    for build in builds:
        workshop = Workshop(build, registry, directory, template.path, template.sources,
                            world or LiveWorld())  # fmt: skip
        prepared.append(workshop.prepare())
        found += workshop.found
    # Builds that share a source block share its mistakes.
    redactor = Redactor(template.secrets)
    unique = redactor.findings(in_order(found, template.sources))
    if any(diagnostic.severity is Severity.ERROR for diagnostic in unique):
        raise TemplateError(unique, template.sources)
    return [
        replace(build, warnings=tuple(redactor.findings(build.warnings)))
        for build in prepared
        if build is not None
    ]


def resolve_provisioners(
    build: Build,
    registry: Registry,
    directory: Path,
    run_values: Mapping[str, str],
    sources: dict[str, str],
    *,
    template_path: str = "",
    world: World | None = None,
) -> list[ProvisionerCall]:
    """The provisioners of a build that runs, with what its builder announced.

    Raises TemplateError for what only now turns out to be wrong.
    """
    workshop = Workshop(build, registry, directory, template_path, sources, world or LiveWorld())
    return workshop.provisioners(run_values)


def resolve_error_cleanup(
    build: Build,
    registry: Registry,
    directory: Path,
    run_values: Mapping[str, str],
    sources: dict[str, str],
    *,
    template_path: str = "",
    world: World | None = None,
) -> ProvisionerCall | None:
    """The provisioner that runs when another one of this build has failed, as those are resolved.

    Raises TemplateError for what only now turns out to be wrong.
    """
    workshop = Workshop(build, registry, directory, template_path, sources, world or LiveWorld())
    return workshop.error_cleanup(run_values)


@dataclass(slots=True)
class Workshop:
    """Makes the components of one build; what is wrong with them gathers in `found`."""

    build: Build
    registry: Registry
    directory: Path
    template_path: str
    sources: dict[str, str]
    world: World
    found: list[Diagnostic] = field(default_factory=list)
    announced: tuple[str, ...] = ()
    """What the builder has said that it will fill of `build.*`, where only it knows that."""

    def prepare(self) -> PreparedBuild | None:
        """The build with its builder and post-processors; None when something is wrong."""
        build = self.build
        body, read = self._resolve(build.source, None)
        builder: Builder | None = None
        if read.examined is not None:
            make = self.registry.get("builder", build.source.type)
            seen: Builder = make(read.examined, build.source_name)
            self._add(seen.check(), read, body, build.source)
            builder = seen if read.options is not None else None
            if isinstance(read.examined, ForeignOptions):
                self.announced = seen.announces
        cleanup = _cleanup(build)
        for component in (*build.provisioners, *cleanup):
            self._check_communicator(component, builder)
            self._make(component, None)
        chains = tuple(
            tuple(self._call(component, builder) for component in chain)
            for chain in build.post_processors
        )
        warnings = tuple(d for d in self.found if d.severity is Severity.WARNING)
        if builder is None or len(warnings) < len(self.found):
            return None
        return PreparedBuild(build, builder, chains, warnings)

    def provisioners(self, run_values: Mapping[str, str]) -> list[ProvisionerCall]:
        """The provisioners that take part, with the values of the run."""
        values = _of_this_run(run_values)
        self._learn_announced(run_values)
        name = f"{self.build.source_type}.{self.build.source_name}"
        calls = [
            call
            for component in self.build.provisioners
            if component.applies_to(name) and (call := self._provisioner_call(component, values))
        ]
        self._raise_errors()
        return calls

    def error_cleanup(self, run_values: Mapping[str, str]) -> ProvisionerCall | None:
        """What runs after an error, with the values of the run."""
        values = _of_this_run(run_values)
        self._learn_announced(run_values)
        made = [self._provisioner_call(component, values) for component in _cleanup(self.build)]
        self._raise_errors()
        calls = tuple(call for call in made if call is not None)
        return ProvisionerCall(AllOf(calls)) if len(calls) > 1 else next(iter(calls), None)

    def _learn_announced(self, run_values: Mapping[str, str]) -> None:
        """What a builder in a plugin announced when it was prepared, by what it tells now."""
        with contextlib.suppress(UnknownComponent):
            made = self.registry.get("builder", self.build.source_type)
            if issubclass(made.options_model, ForeignOptions):
                self.announced = tuple(run_values)

    def _provisioner_call(
        self, component: Component, values: Mapping[str, Value]
    ) -> ProvisionerCall | None:
        provisioner: Provisioner | None = self._make(component, values)
        if provisioner is None:
            return None
        return ProvisionerCall(
            provisioner, component.pause_before_s, component.max_retries, component.timeout_s,
            component.caching, _chance(self._content(component, values)),
            component.continue_on_error,
        )  # fmt: skip

    def _raise_errors(self) -> None:
        if any(diagnostic.severity is Severity.ERROR for diagnostic in self.found):
            raise TemplateError(self.found, self.sources)

    def _check_communicator(self, component: Component, builder: Builder | None) -> None:
        """A provisioner that needs a machine is refused where the source offers none."""
        if builder is None or builder.communicates or component.kind == "hook":
            return
        try:
            kind = self.registry.get(component.kind, component.type)
        except UnknownComponent:
            return
        # Of a plugin's nobody knows.
        needs_it = kind.changes_tree and not issubclass(kind.options_model, ForeignOptions)
        name = f"{self.build.source_type}.{self.build.source_name}"
        if needs_it and component.applies_to(name):
            detail = (
                f"{name} has communicator none: there is no machine or tree in which the "
                "provisioner could do anything. Use shell-local to work on this host."
            )
            self.found.append(
                Diagnostic(f"Provisioner {component.type} without a communicator", detail,
                           component.range, subject=_subject(component))
            )  # fmt: skip

    def _call(self, component: Component, builder: Builder | None) -> PostProcessorCall:
        known = len(self.found)
        made = self._make(component, None)
        if made is None and len(self.found) == known and builder is not None:
            return PostProcessorCall(component, None, partial(self._make_late, component))
        return PostProcessorCall(component, made)

    def _make_late(self, component: Component, run_values: Mapping[str, str]) -> PostProcessor:
        later = replace(self, found=[])
        made: PostProcessor | None = later._make(component, _of_this_run(run_values))
        later._raise_errors()
        assert made is not None, "with all values known there is an object or a finding"
        return made

    def _resolve(
        self, component: Component, run_values: Mapping[str, Value] | None
    ) -> tuple[RawBody, ReadOptions[Options]]:
        subject = _subject(component)
        try:
            model: type[Options] = self.registry.get(component.kind, component.type).options_model
        except UnknownComponent as e:
            self.found.append(Diagnostic(f"{e}", e.hint or "", component.range, subject=subject))
            return RawBody(range=component.range), ReadOptions(None, [])
        try:
            body = self._content(component, run_values)
        except TemplateError as e:
            self.found.extend(e.diagnostics)
            return RawBody(range=component.range), ReadOptions(None, [])
        if issubclass(model, ForeignOptions):
            return body, foreign_options(body, component, self._around())
        body, wrong = self._interpolation(run_values).body(body, model, component, subject)
        body = tightened(body, model)
        read = read_options(model, body, subject)
        self.found += [*wrong, *read.found]
        return body, ReadOptions(None, wrong) if wrong else read

    def _add(
        self,
        findings: Iterable[Finding],
        read: ReadOptions[Options],
        body: RawBody,
        component: Component,
    ) -> None:
        """Add what a component says of its options, as far as they are known."""
        sure = [finding for finding in findings if read.is_sure(finding)]
        for one in sure:
            if one.place is not None:
                self.sources.setdefault(one.place.filename, one.text)
        self.found += locate(sure, body, _subject(component))

    def _content(self, component: Component, run_values: Mapping[str, Value] | None) -> RawBody:
        if self.announced:
            return component.config.resolve(run_values, self.announced)
        return component.config.resolve(run_values)

    def _around(self) -> dict[str, Any]:
        """What components in plugins are told besides their own options."""
        build = self.build
        return {
            "build": build.name, "source_name": build.source_name,
            "source_type": build.source_type, "announced": self.announced,
            "template_path": self.template_path, "go_names": build.go_names,
        }  # fmt: skip

    def _interpolation(self, run_values: Mapping[str, Value] | None) -> Interpolation:
        announced: tuple[str, ...] = ()
        with contextlib.suppress(UnknownComponent):
            announced = self.registry.get("builder", self.build.source_type).announces
        announced = (*announced, *self.announced)
        return Interpolation(
            world=self.world, template_path=self.template_path,
            build_name=self.build.source_name, build_type=self.build.source_type,
            announced=frozenset(announced), run_values=run_values, go_names=self.build.go_names,
        )  # fmt: skip

    def _make(self, component: Component, run_values: Mapping[str, Value] | None) -> Any:
        """The component of its class, checked; None with findings added, or values unknown."""
        body, read = self._resolve(component, run_values)
        if read.examined is None:
            return None
        made = self.registry.get(component.kind, component.type)(read.examined)
        self._add(made.check(self.directory), read, body, component)
        return None if read.options is None else made


def _cleanup(build: Build) -> tuple[Component, ...]:
    """What runs when a provisioner has failed, in order."""
    last = () if build.error_cleanup is None else (build.error_cleanup,)
    return (*build.cleanup_hooks, *last)


def _of_this_run(run_values: Mapping[str, str]) -> dict[str, Value]:
    """What a builder announced, as values that remember that another run gets others."""
    return {
        name: string(text).with_marks(frozenset({Impure("chance", f"build.{name}")}))
        for name, text in run_values.items()
    }


def _chance(body: RawBody) -> tuple[str, ...]:
    """What of clock and chance is in a body, sorted."""
    marks = {mark for value in body.attributes.values() for mark in all_marks(value)}
    found = {m.what for m in marks if isinstance(m, Impure) and m.kind in ("clock", "chance")}
    for block in body.blocks:
        found.update(_chance(block.body))
    return tuple(sorted(found))


def _subject(component: Component) -> str:
    kind = "source" if component.kind == "builder" else component.kind
    name = f' "{component.name}"' if component.kind == "builder" else ""
    return f'{kind} "{component.type}"{name}'
