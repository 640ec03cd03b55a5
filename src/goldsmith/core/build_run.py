"""A running build as the engine sees it, wherever it runs: in a worker, or on a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from goldsmith.core.artifact import Artifact
from goldsmith.events import EventSink
from goldsmith.host.worker import Worker


class BuildRun(Protocol):
    """A build that runs; the engine calls `deliver` on a thread and all else from the main one."""

    @property
    def artifact(self) -> Artifact | None:
        """What the build made, where it did so in this process and only it can be removed so."""
        ...

    def deliver(self, sink: EventSink) -> None:
        """Hand every event of the build to `sink`; returns when the build has ended.

        Raises WorkerError when what comes is no event.
        """
        ...

    def answer(self, question_id: int, text: str | None) -> None:
        """Answer a question; None says that nobody can be asked."""
        ...

    def cancel(self, signal_name: str) -> None:
        """Ask the build to stop and clean up; a second call makes it hurry."""
        ...

    def kill(self) -> None:
        """End the build without its cleanup, where that is possible."""
        ...

    def wait(self, timeout_s: float) -> int | None:
        """Wait after the last event; returns its status, or None when the time is up."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """A build in a worker (see `host.worker`)."""

    worker: Worker
    artifact: Artifact | None = None

    def deliver(self, sink: EventSink) -> None:
        """Hand on what comes up the event pipe."""
        for event in self.worker.events():
            sink(event)

    def answer(self, question_id: int, text: str | None) -> None:
        """Send an answer down."""
        self.worker.answer(question_id, text)

    def cancel(self, signal_name: str) -> None:
        """Send the interrupt down."""
        self.worker.cancel(signal_name)

    def kill(self) -> None:
        """End the worker: with its namespaces the kernel takes all that the build still holds."""
        self.worker.running.end(hurry=True)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the worker's own end."""
        return self.worker.running.wait(timeout_s)
