"""Output for people, in the shape that Packer's users know."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from goldsmith.core.engine import BuildResult
from goldsmith.errors import Diagnostic, GoldsmithError
from goldsmith.events import Event, Output, Said, StepStarted
from goldsmith.layers.explain import NEVER_BUILT
from goldsmith.ui import terminal
from goldsmith.ui.annotations import annotations_for
from goldsmith.ui.diagnostics import render_diagnostics, render_error
from goldsmith.ui.live import LiveLines
from goldsmith.ui.log_files import log_path, wants_log
from goldsmith.ui.owners import build_of
from goldsmith.units import format_duration, format_size


class HumanRenderer:
    """Prints the events of builds as `==> NAME: text`, errors in red, a summary at the end."""

    def __init__(self, *, color: bool | None = None, timestamps: bool = False) -> None:
        self._color = terminal.wants_color(sys.stdout, color)
        self._timestamps = timestamps
        self._verbose = wants_log() and log_path() is None
        self._colors: dict[str, str] = {}
        self._builds: frozenset[str] = frozenset()
        self._logs: dict[str, Path] = {}
        self._annotations = annotations_for(os.environ)
        self._is_live = terminal.is_live(sys.stdout)
        self._live = (
            LiveLines(terminal.standard_output(), color=self._color) if self._is_live else None
        )

    def announce(self, builds: Sequence[str]) -> None:
        """Give each build its colour, and say so as Packer does."""
        self._builds = frozenset(builds)
        if self._live is not None:
            self._live.announce(builds)
        self._annotate(self._annotations.begin(builds))
        for number, name in enumerate(builds):
            self._colors[name] = terminal.BUILD_COLORS[number % len(terminal.BUILD_COLORS)]
            if self._color:
                self.line(self._painted(f"{name}: output will be in this color.", name))
        if self._color and builds:
            self.line("")

    def _annotate(self, lines: Iterable[str]) -> None:
        for line in lines:
            terminal.write_line(line)

    def line(self, text: str) -> None:
        """Print a line as it is, above the live ones if there are any."""
        text = self._annotations.harmless(text)
        if self._live is None or not self._live.print_above(text):
            terminal.write_line(text)

    def _painted(self, text: str, build: str, *, error: bool = False) -> str:
        if not self._color:
            return text
        owner = build_of(build, self._builds)
        paint = terminal.ERROR_COLOR if error else self._colors.get(owner, terminal.BOLD)
        return f"{paint}{text}{terminal.RESET}"

    def _tell(self, build: str, text: str, *, error: bool = False) -> None:
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: " if self._timestamps else ""
        text = terminal.tame(text) if self._color else terminal.plain(text)
        for line in text.splitlines() or [""]:
            self.line(self._painted(f"{stamp}==> {build}: {line.rstrip()}", build, error=error))

    def render(self, event: Event) -> None:
        """Print an event; steps show their label when they begin and their time in the summary."""
        match event:
            case Said():
                prefix = "Warning: " if event.level == "warning" else ""
                self._tell(event.build, prefix + event.text, error=event.level == "error")
            case StepStarted():
                self._tell(event.build, event.label + _ending(event))
            case Output() if not event.routine:
                self._tell(event.build, event.line, error=event.stream == "stderr")
            case Output() if self._verbose:
                line = terminal.plain(event.line)
                terminal.write_line(f"{event.build}: {line}", stream=sys.stderr)
            case _:
                pass
        if self._live is not None:
            self._live.show(event)

    def idle(self) -> None:
        """Draw builds that say nothing; called now and then."""
        if self._live is not None:
            self._live.idle()

    def result(self, result: BuildResult, log: Path | None = None) -> None:
        """Print how a build ended; `log` is the file that has all of its lines."""
        if self._live is not None:
            self._live.ended(result.name)
        took = format_duration(result.duration_s)
        if not result.errors:
            self.line(f"Build '{result.name}' finished after {took}.")
            return
        for error in result.errors:
            self._annotate(self._annotations.failed(result.name, error))
            text = f"Build '{result.name}' errored after {took}: {self._shown(error)}"
            self.line(self._painted(text, result.name, error=True))
            for note in getattr(error, "__notes__", []):
                self.line(f"  {terminal.plain(note)}")
            if error.hint:
                self.line(f"  -> {terminal.plain(error.hint)}")
        if log is not None:
            self._logs[result.name] = log
            self.line(f"  Log: {log}")

    def _shown(self, error: GoldsmithError) -> str:
        return terminal.plain(str(error))

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print the end of the run: errors with remedies, artifacts, and the time per step."""
        self.close()
        self._annotate(self._annotations.end())
        self.line(f"\n==> Wait completed after {format_duration(duration_s)}")
        failed = [result for result in results if result.errors]
        if failed:
            self.line("\n==> Some builds didn't complete successfully and had errors:")
            for result in failed:
                self._failed(result)
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
        if self._is_live:
            self._table(results)
            return
        for result in results:
            self._steps(result)

    def _failed(self, result: BuildResult) -> None:
        """The errors of a build, each in one line with its remedy."""
        for error in result.errors:
            first, *_ = self._shown(error).splitlines() or [""]
            self.line(f"--> {result.name}: {first}")
            if error.hint:
                self.line(f"      -> {terminal.plain(error.hint)}")
        if log := self._logs.get(result.name):
            self.line(f"      Log: {log}")

    def _table(self, results: Sequence[BuildResult]) -> None:
        from goldsmith.ui.closing_table import closing_table

        if not results:
            return
        width, _ = terminal.size(sys.stdout)
        self.line("\n" + closing_table(results, width=width, color=self._color))

    def _steps(self, result: BuildResult) -> None:
        if not result.steps:
            return
        self.line(f"\n==> Time of {result.name} by step:")
        for step in result.steps:
            mark = "" if step.outcome == "ran" else f"  ({step.outcome})"
            self.line(f"    {step.duration_s:8.2f} s  {step.label}{mark}")

    def warnings(self, found: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        """Print findings about the template that do not stop the command."""
        self.line(render_diagnostics(found, sources) + "\n")
        self._annotate(self._annotations.found(found))

    def alarm(self, text: str) -> None:
        """Print a line for people about something that went wrong, or was stopped."""
        self.line(f"{terminal.ERROR_COLOR}{text}{terminal.RESET}" if self._color else text)

    def cancelled(self) -> None:
        """Print that the user has stopped the command."""
        self.close()
        self._annotate(self._annotations.end())
        self.line("\nCleanly cancelled builds after being interrupted.")

    def error(self, error: GoldsmithError) -> None:
        """Print an error that ends the command."""
        self.close()
        self._annotate(self._annotations.end())
        self.line(render_error(error, color=self._color))
        self._annotate(self._annotations.stopped(error))

    def close(self) -> None:
        """Take the live lines away."""
        if self._live is not None:
            self._live.stop()


def _ending(step: StepStarted) -> str:
    """What follows the label of a step: that it need not run, or why it has to again."""
    if step.cache == "hit":
        return f" (cached: {step.reason})" if "-offline" in step.reason else " (cached)"
    why = f" ({step.reason})" if step.reason and step.reason != NEVER_BUILT else ""
    return why + ("..." if step.takes_long else "")


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
