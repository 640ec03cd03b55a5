"""Every event as one JSON line, for programs: the shape is published by `goldsmith schema events`.

Every line has the same first fields (`time`, `type`, `build`, `step`, `key`, `parent`, `cache`,
`reason`); those of its type follow. Routine output of tools is among them.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from goldsmith import __version__
from goldsmith.core.artifact import Artifact
from goldsmith.core.engine import BuildResult
from goldsmith.errors import Diagnostic, GoldsmithError, TemplateError, WorkerError
from goldsmith.events import (
    ArtifactMade,
    BuildFinished,
    Diagnosed,
    Event,
    Failed,
    Progress,
    RunFinished,
    RunStarted,
    Said,
    StepFinished,
    StepStarted,
)
from goldsmith.ui import terminal
from goldsmith.ui.owners import build_of

ENVELOPE: Final = ("time", "type", "build", "step", "key", "parent", "cache", "reason")
"""The fields that every line has."""
_OF_STEPS: Final = ("key", "parent", "cache", "reason")


class JsonLinesRenderer:
    """Prints events as JSON lines; there is nobody to ask."""

    def __init__(self) -> None:
        self._builds: frozenset[str] = frozenset()
        self._running: dict[str, list[StepStarted]] = {}
        self._shown: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._began_s = time.monotonic()

    def announce(self, builds: Sequence[str]) -> None:
        """Tell which builds there will be."""
        self._builds = frozenset(builds)
        self.render(RunStarted(builds=tuple(builds), version=__version__))

    def render(self, event: Event) -> None:
        """Print an event; a progress only when a percentage or what is done has changed."""
        build = build_of(event.build, self._builds)
        running = self._running.setdefault(build, [])
        if isinstance(event, StepStarted):
            running.append(event)
        if not isinstance(event, Progress) or self._is_news(event):
            terminal.write_line(json.dumps(self._line(event, build, running)))
        if isinstance(event, StepFinished):
            running[:] = [one for one in running if one.step != event.step]

    def _is_news(self, event: Progress) -> bool:
        at = (event.build, event.step, event.part)
        now = (event.what, 100 * event.done // event.total if event.total else event.done)
        if self._shown.get(at) == now:
            return False
        self._shown[at] = now
        return True

    def _line(self, event: Event, build: str, running: Sequence[StepStarted]) -> dict[str, Any]:
        fields = dataclasses.asdict(event)
        at_s = fields.pop("at_s")
        del fields["build"]
        step = fields.pop("step", None) or (running[-1].step if running else None)
        of_step = next((one for one in reversed(running) if one.step == step), None)
        # A step's events have these fields; what happens within it has them from its beginning.
        known = {name: fields.pop(name, getattr(of_step, name, None)) for name in _OF_STEPS}
        return {
            "time": _time_text(at_s), "type": event.kind, "build": build or None, "step": step,
            **known, "reason": known["reason"] or None, **fields,
        }  # fmt: skip

    def result(self, result: BuildResult, log: Path | None = None) -> None:
        """Print a build's artifacts, its errors and its end."""
        for artifact in result.artifacts:
            self.render(ArtifactMade(build=result.name, artifact=_public(artifact)))
        for error in result.errors:
            self.render(_failure(error, result.name))
        outcome = "cancelled" if result.cancelled else "failed" if result.errors else "ok"
        self.render(
            BuildFinished(
                build=result.name, outcome=outcome, duration_s=result.duration_s,
                errors=len(result.errors), artifacts=len(result.artifacts),
                log=None if log is None else str(log),
            )
        )  # fmt: skip

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the end of the run."""
        failed = any(result.errors for result in results)
        self._end("failed" if failed else "ok", duration_s)

    def _end(self, outcome: str, duration_s: float | None = None) -> None:
        if duration_s is None:
            duration_s = time.monotonic() - self._began_s
        self.render(RunFinished(outcome=outcome, duration_s=duration_s))

    def line(self, text: str) -> None:
        """Print a line for people as an event of the run."""
        self.render(Said(text=text.strip("\n")))

    def alarm(self, text: str) -> None:
        """Print such a line as an event of an error."""
        self.render(Said(text=text, level="error"))

    def warnings(self, found: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        """Print findings about the template that do not stop the command."""
        for one in found:
            self.render(_diagnosed(one))

    def error(self, error: GoldsmithError) -> None:
        """Print an error that ends the command, a template's findings each by itself."""
        if isinstance(error, TemplateError):
            for one in error.diagnostics:
                self.render(_diagnosed(one))
        else:
            self.render(_failure(error, ""))
        self._end("failed")

    def cancelled(self) -> None:
        """Print that the user has stopped the command."""
        self._end("cancelled")

    def close(self) -> None:
        """Nothing is held."""


def _time_text(at_s: float) -> str:
    when = datetime.fromtimestamp(at_s, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _failure(error: GoldsmithError, build: str) -> Failed:
    kind = error.kind if isinstance(error, WorkerError) else type(error).__name__
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
    return Failed(build=build, error=kind, message=f"{error}{notes}", hint=error.hint or "",
                  exit_code=error.exit_code)  # fmt: skip


def _diagnosed(found: Diagnostic) -> Diagnosed:
    where = found.range
    return Diagnosed(
        severity=found.severity.value, summary=found.summary, detail=found.detail,
        file=where.filename if where else "", line=where.start.line if where else 0,
        column=where.start.column if where else 0,
    )  # fmt: skip


def _public(artifact: Artifact) -> dict[str, Any]:
    """What others may know of an artifact: its values of `build.*` may hold passwords."""
    state = {name: artifact.state[name] for name in ("images", "digests") if name in artifact.state}
    return {
        "builder_id": artifact.builder_id, "id": artifact.id, "string": artifact.string,
        "files": list(artifact.files), "native": artifact.native, **state,
    }  # fmt: skip
