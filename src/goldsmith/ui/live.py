"""The live line of a terminal: what runs now, for how long, and how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from goldsmith.events import Event, Progress, StepFinished, StepStarted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class LiveLine:
    """Shows one line per running step that takes long; `rich` is imported only here."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started_s: dict[str, float] = {}

    def _start(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20),
            TextColumn("{task.fields[detail]}"), TimeElapsedColumn(),
            console=Console(file=self._stream, highlight=False), transient=True,
        )  # fmt: skip
        bars.start()
        return bars

    def show(self, event: Event) -> None:
        """Take note of an event; draws only for steps that take long."""
        match event:
            case StepStarted() if event.takes_long:
                self._bars = self._bars or self._start()
                description = event.label if len(event.label) < 60 else event.label[:57] + "..."
                self._tasks[event.build] = self._bars.add_task(description, total=None, detail="")
                self._started_s[event.build] = time.monotonic()
            case Progress() if self._bars is not None and event.build in self._tasks:
                total = event.total or None
                self._bars.update(
                    self._tasks[event.build], completed=event.done, total=total,
                    detail=event.what[:40],
                )  # fmt: skip
            case StepFinished() if self._bars is not None and event.build in self._tasks:
                self._bars.remove_task(self._tasks.pop(event.build))
                if not self._tasks:
                    self.stop()
            case _:
                pass

    def print_above(self, text: str) -> bool:
        """Print a line above the live one; False when nothing is drawn now."""
        if self._bars is None:
            return False
        self._bars.console.print(text, markup=False, soft_wrap=True)
        return True

    def stop(self) -> None:
        """Take the line away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()
