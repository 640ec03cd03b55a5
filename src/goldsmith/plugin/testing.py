"""For the tests of plugins: a user and hooks that remember what was done with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from goldsmith.errors import GoldsmithError
from goldsmith.plugin import protocols
from goldsmith.plugin.authoring.host_side import Hooks, Ui


@dataclass(slots=True)
class RecordingUi:
    """A user who remembers everything, and gives the answers that he was told to give."""

    said: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    records: list[tuple[str, ...]] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    """How many bytes each progress bar has seen."""

    @property
    def ui(self) -> Ui:
        """What a component is given."""
        return Ui(self)

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)

    def message(self, text: str) -> None:
        """Remember."""
        self.messages.append(text)

    def error(self, text: str) -> None:
        """Remember."""
        self.errors.append(text)

    def ask(self, question: str) -> str:
        """The next answer; raises GoldsmithError when there is none left."""
        if not self.answers:
            raise GoldsmithError(f"nobody answers {question!r}")
        return self.answers.pop(0)

    def machine(self, category: str, args: Sequence[str]) -> None:
        """Remember."""
        self.records.append((category, *args))

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[_Bar]:
        """Count."""
        self.moved[name] = current
        yield _Bar(self.moved, name)


@dataclass(slots=True)
class _Bar:
    moved: dict[str, int]
    name: str

    def add(self, count: int) -> None:
        """Count."""
        self.moved[self.name] += count


@dataclass(slots=True)
class RecordingHooks:
    """Hooks that remember each event with its data, and raise an error if they are given one."""

    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    error: GoldsmithError | None = None
    communicators: list[protocols.Communicator] = field(default_factory=list)

    def hooks(self, ui: RecordingUi | None = None, on_error: str = "") -> Hooks:
        """What a builder is given; `on_error` is what the user said of errors."""
        return Hooks(self, (ui or RecordingUi()).ui, on_error)

    def run(
        self,
        name: str,
        ui: protocols.Ui,
        communicator: protocols.Communicator,
        data: Mapping[str, Any] | None,
    ) -> None:
        """Remember."""
        self.events.append((name, dict(data or {})))
        self.communicators.append(communicator)
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """Nothing waits."""
