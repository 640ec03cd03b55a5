"""`goldsmith build`: Packer's flags, lines and exit codes, whatever the source."""

from __future__ import annotations

import itertools
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from goldsmith.cli.app import collect_as_usual
from goldsmith.cli.clean import finish_dead_runs
from goldsmith.cli.components import undo_functions
from goldsmith.cli.early_worker import dismiss_worker, take_worker, worker_argv
from goldsmith.cli.flags import Flag, FlagError, Flags, read_flags, usage_of
from goldsmith.cli.output import OUTPUT_FLAGS, Renderer, choose_renderer, told
from goldsmith.cli.planning import (
    CACHE_FLAGS,
    build_environment,
    cache_policy,
    host_environment,
    plan_context,
    touch_kept,
)
from goldsmith.cli.plugin_session import Plugins, plugins_of
from goldsmith.cli.start_document import StartDocument
from goldsmith.cli.templates import (
    STRICT_FLAGS,
    TEMPLATE_FLAGS,
    LoadedTemplate,
    directory_of,
    read_template,
    warnings_of,
)
from goldsmith.core.build_run import BuildRun, WorkerRun
from goldsmith.core.builder import BuildContext
from goldsmith.core.conflicts import refuse_conflicts
from goldsmith.core.engine import BuildResult, Engine
from goldsmith.core.plan import BuildPlan
from goldsmith.core.post_results import PostResults, open_post_results
from goldsmith.core.preflight import preflight
from goldsmith.core.prepare import (
    PreparedBuild,
    prepare,
    resolve_error_cleanup,
    resolve_provisioners,
)
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.thread_runner import Ask, FinishedBuild, thread_run
from goldsmith.errors import CleanupFailed, Diagnostic, GoldsmithError, Interrupted
from goldsmith.events import Asked, Emitter
from goldsmith.host import user_namespace
from goldsmith.host.journal import RunDirectory, open_run, state_directory
from goldsmith.host.signals import Interrupts, interruptible
from goldsmith.host.watcher import start_watcher
from goldsmith.host.worker import spawn_worker
from goldsmith.redact import Redactor
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.terminal import ask_on_terminal, write_line

FLAGS = {
    **TEMPLATE_FLAGS,
    **STRICT_FLAGS,
    "warn-on-undeclared-var": Flag("bool", "warn of values in files for undeclared variables"),
    **OUTPUT_FLAGS,
    "force": Flag("bool", "replace files that are in the way of outputs"),
    **CACHE_FLAGS,
    "debug": Flag("bool", "build one after the other and ask to go on between the steps"),
    "on-error": Flag(
        "text",
        "cleanup (default), abort, ask or run-cleanup-provisioner; failed trees are kept anyway",
    ),
    "parallel-builds": Flag("number", "how many builds run at once; 0 (default) is all"),
}
_GO_SIGNALS = {"SIGINT": "interrupt", "SIGTERM": "terminated", "SIGHUP": "hangup"}
_ON_ERROR = ("cleanup", "abort", "ask", "run-cleanup-provisioner")


def run(words: list[str], machine_readable: bool) -> int:
    """Build; returns 0, or 1 for every kind of failure, as Packer does."""
    try:
        if words[:1] in (["-help"], ["--help"], ["-h"]):
            write_line(usage_of("build", FLAGS))
            return 0
        flags = read_flags(FLAGS, words)
        _check_on_error(flags)
        cache_policy(flags)
        renderer = choose_renderer(flags, machine_readable=machine_readable)
    except FlagError as e:
        # Whoever reads JSON lines gets nothing else on standard output.
        wants_lines = any(word.endswith("log-format=jsonl") for word in words)
        write_line(f"{usage_of('build', FLAGS)}\n\n{e}", stream=sys.stderr if wants_lines else None)
        return 1
    return build_with(flags, renderer)


def build_with(flags: Flags, renderer: Renderer) -> int:
    """Build what flags ask for that are known to be good; returns 0 or 1."""
    with interruptible() as interrupts:
        try:
            return _build(flags, renderer, interrupts)
        except Interrupted:
            interrupts.settle()
            renderer.cancelled()
            return 1
        except GoldsmithError as e:
            interrupts.settle()
            renderer.error(e)
            return 1
        except Exception:
            if interrupts.first is None or interrupts.settled:
                raise
            # The compiled part of pydantic makes an error of its own of what interrupts it.
            interrupts.settle()
            renderer.cancelled()
            return 1
        finally:
            interrupts.settle()


def _check_on_error(flags: Flags) -> None:
    policy = flags.text("on-error", "cleanup")
    if policy not in _ON_ERROR:
        allowed = " or ".join(_ON_ERROR)
        raise FlagError(f'invalid value "{policy}" for flag -on-error: it is {allowed}')


def _build(flags: Flags, renderer: Renderer, interrupts: Interrupts) -> int:
    started_s = time.monotonic()
    # The watcher is forked before there are threads, which plugins bring.
    with start_watcher(), plugins_of(flags, watch=None) as plugins:
        results = _results(flags, plugins, renderer, interrupts)
    renderer.summary(results, time.monotonic() - started_s)
    return 1 if any(result.errors for result in results) else 0


def _results(
    flags: Flags, plugins: Plugins, renderer: Renderer, interrupts: Interrupts
) -> list[BuildResult]:
    quiet = not flags.on("warn-on-undeclared-var")
    loaded = read_template("build", flags, plugins, warn_of_undeclared=not quiet)
    directory = directory_of(loaded.world)
    _show_warnings(loaded.template.warnings, loaded, renderer)
    for warning in loaded.warnings:
        renderer.line(f"Warning: {warning}")
    redactor = Redactor(loaded.template.secrets)
    prepared = prepare(loaded.template, plugins.registry, directory, loaded.builds, loaded.world)
    with redactor.errors():
        refuse_conflicts(prepared, directory, loaded.template.sources)
    _show_warnings(warnings_of(prepared), loaded, renderer)
    if not any(build.builder.needs_worker for build in prepared):
        dismiss_worker()
    elif os.geteuid() != 0:
        user_namespace.require()
    force, debug = flags.on("force"), flags.on("debug")
    if debug:
        renderer.line("Debug mode enabled. Builds will not be parallelized.")
    with redactor.errors():
        for build in prepared:
            preflight(build, directory, force=force)
    for build in prepared:
        if build.builder.needs_worker:
            # The worker starts its own.
            plugins.session.release(build.build.name, "provisioner")
    state = state_directory()
    finish_dead_runs(state, renderer.line)
    results: list[BuildResult] = []
    with (
        _told_beside(results, renderer),
        open_run(
            state, "build", undo_functions(), on_slow_removal=_tell_of_removal
        ) as run_directory,
    ):
        needing = sum(build.builder.needs_worker for build in prepared)
        starter = _Starter(loaded, flags, run_directory, plugins, redactor, state, needing)
        names = [build.build.name for build in prepared]
        with told(renderer, names, flags, state) as output:

            def on_result(result: BuildResult) -> None:
                output.result(result)
                plugins.session.release(result.name)

            engine = Engine(
                spawn=starter.start, run_directory=run_directory, directory=directory,
                sink=output.sink, ask=lambda asked: _ask(asked, renderer), redactor=redactor,
                interrupts=interrupts, on_result=on_result,
                on_cancel=partial(_tell_of_cancel, renderer), on_idle=output.idle,
                parallel=1 if debug else flags.number("parallel-builds"),
                run_uuid=starter.run_uuid, force=force, results=starter.results(),
            )  # fmt: skip
            collect_as_usual()
            try:
                results += engine.run(prepared)
            finally:
                interrupts.settle()
    return results


@contextmanager
def _told_beside(results: list[BuildResult], renderer: Renderer) -> Iterator[None]:
    """What could not be taken back in the end is told, and hides no results that are there."""
    try:
        yield
    except CleanupFailed as e:
        if not results:
            raise
        renderer.error(e)


def _tell_of_removal(path: Path) -> None:
    write_line(f"Removing the files of the run ({path})...", stream=sys.stderr)


def _tell_of_cancel(renderer: Renderer, signal_name: str, count: int, running: int) -> None:
    """Tell what an interrupt leads to, first in Packer's words."""
    builds = "1 build" if running == 1 else f"{running} builds"
    if count == 1:
        renderer.alarm(f"Cancelling build after receiving {_GO_SIGNALS[signal_name]}")
        renderer.line(f"Ending the programs of {builds}, then cleaning up; again hurries that.")
    else:
        renderer.alarm(f"Interrupted again: killing what {builds} still run")


def _show_warnings(
    warnings: Sequence[Diagnostic], loaded: LoadedTemplate, renderer: Renderer
) -> None:
    if warnings:
        renderer.warnings(warnings, loaded.template.sources)


def _ask(asked: Asked, renderer: Renderer) -> str | None:
    if not isinstance(renderer, HumanRenderer):
        renderer.render(asked)
        return None
    if not sys.stdin.isatty():
        if asked.choices:
            renderer.line("    (nobody can be asked: standard input is not a terminal)")
        return None
    renderer.close()
    renderer.line("")
    while (answer := ask_on_terminal(f"==> {asked.build}: {asked.question}")) is not None:
        answer = answer or (asked.choices[0] if asked.choices else "")
        if not asked.choices or answer in asked.choices:
            return answer
    return None


class _Starter:
    """Starts a build with everything that it may know, in a worker or for a thread."""

    def __init__(
        self,
        loaded: LoadedTemplate,
        flags: Flags,
        run: RunDirectory,
        plugins: Plugins,
        redactor: Redactor,
        state: Path,
        needing: int,
    ) -> None:
        self._may_need_worker = needing
        """How many builds that were not started yet could be the one for an early worker."""
        self.run_uuid = str(uuid.uuid4())
        self._loaded = loaded
        self._plugins, self._registry = plugins, plugins.registry
        self._redactor = redactor
        world = loaded.world
        environment = build_environment(world)
        epoch = environment.get("SOURCE_DATE_EPOCH", "")
        self._policy = cache_policy(flags)
        self._state = state
        self._run = run
        self._numbers = itertools.count(1)
        self._document = StartDocument(
            template=flags.words[0], variables=[list(pair) for pair in loaded.variables],
            variable_files=loaded.variable_files, record={}, build="", cwd=world.cwd(),
            run=str(run.path), work="", force=flags.on("force"),
            on_error=flags.text("on-error", "cleanup"),
            epoch_s=int(epoch) if epoch else int(world.now().timestamp()),
            environment=environment, secrets=sorted(loaded.template.secrets),
            run_uuid=self.run_uuid, policy=asdict(self._policy), state=str(state),
            debug=flags.on("debug"), host_environment=host_environment(),
        )  # fmt: skip
        self._record = world.record()

    def start(self, prepared: PreparedBuild) -> AbstractContextManager[BuildRun]:
        """Start a build; must be called from the main thread."""
        if not prepared.builder.needs_worker:
            return thread_run(prepared, self._context, self._redactor)
        self._may_need_worker -= 1
        if (plan := self._plan(prepared)) is not None and plan.finished is not None:
            # Nothing is to do but to tell so: no worker, no namespaces.
            if not self._may_need_worker:
                dismiss_worker()
            touch_kept(plan, self._state)
            finished = FinishedBuild(plan)
            return thread_run(prepared, self._context, self._redactor, build=finished)
        return self._in_worker(prepared)

    def _plan(self, prepared: PreparedBuild) -> BuildPlan | None:
        """What the build would do; None where the worker had better tell why that is not known."""
        if not self._policy.use or self._policy.verify:
            return None
        outputs = prepared.builder.claims(Path(self._document.cwd))
        if not any(os.path.lexists(path) for path in outputs):
            return None  # nothing can be finished, and the worker asks the cache itself
        try:
            return prepared.builder.plan(
                plan_context(
                    prepared, self._loaded, self._registry, policy=self._policy,
                    redactor=self._redactor, state=self._state,
                )
            )  # fmt: skip
        except Interrupted:
            raise
        except (GoldsmithError, OSError):
            return None

    def results(self) -> PostResults:
        """Where results of post-processors are kept."""
        return open_post_results(self._state, use=self._policy.use)

    def _work(self) -> Path:
        return self._run.path / f"build-{next(self._numbers)}"

    def _context(self, prepared: PreparedBuild, emitter: Emitter, ask: Ask) -> BuildContext:
        """What a builder on a thread is given; called on that thread."""
        document, build = self._document, prepared.build
        template, directory = self._loaded.template, Path(document.cwd)

        def provisioners(run_values: Mapping[str, str]) -> Sequence[ProvisionerCall]:
            return resolve_provisioners(
                build, self._registry, directory, run_values, template.sources,
                template_path=template.path, world=self._loaded.world,
            )  # fmt: skip

        def error_cleanup(run_values: Mapping[str, str]) -> ProvisionerCall | None:
            return resolve_error_cleanup(
                build, self._registry, directory, run_values, template.sources,
                template_path=template.path, world=self._loaded.world,
            )  # fmt: skip

        return BuildContext(
            name=build.name, source_name=build.source_name, emitter=emitter, run=self._run,
            work=self._work(), provisioners=provisioners, error_cleanup=error_cleanup,
            directory=directory, debug=document.debug,
            force=document.force, epoch_s=document.epoch_s, environment=document.environment,
            host_environment=document.host_environment,
            ask=ask, on_error=document.on_error, run_uuid=self.run_uuid, policy=self._policy,
            state=self._state,
        )  # fmt: skip

    @contextmanager
    def _in_worker(self, prepared: PreparedBuild) -> Iterator[WorkerRun]:
        document = replace(
            self._document, build=prepared.build.name, record=self._record,
            work=str(self._work()), plugins=self._plugins.places(),
        )  # fmt: skip
        with spawn_worker(
            worker_argv(), document.to_wire(), lock_fd=self._run.lock_fd, early=take_worker()
        ) as worker:
            yield WorkerRun(worker)
