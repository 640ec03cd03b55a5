"""`goldsmith shell`: a shell in the tree of a build, before or after a step, or as it failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from goldsmith.cli.components import undo_functions
from goldsmith.cli.flags import Flag, FlagError, Flags, describe, read_flags
from goldsmith.cli.planning import plan_context
from goldsmith.cli.plugin_session import Plugins, own_watcher, plugins_of
from goldsmith.cli.templates import TEMPLATE_FLAGS, directory_of, read_template
from goldsmith.core.caching import CachePolicy
from goldsmith.core.kept_trees import KeepsTrees, KeptTrees, Moment
from goldsmith.core.prepare import PreparedBuild, prepare
from goldsmith.errors import GoldsmithError
from goldsmith.events import Failed, Said
from goldsmith.host import kernel, user_namespace
from goldsmith.host.journal import open_run, state_directory
from goldsmith.host.signals import interruptible
from goldsmith.host.watcher import start_watcher
from goldsmith.host.worker import Worker, spawn_worker
from goldsmith.redact import Redactor
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.pseudo_terminal import pseudo_terminal
from goldsmith.ui.terminal import wants_color, write_line

FLAGS = {
    **TEMPLATE_FLAGS,
    "at": Flag("text", "the tree as this step left it, also when it failed"),
    "before": Flag("text", "the tree before this step"),
    "after": Flag("text", "the tree after this step"),
    "outside": Flag("bool", "beside the tree, on this host, where hooks of root.d and such run"),
}
USAGE = "Usage: goldsmith shell [options] TEMPLATE [-- COMMAND [ARGUMENTS]]"
_MOMENTS: tuple[Moment, ...] = ("at", "before", "after")
DEFAULT_COMMAND = ("/bin/sh", "-l")
HOOKS_COMMAND = ("bash",)
"""Of elements, whose variables a login shell would set anew."""
_INSIDE = "What you change here is thrown away at the end. Leave with `exit`."
_OUTSIDE = (
    "You are on this host, beside the tree at $TMP_MOUNT_PATH. What you change in the tree is "
    "thrown away at the end, and nothing else. Leave with `exit`."
)


def run(words: list[str], machine_readable: bool) -> int:
    """Open a shell; returns the exit status of what ran in it, 1 for an error, 2 for usage."""
    if words[:1] in (["-help"], ["--help"], ["-h"]):
        write_line(f"{USAGE}\n\n{describe(FLAGS)}")
        return 0
    command = words[words.index("--") + 1 :] if "--" in words else []
    try:
        flags = read_flags(FLAGS, words[: words.index("--")] if "--" in words else words)
        step, moment = _moment(flags)
    except FlagError as e:
        write_line(f"{USAGE}\n\n{describe(FLAGS)}\n\n{e}", stream=sys.stderr)
        return 2
    try:
        with interruptible():
            return _open(flags, step, moment, command)
    except GoldsmithError as e:
        write_line(render_error(e, color=wants_color(sys.stderr, None)), stream=sys.stderr)
        return e.exit_code


def _moment(flags: Flags) -> tuple[str, Moment]:
    given = [(flags.text(name, ""), name) for name in _MOMENTS if flags.text(name, "")]
    if len(given) != 1:
        raise FlagError("exactly one of -at, -before and -after names a step")
    return given[0]


def _open(flags: Flags, step: str, moment: Moment, command: Sequence[str]) -> int:
    state = state_directory()
    if os.geteuid() != 0:
        user_namespace.require()
    kept, outside = _kept_trees(flags, state), flags.on("outside")
    around = kept.around(step)
    if outside and around is None:
        raise GoldsmithError(f"no hooks of elements run in the step {step}",
                             hint="leave -outside out: the shell is in the tree")  # fmt: skip
    default = DEFAULT_COMMAND if around is None else HOOKS_COMMAND
    kernel.allow_many_descriptors()
    with ExitStack() as scope:
        records = kept.records(step, moment)
        scope.enter_context(start_watcher())
        run_directory = scope.enter_context(open_run(state, "shell", undo_functions()))
        terminal = scope.enter_context(pseudo_terminal())
        if terminal.is_interactive:
            write_line(_OUTSIDE if outside else _INSIDE)
        document = {
            "layers": [{"key": one.key, "failed": one.failed} for one in records],
            "inside": kept.inside, "around": around, "outside": outside,
            "store": str(state / "store"), "work": str(run_directory.path / "shell"),
            "command": list(command or default), "stdio": list(terminal.stdio),
            "controls": terminal.is_interactive, "term": os.environ.get("TERM", "dumb"),
        }  # fmt: skip
        argv = [sys.executable, "-P", "-m", "goldsmith", "_shell"]
        with spawn_worker(
            argv, document, lock_fd=run_directory.lock_fd, pass_fds=terminal.stdio
        ) as worker:
            terminal.relay()
            return _status(worker)


def _status(worker: Worker) -> int:
    failed: Failed | None = None
    for event in worker.events():
        if isinstance(event, Failed):
            failed = event
        elif isinstance(event, Said):
            write_line(f"Warning: {event.text}", stream=sys.stderr)
    status = worker.running.popen.wait()
    if failed is not None:
        raise GoldsmithError(failed.message, hint=failed.hint or None)
    return status if status >= 0 else 128 - status


def _kept_trees(flags: Flags, state: Path) -> KeptTrees:
    # Plugins end before the namespaces are entered: nothing of theirs is needed there.
    with plugins_of(flags, watch=own_watcher) as plugins:
        return _kept_trees_with(plugins, flags, state)


def _kept_trees_with(plugins: Plugins, flags: Flags, state: Path) -> KeptTrees:
    loaded = read_template("shell", flags, plugins, warn_of_undeclared=False)
    registry, redactor = plugins.registry, Redactor(loaded.template.secrets)
    directory = directory_of(loaded.world)
    builds = prepare(loaded.template, registry, directory, loaded.builds, loaded.world)
    build = _the_one(builds)
    # What is kept counts here however old it is.
    context = plan_context(build, loaded, registry, policy=CachePolicy(offline=True, any_age=True),
                           redactor=redactor, state=state)  # fmt: skip
    assert isinstance(build.builder, KeepsTrees), "only such a build was chosen"
    with redactor.errors():
        return build.builder.kept_trees(context)


def _the_one(builds: Sequence[PreparedBuild]) -> PreparedBuild:
    with_trees = [build for build in builds if isinstance(build.builder, KeepsTrees)]
    if len(with_trees) == 1:
        return with_trees[0]
    names = ", ".join(build.build.name for build in with_trees)
    raise GoldsmithError(
        "no build of this template has a tree" if not with_trees else f"several builds: {names}",
        hint="name one with -only" if with_trees else None,
    )
