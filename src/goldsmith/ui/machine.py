"""Packer's `-machine-readable` lines: `unix time,target,type,data…`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Event, Output, Said, StepStarted
from goldsmith.ui import terminal


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
                level = "error" if event.stream == "stderr" else "message"
                self._ui(event.build, level, event.line)
            case _:
                pass

    def result(self, result: BuildResult) -> None:
        """Print the errors of a build."""
        for error in result.errors:
            self.record(result.name, "error", str(error))

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the artifacts of every build."""
        errors = sum(1 for result in results if result.errors)
        if errors:
            self.record("", "error-count", str(errors))
        for result in results:
            if not result.artifacts:
                continue
            self.record(result.name, "artifact-count", str(len(result.artifacts)))
            for number, artifact in enumerate(result.artifacts):
                at = str(number)
                self.record(result.name, "artifact", at, "builder-id", artifact.builder_id)
                self.record(result.name, "artifact", at, "id", artifact.id)
                self.record(result.name, "artifact", at, "string", artifact.string)
                self.record(result.name, "artifact", at, "files-count", str(len(artifact.files)))
                for index, path in enumerate(artifact.files):
                    self.record(result.name, "artifact", at, "file", str(index), path)
                self.record(result.name, "artifact", at, "end")

    def line(self, text: str) -> None:
        """Print a line for people as a record."""
        self._ui("", "say", text)

    def error(self, error: GoldsmithError) -> None:
        """Print an error that ends the command."""
        self._ui("", "error", str(error) + (f"\n{error.hint}" if error.hint else ""))

    def close(self) -> None:
        """Nothing is held."""
