"""Runs the hooks of a phase one after the other, and tells it as `dib-run-parts` does.

Source: `specs/diskimage-builder.md`, A4. That program itself is for elements that call it; this one
knows whose hook has failed, and ends it with everything that it has started.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements import environment, run_parts
from goldsmith.elements.environment import SecretSink
from goldsmith.elements.hooks import Hooks
from goldsmith.elements.phases import Phase, Place
from goldsmith.elements.secret_variables import NAMES_VARIABLE, secret_names
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host import process

_TAIL_LINES: Final = 20
_NAME_WIDTH: Final = 40
_NOT_FOUND: Final = re.compile(r"^(?!.*: line \d+: ).*: No such file or directory$")
"""What a program says that could not start a hook, and no shell of one that runs."""
_LONGEST_FIRST_LINE: Final = 256

Words = Callable[[Sequence[str]], list[str]]
"""The words that run a program where the hooks run: as it is, in namespaces, or in the tree."""


class HookFailed(CommandFailed):
    """A hook ended with a status other than 0."""

    def __init__(
        self,
        element: str,
        place: str,
        status: int,
        *,
        tail: Sequence[str],
        duration_s: float,
        hint: str | None = None,
    ) -> None:
        super().__init__([place], status, tail=tail, duration_s=duration_s)
        self.element = element
        whose = f" of element {element}" if element else ", which another hook has made,"
        ended = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
        told = "\n".join(tail)
        GoldsmithError.__init__(
            self, f"{place}{whose} {ended}" + (f"; it said last:\n{told}" if told else ""),
            hint=hint,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HookPlace:
    """Where a phase's hooks run, and where its directory is seen there and from here."""

    hooks: Path
    """The merged hooks, as this process sees them."""
    seen_at: str
    """The same directory as the hooks see it."""
    words: Words = list
    source: Callable[[Mapping[str, str], process.LineSink | None], dict[str, str]] | None = None
    """Makes the environment in another way than by sourcing `environment.d` where hooks run."""


@dataclass(frozen=True, slots=True)
class PhaseRun:
    """A phase with what it needs: run it with `run_phase`."""

    phase: Phase
    place: HookPlace
    hooks: Hooks
    environment: Mapping[str, str]
    on_line: process.LineSink
    on_secrets: SecretSink | None = None
    """Is told of secrets that snippets of `environment.d` have made."""
    around_hook: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered before each hook and left after it."""


def run_phase(run: PhaseRun) -> dict[str, float]:
    """Run every hook; returns how long each took, in seconds.

    A phase without a directory does nothing and says nothing. Raises HookFailed at the first hook
    that fails, ElementError for a snippet of environment.d.
    """
    directory = run.place.hooks / run.phase.name
    if not directory.is_dir():
        return {}
    wanted = run.environment.get("RUN_PARTS_REGEX") or run_parts.DEFAULT_NAMES
    parts = run_parts.scripts_of(directory, wanted)
    seen = f"{run.place.seen_at}/{run.phase.name}"
    _tell_left_out(run, parts)
    given = _sourced(run)
    if run.phase.place is Place.OUTSIDE:
        # Snippets may have made more of them.
        given = {**given, NAMES_VARIABLE: " ".join(secret_names(given))}
    took_s: dict[str, float] = {}
    for name in parts.scripts:
        _tell(run, f"Running {seen}/{name}")
        took_s[name] = _run_hook(run, f"{seen}/{name}", name, given)
        _tell(run, f"{name} completed")
    for line in profile(run.phase.name, took_s):
        _tell(run, line)
    return took_s


def _tell(run: PhaseRun, text: str) -> None:
    run.on_line("stderr", f"dib-run-parts {text}")


def _tell_left_out(run: PhaseRun, parts: run_parts.Parts) -> None:
    if run.environment.get("DIB_DEBUG_TRACE", "0") in ("", "0"):
        return
    if parts.not_executable:
        _tell(run, f"Ignoring non-executable files: {' '.join(parts.not_executable)}")
    if parts.other_names:
        _tell(run, f"Ignoring non-conforming filenames: {' '.join(parts.other_names)}")


def _sourced(run: PhaseRun) -> dict[str, str]:
    place = run.place
    if place.source is not None:
        return place.source(run.environment, run.on_line)
    return environment.sourced(
        place.hooks,
        run.environment,
        on_line=run.on_line,
        words=place.words,
        seen_at=place.seen_at,
        on_secrets=run.on_secrets,
        owners=run.hooks,
    )


def _run_hook(run: PhaseRun, program: str, name: str, given: Mapping[str, str]) -> float:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def listen(stream: str, line: str) -> None:
        tail.append(line)
        run.on_line(stream, line)

    started_s = time.monotonic()
    with run.around_hook():
        done = process.run(run.place.words([program]), env=given, check=False, on_line=listen)
    took_s = time.monotonic() - started_s
    if done.status != 0:
        place = f"{run.phase.name}/{name}"
        element = run.hooks.element_of(place)
        is_missing = any(_NOT_FOUND.search(line) and program in line for line in tail)
        hint = _interpreter(run.place.hooks / place) if is_missing else None
        raise HookFailed(element, place, done.status, tail=tuple(tail), duration_s=took_s,
                         hint=hint)  # fmt: skip
    return took_s


def _interpreter(hook: Path) -> str | None:
    """What may be wrong with the first line of a hook: "no such file" is told of the hook then."""
    try:
        with hook.open("rb") as file:
            first = file.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    if first.endswith(b"\r\n"):
        return "its lines end as those of Windows do: write it with a newline alone"
    named = first[2:].decode(errors="replace").split()
    return f"its first line names {named[0]}, which must be where it runs" if named else None


def profile(phase: str, took_s: Mapping[str, float]) -> list[str]:
    """The table that ends a phase, with upstream's words and widths.

    Its order is upstream's too: by the bytes of the names, as each is `start_NAME` there.
    """
    rows = [f"{name:<{_NAME_WIDTH}} {took_s[name]:10.3f}"
            for name in sorted(took_s, key=os.fsencode)]  # fmt: skip
    return [
        f"{'-' * 23} PROFILING {'-' * 23}", "", f"Target: {phase}", "",
        f"{'Script':<{_NAME_WIDTH}} {'Seconds':>9}", f"{'-' * 39:<{_NAME_WIDTH}} {'-' * 10:>9}", "",
        *rows, "", f"{'-' * 21} END PROFILING {'-' * 21}",
    ]  # fmt: skip
