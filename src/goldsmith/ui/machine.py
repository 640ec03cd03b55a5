"""Packer's `-machine-readable` lines: `unix time,target,type,data…`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from goldsmith.errors import Diagnostic, GoldsmithError
from goldsmith.events import Event, Output, Said, StepStarted
from goldsmith.ui import terminal
from goldsmith.ui.annotations import annotations_for
from goldsmith.ui.diagnostics import render_diagnostics, render_error
from goldsmith.units import format_duration

if TYPE_CHECKING:
    from goldsmith.core.artifact import Artifact
    from goldsmith.core.engine import BuildResult

_FAILED = "\n==> Some builds didn't complete successfully and had errors:"
_MADE = "\n==> Builds finished. The artifacts of successful builds are:"
_NOTHING_MADE = "\n==> Builds finished but no artifacts were created."


def _escaped(text: str) -> str:
    return text.replace(",", "%!(PACKER_COMMA)").replace("\r", "\\r").replace("\n", "\\n")


class MachineRenderer:
    """Prints events as records; there is nobody to ask."""

    def announce(self, builds: Sequence[str]) -> None:
        """Nothing to announce: records carry their build's name."""

    def record(self, target: str, kind: str, *data: str) -> None:
        """Print one record."""
        fields = ",".join(_escaped(field) for field in (target, kind, *data))
        terminal.write_line(f"{int(time.time())},{fields}")

    def _ui(self, build: str, level: str, text: str) -> None:
        prefix = f"==> {build}: " if build else ""
        self.record("", "ui", level, prefix + text)

    def render(self, event: Event) -> None:
        """Print an event's record."""
        match event:
            case Said():
                level = event.level if event.level in ("say", "message", "error") else "say"
                self._ui(event.build, level, event.text)
            case StepStarted():
                self._ui(event.build, "say", event.label)
            case Output() if not event.routine:
                level = "error" if event.stream == "stderr" else "say"
                self._ui(event.build, level, event.line)
            case _:
                pass

    def result(self, result: BuildResult, log: Path | None = None) -> None:
        """Print how a build ended; the file with its log has no record in Packer's lines."""
        took = format_duration(result.duration_s)
        if not result.errors:
            self._ui("", "say", f"Build '{result.name}' finished after {took}.")
        for error in result.errors:
            self._ui("", "error", f"Build '{result.name}' errored after {took}: {error}")

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the errors and the artifacts of every build."""
        self.line(f"\n==> Wait completed after {format_duration(duration_s)}")
        failed = [result for result in results if result.errors]
        if failed:
            self.record("", "error-count", str(len(failed)))
            self._ui("", "error", _FAILED)
            for result in failed:
                for error in result.errors:
                    self.record(result.name, "error", str(error))
                    self._ui("", "error", f"--> {result.name}: {error}")
        made = [result for result in results if result.artifacts]
        self.line(_MADE if made else _NOTHING_MADE)
        for result in made:
            self.record(result.name, "artifact-count", str(len(result.artifacts)))
            for number, artifact in enumerate(result.artifacts):
                self._artifact(result.name, str(number), artifact)

    def _artifact(self, target: str, at: str, artifact: Artifact) -> None:
        self.record(target, "artifact", at, "builder-id", artifact.builder_id)
        self.record(target, "artifact", at, "id", artifact.id)
        self.record(target, "artifact", at, "string", artifact.string)
        self.record(target, "artifact", at, "files-count", str(len(artifact.files)))
        for index, path in enumerate(artifact.files):
            self.record(target, "artifact", at, "file", str(index), path)
        self.record(target, "artifact", at, "end")
        self.line(f"--> {target}: {artifact.string}")

    def line(self, text: str) -> None:
        """Print a line for people as a record."""
        self._ui("", "say", text)

    def alarm(self, text: str) -> None:
        """Print a line for people as a record of an error."""
        self._ui("", "error", text)

    def error(self, error: GoldsmithError) -> None:
        """Print an error that ends the command."""
        self._ui("", "error", str(error) + (f"\n{error.hint}" if error.hint else ""))

    def warnings(self, found: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        """Print findings about the template that do not stop the command."""
        self.line(render_diagnostics(found, sources) + "\n")

    def cancelled(self) -> None:
        """Print that the user has stopped the command."""
        self.line("\nCleanly cancelled builds after being interrupted.")

    def close(self) -> None:
        """Nothing is held."""


def show_error(error: GoldsmithError, *, machine_readable: bool) -> None:
    """Print the error that ends a verb of Packer's, on standard output as Packer does."""
    if machine_readable:
        MachineRenderer().error(error)
    else:
        color = terminal.wants_color(sys.stdout, None)
        annotations = annotations_for(os.environ)
        terminal.write_line(annotations.harmless(render_error(error, color=color)))
        for line in annotations.stopped(error):
            terminal.write_line(line)
