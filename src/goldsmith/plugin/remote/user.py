"""The user of a build, as a component in a plugin reaches him: by the build's events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter

_TELL_EVERY_S: Final = 0.1

Ask = Callable[[str, tuple[str, ...]], str | None]


@dataclass(frozen=True, slots=True)
class EventUi:
    """Tells everything through an emitter, which redacts it (see `protocols.Ui`)."""

    emitter: Emitter
    ask_user: Ask = lambda question, choices: None

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.emitter.say(text)

    def message(self, text: str) -> None:
        """Tell a detail."""
        self.emitter.message(text)

    def error(self, text: str) -> None:
        """Tell of a failure."""
        self.emitter.error(text)

    def ask(self, question: str) -> str:
        """The user's answer; raises GoldsmithError when nobody can answer."""
        answer = self.ask_user(question, ())
        if answer is None:
            raise GoldsmithError("no available tty: nobody can be asked")
        return answer

    def machine(self, category: str, args: Sequence[str]) -> None:
        """Goes to the log of the build: no reader of goldsmith's events knows its categories."""
        self.emitter.output(",".join([category, *args]), routine=True)

    @contextmanager
    def progress(self, name: str, *, current: int = 0, total: int = 0) -> Iterator[_Bar]:
        """Show a transfer as long as the block runs."""
        bar = _Bar(self.emitter, name, total, current)
        try:
            yield bar
        finally:
            bar.tell()


@dataclass(slots=True)
class _Bar:
    emitter: Emitter
    name: str
    total: int
    done: int
    _told_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        """So many bytes more; told a few times a second."""
        with self._lock:
            self.done += max(0, count)
            now_s = time.monotonic()
            due = now_s - self._told_s >= _TELL_EVERY_S
            if due:
                self._told_s = now_s
        if due:
            self.tell()

    def tell(self) -> None:
        """Tell how far it is."""
        self.emitter.progress(
            self.name, self.done, max(0, self.total), part=self.name, unit="bytes"
        )
