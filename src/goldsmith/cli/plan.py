"""`goldsmith plan`: what a build would do, and why; runs nothing."""

from __future__ import annotations

import json
import sys

from goldsmith.cli.flags import Flag, FlagError, Flags, read_flags, usage_of
from goldsmith.cli.planning import CACHE_FLAGS, cache_policy, plan_context
from goldsmith.cli.plugin_session import Plugins, own_watcher, plugins_of
from goldsmith.cli.templates import (
    STRICT_FLAGS,
    TEMPLATE_FLAGS,
    directory_of,
    read_template,
    warnings_of,
)
from goldsmith.core.conflicts import refuse_conflicts
from goldsmith.core.plan import BuildPlan
from goldsmith.core.plan_post_processors import with_post_processors
from goldsmith.core.post_results import open_post_results
from goldsmith.core.prepare import prepare
from goldsmith.errors import GoldsmithError
from goldsmith.host.journal import state_directory
from goldsmith.redact import Redactor
from goldsmith.ui.diagnostics import render_diagnostics, render_error
from goldsmith.ui.plan import render_plans
from goldsmith.ui.terminal import wants_color, write_line

FLAGS = {
    **TEMPLATE_FLAGS,
    **STRICT_FLAGS,
    **{name: CACHE_FLAGS[name] for name in ("no-cache", "refresh", "offline")},
    "json": Flag("bool", "print the plan as JSON"),
    "detailed-exitcode": Flag("bool", "exit with 2 when there is something to do"),
}
SCHEMA = 1


def run(words: list[str], machine_readable: bool) -> int:
    """Plan; 0, 1 for an error, 2 for usage or, with -detailed-exitcode, for something to do."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(usage_of("plan", FLAGS))
        return 0
    try:
        flags = read_flags(FLAGS, words)
        plans = _plans(flags)
    except FlagError as e:
        write_line(f"{usage_of('plan', FLAGS)}\n\n{e}", stream=sys.stderr)
        return 1 if any(word.lstrip("-").startswith("detailed-exitcode") for word in words) else 2
    except GoldsmithError as e:
        write_line(render_error(e, color=wants_color(sys.stderr, None)), stream=sys.stderr)
        return 1
    if flags.on("json"):
        document = {"schema": SCHEMA, "builds": [plan.to_json() for plan in plans]}
        write_line(json.dumps(document, indent=2))
    else:
        write_line(render_plans(plans))
    something = any(not plan.nothing_to_do for plan in plans)
    return 2 if something and flags.on("detailed-exitcode") else 0


def _plans(flags: Flags) -> list[BuildPlan]:
    with plugins_of(flags, watch=own_watcher) as plugins:
        return _plans_with(plugins, flags)


def _plans_with(plugins: Plugins, flags: Flags) -> list[BuildPlan]:
    loaded = read_template("plan", flags, plugins, warn_of_undeclared=False)
    directory = directory_of(loaded.world)
    registry, redactor = plugins.registry, Redactor(loaded.template.secrets)
    policy, state = cache_policy(flags), state_directory()
    builds = prepare(loaded.template, registry, directory, loaded.builds, loaded.world)
    found = [*loaded.template.warnings, *warnings_of(builds)]
    if found:
        shown = render_diagnostics(found, loaded.template.sources)
        write_line(f"{redactor.redact(shown)}\n", stream=sys.stderr)
    plans = []
    with redactor.errors():
        refuse_conflicts(builds, directory, loaded.template.sources)
        for prepared in builds:
            context = plan_context(prepared, loaded, registry, policy=policy, redactor=redactor,
                                   state=state, estimate=True)  # fmt: skip
            plan = prepared.builder.plan(context)
            results = open_post_results(state, use=policy.use)
            plans.append(with_post_processors(plan, prepared, results, directory, redactor))
    return plans
