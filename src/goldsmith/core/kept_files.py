"""Files that a step made and that a later one may take: a part of a step with a key of its own.

Such a part is kept where layers are, looked up as steps are (`StepCache`), under inputs that are
known only in the middle of its step. It stands on no layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.core.step import StepTraits
from goldsmith.core.step_cache import Answer, Question, StepCache
from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
from goldsmith.events import Emitter
from goldsmith.layers.keys import StepKey
from goldsmith.layers.records import PLAIN
from goldsmith.layers.store import LayerUnusable


@dataclass(frozen=True, slots=True)
class _Part(StepTraits):
    """A part of a step, as the cache asks about steps."""

    name: str
    label: str
    inputs: Mapping[str, str]
    network: bool = False
    enters: bool = True

    def key(self) -> StepKey | None:
        """Its inputs."""
        return StepKey(self.inputs)


@dataclass(slots=True)
class Kept:
    """What was found of a part: `files` is its directory, None where it must be made.

    `reason` says why it must be made.
    """

    files: Path | None
    reason: str
    _cache: StepCache
    _question: Question
    _answer: Answer
    _emitter: Emitter
    _started_s: float = field(default_factory=time.monotonic)

    def keep(self, fill: Callable[[Path], None]) -> None:
        """Keep what `fill` puts into an empty directory; a warning tells why it cannot be."""
        duration_s = time.monotonic() - self._started_s
        made = self._cache.made(self._question, "", PLAIN, duration_s)
        try:
            with self._cache.store.draft() as draft:
                draft.tree.mkdir(mode=0o700)
                fill(draft.tree)
                draft.publish(made, instead_of=self._answer.too_old)
            self._cache.look_at_records_again()
        except Interrupted:
            raise
        except (GoldsmithError, OSError) as e:
            told = explain_os_error(e) if isinstance(e, OSError) else e
            self._emitter.warn(f"the result of {made.label!r} is not kept: {told}")


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """The parts of one step that runs in a build with this environment."""

    cache: StepCache
    emitter: Emitter
    environment: Mapping[str, str]
    step: str
    """The step's name: where it is refreshed, its parts are made again, too."""

    @contextmanager
    def part(self, name: str, label: str, inputs: Mapping[str, str]) -> Iterator[Kept]:
        """Look a part up by its inputs (as in `layers.keys`); what was found stays for the block.

        Of several builds that need the same one only one is told to make it.
        """
        question = self.cache.question(_Part(name, label, inputs), self.environment, "")
        assert question.key is not None, "a part has inputs"
        with ExitStack() as held:
            found = self._pinned(question, held)
            if found.files is None:
                held.enter_context(self.cache.store.making(question.key.on("")))
                # Another build may have made it while we waited.
                found = self._pinned(question, held)
            yield found

    def _pinned(self, question: Question, held: ExitStack) -> Kept:
        while True:
            answer = self._answer(question)
            files = None
            if answer.record is not None:
                try:
                    pin = self.cache.store.pin(answer.record, verify=self.cache.policy.verify)
                    files = held.enter_context(pin)
                except LayerUnusable as e:
                    self.emitter.warn(str(e))
                    continue
            return Kept(files, answer.reason, self.cache, question, answer, self.emitter)

    def _answer(self, question: Question) -> Answer:
        answer = self.cache.answer(question, "")
        if answer.record is not None and self.step in self.cache.policy.refresh:
            return Answer(None, "-refresh", answer.record)
        return answer
