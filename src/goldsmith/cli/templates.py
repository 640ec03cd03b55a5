"""What `build` and `validate` share: the flags about templates, and how one is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from goldsmith.cli.flags import Flag, FlagError, Flags
from goldsmith.cli.plugin_session import Plugins
from goldsmith.cli.requirements import finder
from goldsmith.core.build import Build, Template
from goldsmith.core.prepare import PreparedBuild, prepare
from goldsmith.core.selection import select_builds
from goldsmith.errors import Diagnostic, GoldsmithError, Severity, TemplateError, in_order
from goldsmith.plugin.lock_file import LockFile
from goldsmith.template.hcl2.variable_values import UNDECLARED_SUMMARY
from goldsmith.template.load import STANDARD_INPUT, load, unused_names
from goldsmith.values.world import LiveWorld, RecordingWorld, World

STRICT_FLAGS = {
    "strict": Flag("bool", "undeclared variables and unused names are errors"),
}
TEMPLATE_FLAGS = {
    "var": Flag("many", "a variable, NAME=VALUE; repeatable"),
    "var-file": Flag("many", "a file of variables; repeatable"),
    "only": Flag("commas", "run only these builds (globs)"),
    "except": Flag("commas", "run all builds and post-processors but these (globs)"),
    "use-sequential-evaluation": Flag("bool", "accepted; evaluation is always ordered by need"),
    "ignore-prerelease-plugins": Flag("bool", "plugins of a pre-release do not count"),
}


@dataclass(frozen=True, slots=True)
class LoadedTemplate:
    """A template with the record of everything impure that its evaluation saw."""

    template: Template
    builds: list[Build]
    world: RecordingWorld
    variables: list[tuple[str, str]]
    variable_files: list[str]
    warnings: list[str]


def template_path(verb: str, flags: Flags) -> str:
    """The one template that the command line of a verb names; raises GoldsmithError."""
    if len(flags.words) != 1:
        raise GoldsmithError(
            f"exactly one template is needed, {len(flags.words)} were given",
            hint=f"flags stand before the template: goldsmith {verb} -var a=1 TEMPLATE",
        )
    return flags.words[0]


def optional_template(flags: Flags) -> str | None:
    """The template of a verb that needs none; raises FlagError for more than one."""
    if len(flags.words) > 1:
        raise FlagError(f"at most one template can be given, not {len(flags.words)}")
    return flags.words[0] if flags.words else None


def language_of(flags: Flags) -> str:
    """The language where there is no template, "json" or "hcl2"; raises FlagError."""
    language = flags.text("config-type", "json")
    if language not in ("json", "hcl2"):
        raise FlagError(f'invalid value "{language}" for flag -config-type: it is json or hcl2')
    return language


def read_template(
    verb: str,
    flags: Flags,
    plugins: Plugins,
    *,
    warn_of_undeclared: bool,
    read_data: bool = True,
) -> LoadedTemplate:
    """Load the one template that the command line names; raises TemplateError, GoldsmithError.

    `warn_of_undeclared` keeps the warnings about values for variables that nobody declares;
    without `read_data` what data sources give stays unknown.
    """
    path = template_path(verb, flags)
    variables = variable_pairs(flags)
    world = RecordingWorld(LiveWorld())
    requirements = plugins.requirements
    assert requirements is not None, "only workers have none"
    if path != STANDARD_INPUT:
        requirements.lock = LockFile.beside(path)
    try:
        template = load(
            path, variables=variables, variable_files=flags.many("var-file"), world=world,
            read_data=read_data,
            find_plugin=finder(requirements), registry=plugins.registry,
        )  # fmt: skip
    except TemplateError as error:
        raise _with_components(error, world, plugins) from None
    plugins.keep_secret(template.secrets)
    if flags.on("strict"):
        refuse_stray_names(path, template.warnings, template.sources, world)
    if not warn_of_undeclared:
        wanted = tuple(w for w in template.warnings if w.summary != UNDECLARED_SUMMARY)
        template = replace(template, warnings=wanted)
    builds, warnings = select_builds(template.builds, flags.many("only"), flags.many("except"))
    return LoadedTemplate(
        template, builds, world, variables, flags.many("var-file"), warnings
    )  # fmt: skip


def _with_components(
    error: TemplateError, world: RecordingWorld, plugins: Plugins
) -> TemplateError:
    """The error with what the components of the template say, as far as it could be evaluated."""
    template = error.partial
    if not isinstance(template, Template):
        return error
    try:
        prepare(template, plugins.registry, directory_of(world), template.builds, world)
    except TemplateError as more:
        sources = {**error.sources, **more.sources}
        return TemplateError(in_order([*error.diagnostics, *more.diagnostics], sources), sources)
    return error


def refuse_stray_names(
    path: str, warnings: Sequence[Diagnostic], sources: Mapping[str, str], world: World
) -> None:
    """What -strict refuses: values for what nobody declares, and names that nobody uses.

    `warnings` and `sources` are those of the loaded template. Raises TemplateError.
    """
    undeclared = [
        replace(one, severity=Severity.ERROR)
        for one in warnings
        if one.summary == UNDECLARED_SUMMARY
    ]
    if found := [*undeclared, *unused_names(path, world=world)]:
        raise TemplateError(in_order(found, sources), dict(sources))


def variable_pairs(flags: Flags) -> list[tuple[str, str]]:
    """The variables of the command line, in order; raises GoldsmithError."""
    return [_pair(text) for text in flags.many("var")]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise GoldsmithError(f"-var {text!r} has no value", hint="write -var NAME=VALUE")
    return name.strip(), value


def warnings_of(prepared: Sequence[PreparedBuild]) -> list[Diagnostic]:
    """What builds warn of, each finding once: those that share a source share its warnings."""
    return list(dict.fromkeys(warning for build in prepared for warning in build.warnings))


def directory_of(world: RecordingWorld) -> Path:
    """What relative paths of a template refer to: the working directory, as with Packer."""
    return Path(world.cwd())
