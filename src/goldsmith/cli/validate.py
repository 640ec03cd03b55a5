"""`goldsmith validate`: parse and prepare everything, run nothing."""

from __future__ import annotations

from collections.abc import Callable

from goldsmith.cli.flags import Flag, FlagError, Flags, read_flags, usage_of
from goldsmith.cli.plugin_session import Plugins, own_watcher, plugins_of
from goldsmith.cli.templates import (
    STRICT_FLAGS,
    TEMPLATE_FLAGS,
    directory_of,
    read_template,
    template_path,
    variable_pairs,
    warnings_of,
)
from goldsmith.core.conflicts import refuse_conflicts
from goldsmith.core.prepare import prepare
from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor
from goldsmith.template.load import check_syntax
from goldsmith.ui.diagnostics import render_diagnostics
from goldsmith.ui.machine import MachineRenderer, show_error
from goldsmith.ui.terminal import write_line
from goldsmith.values.world import LiveWorld

FLAGS = {
    **TEMPLATE_FLAGS,
    **STRICT_FLAGS,
    "no-warn-undeclared-var": Flag("bool", "do not warn of values for undeclared variables"),
    "syntax-only": Flag("bool", "only parse, and evaluate nothing"),
    "evaluate-datasources": Flag("bool", "read data sources too, and check what they give"),
}


def run(words: list[str], machine_readable: bool) -> int:
    """Check a template; 0 when it is valid (warnings allowed), else 1."""
    tell = MachineRenderer().line if machine_readable else write_line
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage_of("validate", FLAGS))
        return 0
    try:
        flags = read_flags(FLAGS, words)
        if flags.on("syntax-only"):
            check_syntax(
                template_path("validate", flags), variables=variable_pairs(flags),
                variable_files=flags.many("var-file"), world=LiveWorld(),
            )  # fmt: skip
            tell("Syntax-only check passed. Everything looks okay.")
            return 0
        with plugins_of(flags, watch=own_watcher) as plugins:
            _validate(flags, plugins, tell)
    except FlagError as e:
        write_line(f"{usage_of('validate', FLAGS)}\n\n{e}")
        return 1
    except GoldsmithError as e:
        show_error(e, machine_readable=machine_readable)
        return 1
    tell("The configuration is valid.")
    return 0


def _validate(flags: Flags, plugins: Plugins, tell: Callable[[str], None]) -> None:
    """Tell what there is to warn of; raises GoldsmithError with what is wrong."""
    loaded = read_template(
        "validate", flags, plugins,
        warn_of_undeclared=not flags.on("no-warn-undeclared-var"),
        read_data=flags.on("evaluate-datasources"),
    )  # fmt: skip
    if loaded.template.warnings:
        shown = render_diagnostics(loaded.template.warnings, loaded.template.sources)
        tell(shown + "\n")
    for warning in loaded.warnings:
        tell(f"Warning: {warning}\n")
    directory = directory_of(loaded.world)
    prepared = prepare(loaded.template, plugins.registry, directory, loaded.builds, loaded.world)
    with Redactor(loaded.template.secrets).errors():
        refuse_conflicts(prepared, directory, loaded.template.sources)
    if warnings := warnings_of(prepared):
        tell(render_diagnostics(warnings, loaded.template.sources) + "\n")
