"""Output for people, in the shape that Packer's users know."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Event, Output, Said, StepStarted
from goldsmith.ui import terminal
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.live import LiveLine
from goldsmith.units import format_duration, format_size

# The last lines of a tool that failed are shown in the error; before, they matter to few.
VERBOSE_VARIABLES = ("GOLDSMITH_LOG", "PACKER_LOG")


class HumanRenderer:
    """Prints the events of builds as `==> NAME: text`, errors in red, a summary at the end."""

    def __init__(self, *, color: bool | None = None, timestamps: bool = False) -> None:
        self._color = terminal.wants_color(sys.stdout, color)
        self._timestamps = timestamps
        self._verbose = any(
            os.environ.get(name, "0") not in ("", "0") for name in VERBOSE_VARIABLES
        )
        self._colors: dict[str, str] = {}
        self._live = LiveLine(sys.stdout) if terminal.is_live(sys.stdout) else None

    def announce(self, builds: Sequence[str]) -> None:
        """Give each build its colour, and say so as Packer does."""
        for number, name in enumerate(builds):
            self._colors[name] = terminal.BUILD_COLORS[number % len(terminal.BUILD_COLORS)]
            if self._color:
                self.line(self._painted(f"{name}: output will be in this color.", name))
        if self._color and builds:
            self.line("")

    def line(self, text: str) -> None:
        """Print a line as it is, above the live line if there is one."""
        if self._live is None or not self._live.print_above(text):
            terminal.write_line(text)

    def _painted(self, text: str, build: str, *, error: bool = False) -> str:
        if not self._color:
            return text
        plain = build.split(" (", 1)[0]
        paint = terminal.ERROR_COLOR if error else self._colors.get(plain, terminal.BOLD)
        return f"{paint}{text}{terminal.RESET}"

    def _tell(self, build: str, text: str, *, error: bool = False) -> None:
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: " if self._timestamps else ""
        for line in text.splitlines() or [""]:
            self.line(self._painted(f"{stamp}==> {build}: {line.rstrip()}", build, error=error))

    def render(self, event: Event) -> None:
        """Print an event; steps show their label when they begin and their time in the summary."""
        match event:
            case Said():
                prefix = "Warning: " if event.level == "warning" else ""
                self._tell(event.build, prefix + event.text, error=event.level == "error")
            case StepStarted():
                self._tell(event.build, event.label + ("..." if event.takes_long else ""))
            case Output() if not event.routine:
                self._tell(event.build, event.line, error=event.stream == "stderr")
            case Output() if self._verbose:
                terminal.write_line(f"{event.build}: {event.line}", stream=sys.stderr)
            case _:
                pass
        if self._live is not None:
            self._live.show(event)

    def result(self, result: BuildResult) -> None:
        """Print how a build ended."""
        took = format_duration(result.duration_s)
        if not result.errors:
            self.line(f"Build '{result.name}' finished after {took}.")
            return
        for error in result.errors:
            text = f"Build '{result.name}' errored after {took}: {error}"
            self.line(self._painted(text, result.name, error=True))
            for note in getattr(error, "__notes__", []):
                self.line(f"  {note}")
            if error.hint:
                self.line(f"  -> {error.hint}")

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the end of the run: artifacts with sizes and digests, and the time per step."""
        self.close()
        self.line(f"\n==> Wait completed after {format_duration(duration_s)}")
        failed = [result for result in results if result.errors]
        if failed:
            self.line("\n==> Some builds didn't complete successfully and had errors:")
            for result in failed:
                for error in result.errors:
                    first, *_ = error.message.splitlines() or [""]
                    self.line(f"--> {result.name}: {first}")
        made = [result for result in results if result.artifacts]
        if made:
            self.line("\n==> Builds finished. The artifacts of successful builds are:")
            for result in made:
                for artifact in result.artifacts:
                    self.line(f"--> {result.name}: {artifact.string}")
                    if not artifact.native:
                        continue
                    for line in _files(artifact.files, artifact.state.get("digests", {})):
                        self.line(f"      {line}")
        else:
            self.line("\n==> Builds finished but no artifacts were created.")
        for result in results:
            self._steps(result)

    def _steps(self, result: BuildResult) -> None:
        if not result.steps:
            return
        self.line(f"\n==> Time of {result.name} by step:")
        for step in result.steps:
            mark = "" if step.outcome == "ran" else f"  ({step.outcome})"
            self.line(f"    {step.duration_s:8.2f} s  {step.label}{mark}")

    def error(self, error: GoldsmithError) -> None:
        """Print an error that ends the command."""
        self.close()
        self.line(render_error(error, color=self._color))

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()


def _files(files: Sequence[str], digests: dict[str, str]) -> list[str]:
    lines = []
    for name in files:
        try:
            status = os.stat(name)
        except OSError:
            continue
        used = status.st_blocks * 512
        size = format_size(status.st_size)
        if used < status.st_size:
            size += f" ({format_size(used)} on disk)"
        digest = digests.get(Path(name).name)
        lines.append(f"{name}  {size}" + (f"  sha256:{digest}" if digest else ""))
    return lines
