"""The one stream of events that core and below emit and that `ui` renders.

Events are frozen, hold only JSON values, and are redacted when they are made (`Emitter`), so a
sink may write them anywhere. A worker sends them as JSON lines; `decode` makes them again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from goldsmith.redact import Redactor


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a build; `build` is the build's name, "" for the whole run."""

    kind: ClassVar[str] = "event"
    build: str = ""
    at_s: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Event):
    """A line for people; `level` is say, message, warning or error."""

    kind: ClassVar[str] = "said"
    text: str
    level: str = "say"


CacheUse = Literal["hit", "miss", "none"]
"""What the step cache had for a step: its result, nothing, or it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    """A step begins; `takes_long` asks a terminal for a live line.

    `key` is the digest of the step's key and `parent` the id of the layer below it, null where the
    step has none; `reason` says why the cache was used, or not.
    """

    kind: ClassVar[str] = "step-started"
    step: str
    label: str
    takes_long: bool = False
    key: str | None = None
    parent: str | None = None
    cache: CacheUse | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """A step ended; `outcome` is ran, cached or failed, the rest as in StepStarted."""

    kind: ClassVar[str] = "step-finished"
    step: str
    label: str
    duration_s: float
    outcome: str
    key: str | None = None
    parent: str | None = None
    cache: CacheUse | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Event):
    """A line that a program of a step wrote; `stream` is stdout or stderr."""

    kind: ClassVar[str] = "output"
    step: str
    stream: str
    line: str
    routine: bool = False
    """A tool's chatter that matters only when the step fails, not a user's script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far a long piece of work is; `total` is 0 where it is not known.

    `part` tells apart what runs at once in one step; `unit` is what is counted, "bytes" or "%",
    or "" for pieces of work.
    """

    kind: ClassVar[str] = "progress"
    step: str
    what: str
    done: int
    total: int = 0
    part: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """A question for the user; the parent sends the answer down the control pipe under `id`."""

    kind: ClassVar[str] = "asked"
    id: int
    question: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMade(Event):
    """A builder or post-processor has made an artifact, given in its wire form."""

    kind: ClassVar[str] = "artifact"
    artifact: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """A build failed: the error's class name, text and remedy."""

    kind: ClassVar[str] = "failed"
    error: str
    message: str
    hint: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The builds of a command begin; only machines are told. `schema` counts breaking changes."""

    kind: ClassVar[str] = "run-started"
    builds: tuple[str, ...]
    version: str
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished(Event):
    """A build and its post-processors ended; `outcome` is ok, failed or cancelled.

    Its errors and artifacts have events of their own before it; `log` is the file that has every
    line of a build that failed.
    """

    kind: ClassVar[str] = "build-finished"
    outcome: str
    duration_s: float
    errors: int = 0
    artifacts: int = 0
    log: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The command is over."""

    kind: ClassVar[str] = "run-finished"
    outcome: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed(Event):
    """A finding about a template; line and column count from 1, 0 where there is no place."""

    kind: ClassVar[str] = "diagnostic"
    severity: str
    summary: str
    detail: str = ""
    file: str = ""
    line: int = 0
    column: int = 0


class CutLine(str):
    """A piece of a line that is too long to be handed on whole; the next line continues it."""

    __slots__ = ()


LONGEST_LABEL = 100

EventSink = Callable[[Event], None]

IN_BUILDS: tuple[type[Event], ...] = (
    Said, StepStarted, StepFinished, Output, Progress, Asked, ArtifactMade, Failed,
)  # fmt: skip
"""What comes out of builds; a worker sends nothing else."""
OF_RUNS: tuple[type[Event], ...] = (RunStarted, BuildFinished, RunFinished, Diagnosed)
"""What the command itself tells, to machines."""

_KINDS: dict[str, type[Event]] = {cls.kind: cls for cls in IN_BUILDS}


def encode(event: Event) -> str:
    """One JSON line, without its newline."""
    # ASCII: a file name that is no UTF-8 stands in a text as surrogates, which no pipe takes.
    return json.dumps({"kind": event.kind, **dataclasses.asdict(event)})


def decode(line: str) -> Event:
    """Make an event again from `encode`'s line; raises ValueError for anything else."""
    fields = json.loads(line)
    kind = fields.pop("kind", "") if isinstance(fields, dict) else ""
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ValueError(f"not an event: {line[:200]}")
    try:
        if "choices" in fields:
            fields["choices"] = tuple(fields["choices"])
        return cls(**fields)
    except TypeError as e:
        raise ValueError(f"not an event: {line[:200]}") from e


class Emitter:
    """Makes the events of one build, redacted, and hands them to a sink."""

    def __init__(self, build: str, sink: EventSink, redactor: Redactor | None = None) -> None:
        self.build = build
        self.step = ""
        self._sink = sink
        self.redactor = redactor or Redactor()
        self._held: dict[str, tuple[str, bool]] = {}

    def _text(self, text: str) -> str:
        return self.redactor.redact(text)

    def say(self, text: str) -> None:
        """Tell the user what happens (Packer's Ui.Say)."""
        self._sink(Said(build=self.build, text=self._text(text)))

    def message(self, text: str) -> None:
        """Tell a detail (Packer's Ui.Message)."""
        self._sink(Said(build=self.build, text=self._text(text), level="message"))

    def warn(self, text: str) -> None:
        """Tell of something that works but will surprise."""
        self._sink(Said(build=self.build, text=self._text(text), level="warning"))

    def error(self, text: str) -> None:
        """Tell of a failure (Packer's Ui.Error)."""
        self._sink(Said(build=self.build, text=self._text(text), level="error"))

    def output(self, line: str, stream: str = "stdout", *, routine: bool = False) -> None:
        """Pass on a line that a program of the running step wrote.

        Of a line that was cut the end waits for the next piece: a secret may stand across the cut.
        """
        held, _ = self._held.pop(stream, ("", routine))
        if isinstance(line, CutLine):
            shown, rest = self.redactor.divided(held + line)
            self._held[stream] = rest, routine
        else:
            shown = self._text(held + line)
        self._sink(
            Output(build=self.build, step=self.step, stream=stream, line=shown, routine=routine)
        )  # fmt: skip

    def _release(self) -> None:
        """Pass on what still waits for the end of a line that never came."""
        for stream, (_, routine) in list(self._held.items()):
            self.output("", stream, routine=routine)

    def progress(
        self, what: str, done: int, total: int = 0, *, part: str = "", unit: str = ""
    ) -> None:
        """Tell how far the running step is, or the part of it that runs beside others."""
        self._sink(
            Progress(build=self.build, step=self.step, what=self._text(what), done=done,
                     total=total, part=part, unit=unit)
        )  # fmt: skip

    def send(self, event: Event) -> None:
        """Pass on an event that is made elsewhere and already redacted."""
        self._sink(event)

    @contextmanager
    def running(
        self,
        step: str,
        label: str,
        *,
        takes_long: bool = False,
        key: str | None = None,
        parent: str | None = None,
        cache: CacheUse | None = None,
        reason: str = "",
    ) -> Iterator[None]:
        """Bracket a step with its two events and its time; a long label is cut.

        `key`, `parent`, `cache` and `reason` are as in StepStarted; a step whose result the cache
        has is `cached` instead of `ran`.
        """
        outer, self.step = self.step, step
        # Cut before it is redacted, a secret that crosses the cut would be shown in part.
        label, reason = self._text(label), self._text(reason)
        label = label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 3] + "..."
        self._sink(
            StepStarted(build=self.build, step=step, label=label, takes_long=takes_long,
                        key=key, parent=parent, cache=cache, reason=reason)
        )  # fmt: skip
        started_s, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "cached" if cache == "hit" else "ran"
        finally:
            duration_s = time.monotonic() - started_s
            self._release()
            self.step = outer
            self._sink(
                StepFinished(build=self.build, step=step, label=label,
                             duration_s=duration_s, outcome=outcome,
                             key=key, parent=parent, cache=cache, reason=reason)
            )  # fmt: skip
