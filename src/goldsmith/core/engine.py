"""Runs builds: a worker for each that touches the kernel, a thread for each that does not.

The main thread starts workers (the parent-death signal demands it), renders events and answers
questions. Each build has one thread besides: that of a worker only moves its events into a queue,
the others build there. Post-processors run on such a thread too, so that no build waits for those
of another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, Final

from goldsmith.core.artifact import NOTHING, Artifact
from goldsmith.core.build_run import BuildRun
from goldsmith.core.builder import Receiving
from goldsmith.core.post_processing import PostProcessing
from goldsmith.core.post_results import PostResults
from goldsmith.core.post_run import PostRun, post_run
from goldsmith.core.prepare import PreparedBuild
from goldsmith.errors import GoldsmithError, Interrupted, WorkerError, explain_os_error
from goldsmith.events import ArtifactMade, Asked, Event, EventSink, Failed, StepFinished
from goldsmith.host.journal import RunDirectory
from goldsmith.host.signals import Interrupts
from goldsmith.redact import Redactor

HURRIED_GRACE_S: Final = 10.0
MOST_AT_ONCE: Final = 100
"""How many builds run at once when the user sets no limit: each holds some eight descriptors, and
1024 is what a process usually may have."""
MOST_WAITING: Final = 256
"""How many events wait at most to be told: a build that writes faster than that has to wait too."""
_POLL_S: Final = 0.2

Spawn = Callable[[PreparedBuild], AbstractContextManager[BuildRun]]
Ask = Callable[[Asked], str | None]
OnCancel = Callable[[str, int, int], None]
"""Told the name of the first signal, how many came so far, and how many builds still run."""


@dataclass(slots=True)
class BuildResult:
    """What became of a build."""

    name: str
    artifacts: list[Artifact] = field(default_factory=list)
    errors: list[GoldsmithError] = field(default_factory=list)
    steps: list[StepFinished] = field(default_factory=list)
    duration_s: float = 0.0
    cancelled: bool = False


@dataclass(slots=True)
class _Running:
    """A build that has not ended yet."""

    prepared: PreparedBuild
    run: BuildRun
    scope: ExitStack
    result: BuildResult
    started_s: float
    pump: threading.Thread
    artifact: Artifact | None = None
    unanswered: int | None = None
    """The question at which an interrupt came, of which the build has to hear first."""

    def received(self, wire: Mapping[str, Any]) -> Artifact:
        """What the build's worker has made."""
        builder = self.prepared.builder
        if isinstance(builder, Receiving):
            return builder.received(wire)
        return Artifact.from_wire(wire)


@dataclass(slots=True)
class Engine:
    """The builds of one command."""

    spawn: Spawn
    run_directory: RunDirectory
    directory: Path
    sink: EventSink
    ask: Ask
    redactor: Redactor
    interrupts: Interrupts
    on_result: Callable[[BuildResult], None]
    parallel: int = 0
    """How many builds run at once; 0 is as many as can."""
    run_uuid: str = ""
    """What PACKER_RUN_UUID says in this command."""
    force: bool = False
    results: PostResults | None = None
    """Where results of post-processors are found and kept."""
    on_cancel: OnCancel = lambda signal_name, count, running: None
    on_idle: Callable[[], None] = lambda: None
    """Called several times a second while no build tells anything."""

    _queue: Queue[tuple[str, Event | Exception | None]] = field(
        default_factory=lambda: Queue(MOST_WAITING)
    )
    _is_over: bool = False
    _running: dict[str, _Running] = field(default_factory=dict)
    _scope: ExitStack = field(default_factory=ExitStack)
    _cancels_sent: int = 0
    _hurried_at_s: float = 0.0

    def run(self, builds: Sequence[PreparedBuild]) -> list[BuildResult]:
        """Run all builds; one that fails does not disturb the others.

        After an interrupt no further build starts, the running ones clean up, and Interrupted is
        raised at the end with every worker gone.
        """
        waiting = list(builds)
        results: list[BuildResult] = []
        # A signal may raise between taking an event and noting it, which would lose the event; so
        # they are only noted, but where the main thread works or waits for long.
        with self.interrupts.held(), self._scope:
            try:
                while waiting or self._running:
                    while waiting and self.interrupts.first is None and self._has_room():
                        if failed := self._start(waiting.pop(0)):
                            results.append(failed)
                    if (ended := self._next()) and not self._post_process(ended):
                        results.append(ended.result)
                    if self.interrupts.first is not None:
                        waiting.clear()
                        self._cancel()
            finally:
                self._is_over = True
        if self.interrupts.first is not None:
            raise Interrupted(self.interrupts.first)
        return results

    def _tell(self, name: str, event: Event | Exception | None) -> None:
        """Hand an event to the main thread; once nobody takes any more, drop it."""
        while not self._is_over:
            try:
                self._queue.put((name, event), timeout=_POLL_S)
                return
            except Full:
                continue

    def _has_room(self) -> bool:
        return len(self._running) < (self.parallel if self.parallel > 0 else MOST_AT_ONCE)

    def _start(self, prepared: PreparedBuild) -> BuildResult | None:
        """Start a build; returns its result where not even that could be done."""
        result, started_s = BuildResult(prepared.build.name), time.monotonic()
        try:
            with self.interrupts.heeded():
                making = self.spawn(prepared)
            self._run(making, prepared, result, started_s)
            return None
        except Interrupted:
            # It is noted, and whoever runs the builds looks there.
            return None
        except GoldsmithError as e:
            error = e
        except OSError as e:
            error = explain_os_error(e)
        self.redactor.error(error)
        result.errors.append(error)
        result.duration_s = time.monotonic() - started_s
        self.on_result(result)
        return result

    def _run(
        self,
        making: AbstractContextManager[BuildRun],
        prepared: PreparedBuild,
        result: BuildResult,
        started_s: float,
    ) -> None:
        """Have a thread deliver the events of a run, which ends with the engine at the latest."""
        name = result.name
        scope = self._scope.enter_context(ExitStack())
        run = scope.enter_context(making)
        pump = threading.Thread(target=self._pump, args=(name, run), name=name, daemon=True)
        self._running[name] = _Running(prepared, run, scope, result, started_s, pump)
        pump.start()

    def _pump(self, name: str, run: BuildRun) -> None:
        try:
            run.deliver(lambda event: self._tell(name, event))
        except Exception as e:  # a thread's border: the main one must hear of every end
            self._tell(name, e)
        finally:
            self._tell(name, None)

    def _next(self) -> _Running | None:
        """Take one event; returns the build that has ended with it, if any."""
        try:
            name, event = self._queue.get(timeout=_POLL_S)
        except Empty:
            self.on_idle()
            return None
        running = self._running[name]
        match event:
            case None:
                return self._running.pop(name)
            case Asked():
                answer = self._answer(event)
                if self.interrupts.first is None or self._cancels_sent:
                    running.run.answer(event.id, answer)
                else:
                    # Without an answer the build would go on until it hears of the interrupt.
                    running.unanswered = event.id
            case ArtifactMade():
                running.artifact = running.run.artifact or running.received(event.artifact)
            case Failed():
                error = WorkerError(event.error, event.message, hint=event.hint or None)
                running.result.errors.append(error)
            case Exception():
                running.result.errors.append(WorkerError("ProtocolError", str(event)))
            case _:
                self._recording(running)(event)
        return None

    def _answer(self, question: Asked) -> str | None:
        """Ask the user; an interrupt at the prompt is no answer."""
        try:
            with self.interrupts.heeded():
                return self.ask(question)
        except Interrupted:
            return None

    def _post_process(self, ended: _Running) -> bool:
        """A run's events have ended: start the post-processors of what it made, if there are any.

        Returns False when the build has ended with it; that is told then.
        """
        self._conclude(ended)
        result, artifact = ended.result, ended.run.artifact or ended.artifact
        if artifact is not None and artifact != NOTHING and not result.errors:
            if self.interrupts.first is None:
                making = post_run(artifact, partial(self._processing, ended), self.redactor)
                self._run(making, ended.prepared, result, ended.started_s)
                return True
            result.artifacts, result.cancelled = [artifact], True
        result.duration_s = time.monotonic() - ended.started_s
        if not result.cancelled or result.errors:
            self.on_result(result)
        return False

    def _conclude(self, ended: _Running) -> None:
        """Wait for the end itself, and note what became of the run."""
        result, run = ended.result, ended.run
        status = run.wait(HURRIED_GRACE_S)
        ended.scope.close()
        ended.pump.join()
        if isinstance(run, PostRun):
            result.artifacts, result.cancelled = run.artifacts, run.cancelled
            result.errors += run.errors
            return
        result.cancelled = any(getattr(e, "kind", "") == "Interrupted" for e in result.errors)
        if ended.artifact is None and not result.errors:
            result.errors.append(_died(status))

    def _processing(self, ended: _Running, sink: EventSink) -> PostProcessing:
        return PostProcessing(
            ended.prepared, self.run_directory, self.directory, sink, self.redactor,
            force=self.force, run_uuid=self.run_uuid, results=self.results,
        )  # fmt: skip

    def _recording(self, running: _Running) -> EventSink:
        """A sink that notes the times of steps, which are told of builds in workers only."""

        def sink(event: Event) -> None:
            if isinstance(event, StepFinished) and running.prepared.builder.needs_worker:
                running.result.steps.append(event)
            self.sink(event)

        return sink

    def _cancel(self) -> None:
        """Pass the user's interrupts on: each build hears of as many as have come."""
        while self._cancels_sent < min(self.interrupts.count, 2):
            self._cancels_sent += 1
            signal_name = self.interrupts.first or "SIGINT"
            self.on_cancel(signal_name, self._cancels_sent, len(self._running))
            for running in self._running.values():
                running.run.cancel(signal_name)
                if running.unanswered is not None:
                    running.run.answer(running.unanswered, None)
                    running.unanswered = None
            if self._cancels_sent == 2:
                self._hurried_at_s = time.monotonic()
        if self._hurried_at_s and time.monotonic() > self._hurried_at_s + HURRIED_GRACE_S:
            for running in self._running.values():
                running.run.kill()


def _died(status: int | None) -> WorkerError:
    if status is None:
        return WorkerError("WorkerDied", "the build worker ended its report but not itself")
    how = f"signal {-status}" if status < 0 else f"status {status}"
    how = f"signal {status - 128}" if status > 128 else how
    return WorkerError(
        "WorkerDied", f"the build worker died ({how}) before it could report anything",
        hint="its mounts and processes are gone with it; if memory was short, see `dmesg`",
    )  # fmt: skip
