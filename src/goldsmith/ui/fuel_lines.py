"""Output as users of fuel-agent know it: dated lines, and those that their programs look for.

Source: fuel-astute, which knows how far a build is by the lines that stand here as constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Event, Output, StepFinished, StepStarted
from goldsmith.ui.dib_lines import DibLines

BASE_DONE: Final = "Running deboostrap completed"  # as fuel-agent spells it
PACKAGES_DONE: Final = "Running apt-get install completed"
NOTHING_TO_DO: Final = "All necessary images are available. Nothing needs to be done."


class FuelLines(DibLines):
    """Prints the one build of a `fa-*` verb; its errors are kept for the verb, which tells them."""

    def __init__(self, *, debug: bool = False, log: TextIO | None = None) -> None:
        super().__init__(quiet=log is not None, log=log)
        self._debug = debug
        self.errors: list[GoldsmithError] = []

    def render(self, event: Event) -> None:
        """Print an event, and after it what stands for it at fuel-agent."""
        if isinstance(event, Output) and event.routine and self._debug:
            self.line(event.line)
        super().render(event)
        match event:
            case StepFinished() if event.step == "bootstrap" and event.outcome != "failed":
                self.line(BASE_DONE)
            case StepStarted() if event.step == "configure":
                self.line(PACKAGES_DONE)
            case StepStarted() if event.step == "image" and event.cache == "hit":
                self.line(NOTHING_TO_DO)
                self.line(f"Why: {event.reason}")
            case _:
                pass

    def result(self, result: BuildResult, log: Path | None = None) -> None:
        """Keep why the build failed."""
        self.errors += result.errors
        if result.errors and log is not None:
            self.line(f"Log: {log}")

    def summary(self, results: Sequence[BuildResult], duration_s: float) -> None:
        """Print what there is now."""
        for result in results:
            for artifact in result.artifacts:
                self.line(artifact.string)

    def error(self, error: GoldsmithError) -> None:
        """Keep an error."""
        self.errors.append(error)

    def cancelled(self) -> None:
        """Note that the user has stopped the command."""
        self.is_cancelled = True
