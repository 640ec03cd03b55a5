"""Runs builds that own nothing of the kernel on threads of this process: no root, no worker.

Such a build costs a thread and its programs, so many of them run at once. Its programs have process
groups of their own; an interrupt reaches them all through the thread's `Cancellation`.
"""

from __future__ import annotations

import threading
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.plan import BuildPlan
from goldsmith.core.prepare import PreparedBuild
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.events import ArtifactMade, Asked, Emitter, EventSink, Failed
from goldsmith.host.cancellation import Cancellation
from goldsmith.redact import Redactor

END_GRACE_S: Final = 10.0
DEFECT_HINT: Final = "this is a defect of goldsmith: please report it with the text above"

Ask = Callable[[str, tuple[str, ...]], str | None]
MakeArtifact = Callable[[BuildContext], Artifact]
MakeContext = Callable[[PreparedBuild, Emitter, Ask], BuildContext]
"""Makes what the builder is given, with the emitter and the way to ask of its thread."""


class ThreadedRun:
    """What runs on a thread of this process (see `build_run.BuildRun`), and how it is stopped."""

    def __init__(self) -> None:
        self.artifact: Artifact | None = None
        self._cancellation = Cancellation()
        self._ended = threading.Event()
        self._started = False

    @abstractmethod
    def run(self, sink: EventSink) -> None:
        """Do it; every end is told or noted."""
        ...

    def deliver(self, sink: EventSink) -> None:
        """Run on the calling thread, where a cancel is heard."""
        self._started = True
        try:
            with self._cancellation.installed():
                self.run(sink)
        finally:
            self._ended.set()

    def answer(self, question_id: int, text: str | None) -> None:
        """Nothing here asks."""

    def cancel(self, signal_name: str) -> None:
        """Raise Interrupted in the thread as soon as it waits for something or looks."""
        self._cancellation.cancel(signal_name)

    def kill(self) -> None:
        """A thread cannot be killed; its programs are, by the hurry of its cleanup."""

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end."""
        return 0 if self._ended.wait(timeout_s) else None

    def close(self) -> None:
        """Stop what still runs, and give back what it holds here."""
        if self._started and not self._ended.is_set():
            self.cancel("SIGTERM")
            self._ended.wait(END_GRACE_S)
        if self._ended.is_set() or not self._started:
            self._cancellation.close()


class ThreadRun(ThreadedRun):
    """A build on a thread."""

    def __init__(
        self,
        prepared: PreparedBuild,
        make_context: MakeContext,
        redactor: Redactor,
        build: MakeArtifact,
    ) -> None:
        super().__init__()
        self._prepared = prepared
        self._build = build
        self._make_context = make_context
        self._redactor = redactor
        self._answers: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
        self._questions = 0
        self._sink: EventSink = lambda event: None

    def run(self, sink: EventSink) -> None:
        """Build; every end is an event."""
        self._sink = sink
        name = self._prepared.build.name
        try:
            emitter = Emitter(name, sink, self._redactor)
            self.artifact = self._build(self._make_context(self._prepared, emitter, self._ask))
            sink(ArtifactMade(build=name, artifact=self.artifact.to_wire()))
        except GoldsmithError as e:
            notes = "".join(f"\n{note}" for note in getattr(e, "__notes__", []))
            self._fail(type(e).__name__, f"{e}{notes}", e.hint or "", e.exit_code)
        except OSError as e:
            told = explain_os_error(e)
            self._fail(type(told).__name__, str(told), told.hint or "", told.exit_code)
        except Exception:
            self._fail("Defect", traceback.format_exc(), DEFECT_HINT, 1)

    def _fail(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        redact = self._redactor.redact
        self._sink(
            Failed(build=self._prepared.build.name, error=kind, message=redact(message),
                   hint=redact(hint), exit_code=exit_code)
        )  # fmt: skip

    def _ask(self, question: str, choices: tuple[str, ...]) -> str | None:
        """Ask the user through an event and wait for the answer, or for an interrupt."""
        self._questions += 1
        number = self._questions
        self._sink(Asked(build=self._prepared.build.name, id=number,
                         question=self._redactor.redact(question), choices=choices))  # fmt: skip
        while True:
            question_id, text = self._answers.get()
            self._cancellation.check()
            if question_id == number:
                return text

    def answer(self, question_id: int, text: str | None) -> None:
        """Hand an answer to the thread."""
        self._answers.put((question_id, text))

    def cancel(self, signal_name: str) -> None:
        """Raise Interrupted in the thread, also where it waits for an answer."""
        super().cancel(signal_name)
        self.answer(0, None)


@dataclass(frozen=True, slots=True)
class FinishedBuild:
    """Stands in for a builder whose whole work stands already: tells the steps as cached."""

    plan: BuildPlan

    def __call__(self, context: BuildContext) -> Artifact:
        """Hand on the artifact that stands."""
        assert self.plan.finished is not None, "a build with work left runs"
        for step in self.plan.steps:
            with context.emitter.running(
                step.name, step.label, key=step.key, cache="hit", reason=step.reason
            ):
                pass
        return self.plan.finished


@contextmanager
def thread_run(
    prepared: PreparedBuild,
    make_context: MakeContext,
    redactor: Redactor,
    *,
    build: MakeArtifact | None = None,
) -> Iterator[ThreadRun]:
    """A build for a thread that calls `deliver`; leaving the block ends it.

    `build` is called instead of the builder.
    """
    run = ThreadRun(prepared, make_context, redactor, build or prepared.builder.build)
    try:
        yield run
    finally:
        run.close()
