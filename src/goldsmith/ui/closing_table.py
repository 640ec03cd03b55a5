"""The table at the end of a run on a terminal: every step, its time and result, and every build."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from goldsmith.core.engine import BuildResult
from goldsmith.ui.terminal import plain
from goldsmith.units import format_duration

if TYPE_CHECKING:
    from rich.table import Table

_STYLES: Final = {"ok": "green", "ran": "green", "cached": "cyan", "failed": "bold red",
                  "cancelled": "bold yellow"}  # fmt: skip


def closing_table(results: Sequence[BuildResult], *, width: int, color: bool) -> str:
    """The table of steps, then that of builds, as text of at most this width; no final newline."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False,
        color_system="standard" if color else None, legacy_windows=False, _environ={},
    )  # fmt: skip
    with console.capture() as capture:
        if any(result.steps for result in results):
            console.print(_steps(results))
        console.print(_builds(results))
    return "\n".join(line.rstrip() for line in capture.get().split("\n")).strip("\n")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        if name == "Time":
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold", no_wrap=name == "Result")
    return table


def _steps(results: Sequence[BuildResult]) -> Table:
    from rich.text import Text

    table = _table("Build", "Step", "Time", "Result")
    for result in results:
        for number, step in enumerate(result.steps):
            table.add_row(
                Text("" if number else result.name), Text(plain(step.label)),
                f"{step.duration_s:.2f} s", Text(step.outcome, _STYLES.get(step.outcome, "")),
                end_section=number == len(result.steps) - 1,
            )  # fmt: skip
    return table


def _builds(results: Sequence[BuildResult]) -> Table:
    from rich.text import Text

    table = _table("Build", "Result", "Time", "Artifacts")
    for result in results:
        outcome = "cancelled" if result.cancelled else "failed" if result.errors else "ok"
        table.add_row(
            Text(result.name), Text(outcome, _STYLES[outcome]),
            format_duration(result.duration_s), Text(_artifacts(result)),
        )  # fmt: skip
    return table


def _artifacts(result: BuildResult) -> str:
    """The names of the files, which are told with their places above; else what is told at all."""
    texts = []
    for artifact in result.artifacts:
        names = [Path(name).name for name in artifact.files]
        texts.append(", ".join(names) if names else artifact.string)
    return plain("\n".join(texts))
