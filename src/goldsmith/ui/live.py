"""The live lines of a terminal: one for each build that runs, with what it does, for how long, and
how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TextIO

from goldsmith.events import Event, Progress, Said, StepFinished, StepStarted
from goldsmith.ui import terminal
from goldsmith.ui.owners import build_of
from goldsmith.ui.terminal import plain
from goldsmith.units import format_size

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

BAR_COLUMNS: Final = 20
NARROW_COLUMNS: Final = 60
"""A terminal that is not wider has no room for bars: they say as much in digits."""
_FRAMES_PER_S: Final = 5
_MOST_LINES_PER_S: Final = 40
"""Drawing below each of more lines than that would be slower than what they tell of."""
_AT_ONCE_S: Final = 0.5
"""What is over by then is not worth drawing."""


@dataclass(slots=True)
class Bar:
    """How far one piece of work is; `total` 0 is a spinner."""

    what: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""

    @property
    def detail(self) -> str:
        """How far it is in words."""
        if not self.total:
            return self.what
        if self.unit == "bytes":
            return f"{format_size(self.done)} of {format_size(self.total)}"
        if self.unit == "%":
            return f"{self.done}%"
        return f"{self.done}/{self.total} {self.what}"


@dataclass(slots=True)
class RunningStep:
    """A step that is shown; `parts` are what runs at once in it, "" the step itself."""

    build: str
    label: str
    started_s: float
    shown: bool
    parts: dict[str, Bar] = field(default_factory=dict)

    def note(self, event: Progress) -> None:
        """Take note of how far it is; a part that is done is not shown any more."""
        self.shown = True
        if event.part and event.total and event.done >= event.total:
            self.parts.pop(event.part, None)
        else:
            self.parts[event.part] = Bar(plain(event.what), event.done, event.total, event.unit)


@dataclass(slots=True)
class RunningBuild:
    """A build that has begun and not ended: since when, and what it said last."""

    started_s: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One live line before it is drawn."""

    text: str
    bar: Bar
    elapsed_s: float | None


class LiveLines:
    """Draws a line for every build: its step that takes long, with the parts, or what it said last.

    `rich` is imported when the first one is drawn. What is drawn is gone at the end.
    """

    def __init__(
        self, stream: TextIO, *, color: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._color = color
        self._clock = clock
        self._builds: frozenset[str] = frozenset()
        self._running: dict[str, RunningBuild] = {}
        self._steps: dict[tuple[str, str], RunningStep] = {}
        self._burst_began_s = 0.0
        self._burst = 0
        self._live: Live | None = None
        self._spinner: Spinner | None = None

    def announce(self, builds: Sequence[str]) -> None:
        """Tell which builds there are."""
        self._builds = frozenset(builds)

    def show(self, event: Event) -> None:
        """Take note of an event, and draw while any step is to be shown."""
        build = build_of(event.build, self._builds)
        running = self._running.get(build)
        if running is None and build in self._builds:
            running = self._running[build] = RunningBuild(self._clock())
        match event:
            case Said() if running is not None and event.text.strip():
                running.said = plain(event.text.strip().splitlines()[0])
                return
            case StepStarted():
                if running is not None:
                    running.said = plain(event.label)
                self._steps[build, event.step] = RunningStep(
                    build, plain(event.label), self._clock(), event.takes_long
                )
            case Progress() if step := self._steps.get((build, event.step)):
                step.note(event)
            case StepFinished():
                self._steps.pop((build, event.step), None)
            case _:
                return
        self._draw_or_stop()

    def ended(self, build: str) -> None:
        """Take note that a build has ended."""
        self._running.pop(build, None)
        for at in [at for at in self._steps if at[0] == build]:
            del self._steps[at]
        self._draw_or_stop()

    def idle(self) -> None:
        """Draw where a build runs on and says nothing; to be called now and then."""
        now_s = self._clock()
        if self._live is None and any(
            now_s - running.started_s > _AT_ONCE_S for running in self._running.values()
        ):
            self._start()

    def _draw_or_stop(self) -> None:
        shown = any(step.shown for step in self._steps.values())
        if not shown and not self._running:
            self.stop()
        elif shown and self._live is None:
            self._start()

    def lines(self) -> list[Line]:
        """What is to be drawn now: each build has a line at least."""
        steps = [step for step in list(self._steps.values()) if step.shown]
        running = list(self._running.items())
        builds = list(dict.fromkeys([*(name for name, _ in running), *(s.build for s in steps)]))
        lines: list[Line] = []
        for build in builds:
            of_build = [step for step in steps if step.build == build]
            for step in of_build:
                lines += self._lines_of(step, several=len(builds) > 1)
            if not of_build:
                one = self._running[build]
                text = f"{build}: {one.said}" if one.said else build
                lines.append(Line(text, Bar(), self._clock() - one.started_s))
        return lines

    def _lines_of(self, step: RunningStep, *, several: bool) -> Iterator[Line]:
        prefix = f"{step.build}: " if several else ""
        own = step.parts.get("", Bar())
        yield Line(prefix + step.label, own, self._clock() - step.started_s)
        for name, bar in list(step.parts.items()):
            if name:
                yield Line(f"  {name}", bar, None)

    def _is_flooded(self) -> bool:
        return self._burst > _MOST_LINES_PER_S and self._clock() - self._burst_began_s <= 1

    def _start(self) -> None:
        if self._is_flooded():
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        console = Console(
            file=self._stream, highlight=False, force_terminal=True,
            # rich reads NO_COLOR too, but not our flag.
            no_color=not self._color, color_system="auto" if self._color else None,
        )  # fmt: skip
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")
        self._live = Live(
            console=console, transient=True, refresh_per_second=_FRAMES_PER_S,
            get_renderable=lambda: self._drawn(console), redirect_stdout=False,
            # Logs on the same terminal stand above; elsewhere they are not ours to move.
            redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip
        self._live.start(refresh=True)

    def _drawn(self, console: Console) -> RenderableType:
        """The lines as a table as wide as the terminal is now, none of them longer."""
        from rich.console import ConsoleDimensions
        from rich.table import Table

        # rich asks standard input first, and COLUMNS only once.
        console.size = ConsoleDimensions(*terminal.size(self._stream))
        wide = console.width > NARROW_COLUMNS
        lines, most = self.lines(), max(1, console.height - 2)
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        if wide:
            table.add_column(width=BAR_COLUMNS)
        table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, justify="right", min_width=7)
        for line in lines[:most]:
            table.add_row(*self._cells(line, wide=wide))
        if len(lines) > most:
            table.add_row("", f"and {len(lines) - most} more", *[""] * (3 if wide else 2))
        return table

    def _cells(self, line: Line, *, wide: bool) -> Iterator[RenderableType]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        yield self._spinner if self._spinner and line.elapsed_s is not None else ""
        yield Text(line.text)
        if wide and line.bar.total:
            yield ProgressBar(total=line.bar.total, completed=line.bar.done, width=BAR_COLUMNS)
        elif wide:
            yield ""
        yield Text(line.bar.detail)
        yield "" if line.elapsed_s is None else Text(_clock_text(line.elapsed_s))

    def print_above(self, text: str) -> bool:
        """Print a line above the live ones; False when nothing is drawn now.

        Where lines come very fast nothing is drawn until that is over.
        """
        if self._live is None:
            return False
        now_s = self._clock()
        if now_s - self._burst_began_s > 1:
            self._burst_began_s, self._burst = now_s, 0
        self._burst += 1
        if self._is_flooded():
            self.stop()
            return False
        from rich.text import Text

        # As text with colours: as markup or with emoji codes it would not be what was said.
        lines = [Text.from_ansi(line) for line in text.split("\n")]
        self._live.console.print(Text("\n").join(lines), soft_wrap=True)
        return True

    def stop(self) -> None:
        """Take the lines away; the next event of a step that goes on draws them again."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


def _clock_text(elapsed_s: float) -> str:
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
