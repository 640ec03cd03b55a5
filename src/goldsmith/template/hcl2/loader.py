"""Loading a template: from files and variables to builds, with everything wrong reported at once.

Order of work: files, syntax, `required_version`, block structure, `required_plugins`, variables,
locals and data sources, sources, builds. What has a finding goes on as an unknown value, so one
mistake makes one finding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from goldsmith import builders, datasources
from goldsmith.core.build import Template
from goldsmith.core.registry import Registry, UnknownComponent
from goldsmith.errors import Diagnostic, Diagnostics, Position, SourceRange, TemplateError
from goldsmith.redact import Redactor
from goldsmith.template.hcl2.ast import Block, Body
from goldsmith.template.hcl2.blocks import PACKER, REPEATABLE, TOP_LEVEL, checked
from goldsmith.template.hcl2.builds import BuildAssembly, declare_sources
from goldsmith.template.hcl2.data_sources import DataReader, data_object, declare_data
from goldsmith.template.hcl2.dynamic import expanded
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.locals_graph import ValueGraph, declare_locals
from goldsmith.template.hcl2.overview import Overview, build_overview, hinders
from goldsmith.template.hcl2.parser import ParsedFile, parse_file
from goldsmith.template.hcl2.registry_block import check_registry
from goldsmith.template.hcl2.required_plugins import (
    Finder,
    RequiredPlugin,
    no_wishes,
    report_missing,
    required_plugins,
)
from goldsmith.template.hcl2.required_version import MalformedConstraint, satisfies
from goldsmith.template.hcl2.scope import PACKER_VERSION, Scope, constants_only
from goldsmith.template.hcl2.unused import unused_names
from goldsmith.template.hcl2.variable_values import Assigned, Inputs, assign
from goldsmith.template.hcl2.variables import check_rules, declare
from goldsmith.values.numbers import Number
from goldsmith.values.types import MapType
from goldsmith.values.value import Value, object_of, string
from goldsmith.values.world import World

HCL_SUFFIX = ".pkr.hcl"
JSON_SUFFIX = ".pkr.json"


def announcements_of(registry: Registry) -> Callable[[str], Iterable[str]]:
    """What builders add to `build`; what one in a plugin adds is known once it is prepared."""

    def announced(source_type: str) -> Iterable[str]:
        if registry.is_foreign("builder", source_type):
            return ()
        try:
            found: Iterable[str] = registry.get("builder", source_type).announces
        except UnknownComponent:
            return ()
        return found

    return announced


def _own() -> Registry:
    """What loading looks up, of goldsmith's own: data sources, and the names of builders."""
    registry = Registry()
    datasources.register(registry)
    builders.register(registry)
    return registry


def _parse(text: str, path: str) -> ParsedFile:
    if not path.endswith(JSON_SUFFIX):
        return parse_file(text, path)
    from goldsmith.template.hcl2.json_syntax import parse_json_file

    return parse_json_file(text, path)


def load(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
    announced: Callable[[str], Iterable[str]] | None = None,
    read_data: bool = True,
    find_plugin: Finder = no_wishes,
    registry: Registry | None = None,
) -> Template:
    """Load a `.pkr.hcl` or `.pkr.json` file, or all of them in a directory.

    `variables` are the `-var` pairs; `announced` tells, for a source type, which names its builder
    adds to `build`, by default as the registry's do. Without `read_data` the outputs of data
    sources are unknown; `find_plugin` says which plugins are there, and `registry` has their
    components besides goldsmith's own. Raises TemplateError with every finding and the text of
    every file.
    """
    loading = _Loading(
        path, world, read_data=read_data, find_plugin=find_plugin, registry=registry or _own()
    )
    with loading.all_findings():
        inputs = Inputs(variables, variable_files, loading.directory)
        return loading.template(inputs, announced)


def load_scope(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Scope:
    """What expressions of a template see outside of sources and builds, as a console needs it.

    Raises TemplateError like `load`, without looking into sources and builds.
    """
    loading = _Loading(path, world)
    with loading.all_findings():
        scope = loading.scope(Inputs(variables, variable_files, loading.directory))
        loading.found.raise_if_errors(loading.sources)
        # Packer's console does not know them either.
        visible = {name: value for name, value in scope.names.items() if name != "data"}
        return replace(scope, names=visible)


def load_overview(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> Overview:
    """What a template is made of, with values as far as they can be had.

    Raises TemplateError when it cannot be read, or a value does not suit its variable.
    """
    loading = _Loading(path, world)
    with loading.all_findings():
        return loading.overview(Inputs(variables, variable_files, loading.directory))


def load_requirements(path: str, *, world: World) -> list[RequiredPlugin]:
    """The plugins that a template requires; nothing else in it is evaluated.

    Raises TemplateError when the template cannot be read, or a requirement is wrong.
    """
    loading = _Loading(path, world)
    with loading.all_findings():
        loading.outline()
        loading.found.raise_if_errors(loading.sources)
        return loading.plugins


def unused(path: str, *, world: World) -> list[Diagnostic]:
    """The names that a template declares and never uses. Raises TemplateError."""
    loading = _Loading(path, world)
    with loading.all_findings():
        loading.outline()
        return sorted(unused_names(loading.blocks), key=loading.order)


def check_syntax(
    path: str,
    *,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[str] = (),
    world: World,
) -> None:
    """Parse the template and look at its outline, and at what is declared and given.

    Nothing else is evaluated, and components need not exist. Raises TemplateError with every
    finding.
    """
    loading = _Loading(path, world)
    with loading.all_findings():
        loading.declarations(Inputs(variables, variable_files, loading.directory))


@dataclass(slots=True)
class _Loading:
    path: str
    world: World
    found: Diagnostics = field(default_factory=Diagnostics)
    sources: dict[str, str] = field(default_factory=dict)
    directory: str | None = None
    blocks: list[Block] = field(default_factory=list)
    secrets: list[Value] = field(default_factory=list)
    """The values of what is declared sensitive; texts derived from them hold them anyway."""
    plugins: list[RequiredPlugin] = field(default_factory=list)
    read_data: bool = True
    find_plugin: Finder = no_wishes
    registry: Registry = field(default_factory=_own)

    def __post_init__(self) -> None:
        if self.world.path_kind(self.path) == "directory":
            self.directory = self.path

    def order(self, diagnostic: Diagnostic) -> tuple[int, Position]:
        """Sort key: files in the order of reading, then places."""
        where = diagnostic.range
        if where is None:
            return len(self.sources), Position(1, 1, 0)
        files = list(self.sources)
        number = files.index(where.filename) if where.filename in files else len(files)
        return number, where.start

    @contextmanager
    def all_findings(self) -> Iterator[None]:
        """Raise what is raised within as one error: each finding once, in order, with the texts.

        Secrets are redacted in both.
        """
        try:
            yield
        except TemplateError as error:
            found = sorted(dict.fromkeys(error.diagnostics), key=self.order)
            redactor = Redactor(self.secret_texts())
            whole = TemplateError(redactor.findings(found), self.shown_sources(redactor))
            whole.partial = error.partial
            raise whole from None

    def secret_texts(self) -> frozenset[str]:
        """The texts of everything sensitive that is known by now."""
        return frozenset(text for value in self.secrets for text in texts_in(value))

    def shown_sources(self, redactor: Redactor) -> dict[str, str]:
        """The texts of all files as errors may show them."""
        return {path: redactor.blot(text) for path, text in self.sources.items()}

    def outline(self) -> None:
        """Read the blocks of all files and hold this version against `required_version`."""
        self.blocks = self._blocks()
        self._check_versions(self._of("packer"))
        self.plugins = required_plugins(self._of("packer"), self.world, self.found)

    def scope(self, inputs: Inputs) -> Scope:
        """The scope of the template, with unknown values where there are findings."""
        self.outline()
        # Data sources may come from plugins.
        report_missing(self.plugins, self.find_plugin, self.found)
        declarations = declare(self._of("variable", "variables"), self.world, self.found)
        assigned = assign(declarations, inputs, self.world, self.found, self.sources)
        values, self.secrets = assigned.values, list(assigned.secrets)
        scope = self._scope(values)
        check_rules(declarations, values, scope, self.found)
        return self._with_values(scope, self.found)[0]

    def _with_values(self, scope: Scope, found: Diagnostics) -> tuple[Scope, dict[str, Value]]:
        """The scope with locals and data sources in it, and the locals; findings go to `found`."""
        declared = declare_locals(self._of("locals", "local"), self.world, self.found)
        data = declare_data(self._of("data"), self.found)
        reader = DataReader(self.registry, found, self.read_data)
        local_values, outputs = ValueGraph(declared, data, reader, found).evaluate(scope)
        self.secrets += [local_values[name] for name, one in declared.items() if one.sensitive]
        names = {"local": object_of(local_values)}
        if data:
            names["data"] = data_object(outputs)
        return scope.child(names), local_values

    def template(
        self, inputs: Inputs, announced: Callable[[str], Iterable[str]] | None
    ) -> Template:
        """The template with its builds."""
        scope = self.scope(inputs)
        self._expand(scope)
        sources = declare_sources(self._of("source"), self.found)
        check_registry(self._of("hcp_packer_registry"), self._of("build"), scope, self.found)
        assembly = BuildAssembly(
            sources, scope, self.found, announced or announcements_of(self.registry),
            lambda source_type: self.registry.is_foreign("builder", source_type),
        )  # fmt: skip
        builds = [build for block in self._of("build") for build in assembly.builds(block)]
        redactor = Redactor(self.secret_texts())
        template = Template(
            path=self.path,
            builds=tuple(builds),
            sources=self.shown_sources(redactor),
            warnings=tuple(redactor.findings(dict.fromkeys(self.found.warnings))),
            secrets=redactor.secrets,
        )
        if self.found.errors:
            # What components say of their options belongs to the same run.
            error = TemplateError(self.found.found, self.sources)
            error.partial = template
            raise error
        return template

    def declarations(self, inputs: Inputs) -> Assigned:
        """The outline with the values of the variables, some of which may have none.

        Raises TemplateError for other findings, in what locals and data sources declare too.
        """
        self.outline()
        declared = declare(self._of("variable", "variables"), self.world, self.found)
        assigned = assign(declared, inputs, self.world, self.found, self.sources)
        self.secrets = list(assigned.secrets)
        declare_locals(self._of("locals", "local"), self.world, self.found)
        declare_data(self._of("data"), self.found)
        if hindrances := [one for one in self.found.errors if hinders(one)]:
            raise TemplateError(hindrances, self.sources)
        return assigned

    def overview(self, inputs: Inputs) -> Overview:
        """The template in outline; findings that do not hinder that are passed over."""
        assigned = self.declarations(inputs)
        inner, local_values = self._with_values(self._scope(assigned.values), Diagnostics())
        self._expand(inner)
        redactor = Redactor(self.secret_texts())
        return Overview(
            variables={name: assigned.values[name] for name in sorted(assigned.values)},
            local_values={name: local_values[name] for name in sorted(local_values)},
            builds=tuple(build_overview(block, inner) for block in self._of("build")),
            secrets=self.secret_texts(),
            warnings=tuple(redactor.findings(dict.fromkeys(self.found.warnings))),
            sources=self.shown_sources(redactor),
        )

    def _of(self, *kinds: str) -> list[Block]:
        return [block for block in self.blocks if block.type in kinds]

    def _expand(self, scope: Scope) -> None:
        """Replace dynamic blocks outside of all others by what they stand for."""
        if not self._of("dynamic"):
            return
        where = self.blocks[0].range
        made = expanded(Body(tuple(self.blocks), where), scope, self.found)
        _, self.blocks = checked(made, REPEATABLE, self.found)

    def _scope(self, variables: dict[str, Value]) -> Scope:
        root = self.directory or os.path.dirname(self.path) or "."
        root = os.path.normpath(root)
        names = {
            "var": object_of(variables),
            "path": object_of({"cwd": string(self.world.cwd()), "root": string(root)}),
            "packer": object_of({"version": string(PACKER_VERSION)}),
        }
        return Scope(self.world, names, root)

    def _fail(self, summary: str, detail: str, path: str) -> None:
        self.sources.setdefault(path, "")
        nowhere = Position(1, 1, 0)
        self.found.error(summary, detail, SourceRange(path, nowhere, nowhere))

    def _files(self) -> list[str]:
        if self.directory is None:
            if self.world.path_kind(self.path) == "none":
                self._fail("Cannot read template", f"There is no {self.path}.", self.path)
            else:
                return [self.path]
            return []
        names = self.world.list_directory(self.directory)
        templates = [
            os.path.normpath(os.path.join(self.directory, name))
            for suffix in (HCL_SUFFIX, JSON_SUFFIX)
            for name in names
            if name.endswith(suffix)
        ]
        if not templates:
            detail = (
                f"No file in {self.path} has a name that ends in {HCL_SUFFIX} or {JSON_SUFFIX}."
            )
            self._fail("Could not find any template file", detail, self.path)
        return templates

    def _blocks(self) -> list[Block]:
        """The blocks of all files that are at their place. Raises where a file cannot be read."""
        blocks: list[Block] = []
        structure = Diagnostics()
        for path in self._files():
            text = self._text(path)
            if text is None:
                continue
            self.sources[path] = text
            parsed = _parse(text, path)
            self.found.extend(parsed.diagnostics)
            _, allowed = checked(parsed.body, TOP_LEVEL, structure)
            blocks.extend(allowed)
        self.found.raise_if_errors(self.sources)
        self.found.extend(structure.found)
        return blocks

    def _text(self, path: str) -> str | None:
        # A pipe among them would be read until somebody writes to it.
        if self.world.path_kind(path) != "file":
            self._fail("Cannot read template", f"{path} is not a file with content.", path)
            return None
        try:
            content = self.world.read_file(path)
        except OSError as error:
            self._fail("Cannot read template", f"{path}: {error.strerror or error}.", path)
            return None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            self.sources[path] = content.decode("utf-8", "replace")
            before = content[: error.start]
            line_start = before.rfind(b"\n") + 1
            column = len(before[line_start:].decode("utf-8", "replace")) + 1
            place = Position(before.count(b"\n") + 1, column, error.start)
            detail = "All template files must be UTF-8 text."
            self.found.error("Invalid character encoding", detail, SourceRange(path, place, place))
            return None

    def _check_versions(self, blocks: list[Block]) -> None:
        """Hold this version against every file's constraint; nothing else counts if one fails."""
        unmet = Diagnostics()
        for block in blocks:
            attributes, _ = checked(block.body, PACKER, self.found, block)
            if attribute := attributes.get("required_version"):
                self._check_version(block, attribute.expression.range, unmet)
        unmet.raise_if_errors(self.sources)

    def _check_version(self, block: Block, where: SourceRange, unmet: Diagnostics) -> None:
        expression = block.body.attributes["required_version"].expression
        try:
            value = evaluate(expression, constants_only(self.world, "required_version"))
        except TemplateError as error:
            unmet.extend(error.diagnostics)
            return
        if not isinstance(value.raw, str):
            detail = 'A version constraint is a text: required_version = ">= 1.7.0".'
            unmet.error("Invalid version constraint", detail, where, block.header)
            return
        try:
            if satisfies(PACKER_VERSION, value.raw):
                return
            detail = (
                f'The template requires version "{value.raw}"; this is compatible with '
                f"{PACKER_VERSION}."
            )
            unmet.error("Unsupported Packer Core version", detail, where, block.header)
        except MalformedConstraint as error:
            detail = f"{error.message}; {error.hint}."
            unmet.error("Invalid version constraint", detail, where, block.header)


_SHORTEST_NUMBER = 3


def texts_in(value: Value) -> list[str]:
    """Every text in a value at any depth, those of its numbers and the keys of its maps.

    Numbers of one or two digits are left out: without them no output could be read. The names of
    an object's attributes belong to its type.
    """
    match value.raw:
        case str():
            return [value.raw]
        case Number():
            text = value.raw.to_text()
            return [text] if sum(map(str.isdigit, text)) >= _SHORTEST_NUMBER else []
        case dict() if isinstance(value.type, MapType):
            keys = list(value.raw)
        case _:
            keys = []
    return keys + [text for item in value.items() for text in texts_in(item)]
