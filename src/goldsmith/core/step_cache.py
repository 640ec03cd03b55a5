"""Whether the result of a step is there already: its key, the rule that applies, and the reason.

`plan` and the build ask the same questions in the same order, so they give the same answers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from goldsmith import __version__
from goldsmith.core.caching import DEFAULT_POLICY, DEFAULT_TTL_S, CachePolicy
from goldsmith.core.step import KeyedStep
from goldsmith.layers.explain import explain, explain_age
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.layers.records import MadeStep, Record
from goldsmith.layers.store import Store
from goldsmith.packages.release_files import ReleaseState
from goldsmith.redact import Redactor
from goldsmith.units import format_age

UNKNOWN_PARENT: Final = "?"
"""Stands for the id of a layer that is not known and need not be."""

NO_CACHE: Final = "-no-cache"
"""Why a step runs whatever is kept."""

BY_INPUTS: Final = "none"
BY_RELEASES: Final = "releases"
BY_RELEASES_AND_AGE: Final = "releases and age"

# How far clocks are set by those who keep the time.
_CLOCK_STEP_S: Final = 3600.0

_PLAIN: Final = frozenset({"type", "packages", "release", "network", "trees", "goldsmith"})


@dataclass(frozen=True, slots=True)
class Question:
    """What the result of a step is looked up by; without a key it is not looked up at all."""

    step: KeyedStep
    key: StepKey | None
    """The inputs, almost all as keyed hashes: they may hold secrets, and lie on the disk."""
    recipe: str
    """Names this step on these steps below it, before any layer's content is known."""
    reason: str = ""
    """Why there is no key."""
    rule: str = BY_INPUTS
    ttl_s: float = DEFAULT_TTL_S
    inputs: Mapping[str, str] | None = None
    """The inputs as they are; for this run alone."""
    unchecked: tuple[str, ...] = ()
    """The Release files that count as unchanged only because nothing is asked of the network."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a record may be used; `reason` is its rule, or why the step runs."""

    record: Record | None
    reason: str
    too_old: Record | None = None
    """A record under the same key that the new result takes the place of."""

    @property
    def hit(self) -> bool:
        """Whether the step need not run."""
        return self.record is not None


@dataclass(slots=True)
class StepCache:
    """A store with what this command wants of it, and the Release files as they are now."""

    store: Store
    policy: CachePolicy = DEFAULT_POLICY
    releases: Mapping[str, ReleaseState] = field(default_factory=dict)
    method: str = "overlay"
    """How trees stand on each other here: a layer of the one is none of the other."""
    redactor: Redactor = field(default_factory=Redactor)
    build: str = ""
    """The build whose steps these are."""
    private: str = ""
    """What steps with network can read that stands nowhere in the tree: passwords for APT."""
    look_again: Callable[[], Mapping[str, ReleaseState]] | None = None
    """Reads the Release files once more."""
    now: Callable[[], float] = time.time
    _records: list[Record] | None = None

    def question(self, step: KeyedStep, environment: Mapping[str, str], below: str) -> Question:
        """The question of a step of a build with this environment, on the recipe below it."""
        unheard = [name for name, state in self.releases.items() if state.digest is None]
        if step.reads_only:
            return Question(step, None, below, "it takes out of the tree and changes nothing in it")
        if not step.caching.reuse:
            return _unkeyed(step, below, "cache = false")
        own = step.key()
        if own is None and step.caching.key is None:
            return _unkeyed(step, below, "nothing says beforehand what it does")
        if step.network and unheard:
            told = f"the Release file of {_listed(unheard)} cannot be fetched"
            return _unkeyed(step, below, f"{told} (-offline takes it as unchanged)")
        inputs = dict(own.inputs) if own is not None else {"type": step.name}
        for name, value in given_environment(step, environment).items():
            own_value = inputs.get(f"env:{name}")
            # A step's own variable is for its scripts alone: what runs them sees the other one.
            inputs[f"env:{name}"] = value if own_value is None else canonical([value, own_value])
        inputs |= {
            "trees": self.method, "network": str(step.network), "goldsmith": __version__,
        }  # fmt: skip
        if step.caching.key is not None:
            inputs["config:cache_key"] = step.caching.key
        if step.network:
            inputs |= {name: state.digest or "" for name, state in self.releases.items()}
            inputs |= {"secret:apt": self.private} if self.private else {}
        keyed = StepKey(
            {self._shown_name(name): self._shown(name, value) for name, value in inputs.items()}
        )
        ttl_s = DEFAULT_TTL_S if step.caching.ttl_s is None else step.caching.ttl_s
        unchecked = [name for name, state in self.releases.items() if not state.fetched]
        return Question(
            step, keyed, StepKey({"below": below, "own": keyed.digest}).digest, inputs=inputs,
            rule=_rule(step), ttl_s=ttl_s, unchecked=tuple(unchecked) if step.network else (),
        )  # fmt: skip

    def _shown_name(self, name: str) -> str:
        """The name of an input as it may lie on the disk: a secret may stand in a path."""
        told = self.redactor.redact(name)
        return name if told == name else f"{told} {self._hashed(name)}"

    def _shown(self, name: str, value: str) -> str:
        """An input as it may lie on the disk: only what cannot hold a secret in plain."""
        if name.partition(":")[0] in _PLAIN and self.redactor.redact(value) == value:
            return value
        return self._hashed(value)

    def _hashed(self, text: str) -> str:
        return self.store.keyed(text.encode("utf-8", "surrogatepass"))

    def answer(self, question: Question, parent: str | None) -> Answer:
        """Look a result up; `parent` is the id of the layer below, "" for none, None if unknown."""
        if question.key is None:
            return Answer(None, question.reason)
        if parent is None:
            return Answer(None, "a step before it is made anew each time")
        record = self.store.find(question.key.on(parent))
        if not self.policy.use:
            return Answer(None, NO_CACHE, record)
        if {question.step.name, *question.step.parts} & {*self.policy.refresh}:
            return Answer(None, "-refresh", record)
        if record is None:
            return Answer(None, self._why(question, question.key, parent))
        age_s = self.now() - record.made_s
        if question.rule == BY_RELEASES_AND_AGE and not self.policy.any_age:
            expired = self.why_expired(record.made_s, question.ttl_s)
            if expired:
                return Answer(None, expired, record)
        return Answer(record, self._rule_told(question, max(age_s, 0.0)))

    def why_expired(self, made_s: float, ttl_s: float) -> str:
        """Why what was made at a time is too old to be used; "" when it is not."""
        age_s = self.now() - made_s
        if age_s >= ttl_s:
            return explain_age(age_s, ttl_s)
        if age_s < -_CLOCK_STEP_S:
            return "its age is not known: by the clock it was never made"
        return ""

    def _why(self, question: Question, key: StepKey, parent: str) -> str:
        chance = question.step.chance
        if chance:
            return f"it uses {', '.join(chance)}, which differs in every run"
        if self._records is None:
            self._records = self.store.records()
        step = question.step
        return explain(
            key, parent, self._records, step=step.name, label=self._label(step),
            build=self.build, now_s=self.now(),
        )  # fmt: skip

    def look_at_records_again(self) -> None:
        """Explain what follows by what is kept now, too, not by what was when first asked."""
        self._records = None

    def _label(self, step: KeyedStep) -> str:
        """A label as it may lie on the disk: it may quote a script."""
        return self.redactor.redact(step.label)

    def releases_changed(self) -> bool:
        """Whether a Release file is not what it was when this command began.

        Of a repository that does not answer now nothing is known: it counts as unchanged.
        """
        if self.look_again is None or self.policy.offline:
            return False
        now = {name: state.digest for name, state in self.look_again().items()}
        return any(now.get(name) not in (None, state.digest)
                   for name, state in self.releases.items())  # fmt: skip

    def made(self, question: Question, parent: str, kind: str, duration_s: float) -> MadeStep:
        """What the store is told of a step that has run."""
        assert question.key is not None, "a result without a key is not kept"
        read_s = [state.since_s for state in self.releases.values() if state.since_s is not None]
        return MadeStep(
            key=question.key, build=self.build, parent=parent, kind=kind, step=question.step.name,
            label=self._label(question.step), duration_s=duration_s, network=question.rule,
            releases_s=max(read_s, default=None) if question.step.network else None,
        )  # fmt: skip

    def _rule_told(self, question: Question, age_s: float) -> str:
        if question.rule == BY_INPUTS:
            return "inputs unchanged"
        told = "inputs and Release files unchanged" if self.releases else "inputs unchanged"
        if question.rule == BY_RELEASES_AND_AGE:
            told += f", made {format_age(age_s)} ago (cache_ttl {format_age(question.ttl_s)})"
        if question.unchecked:
            told += f"; {_listed(question.unchecked)} not looked at: -offline"
        return told


def given_environment(step: KeyedStep, environment: Mapping[str, str]) -> dict[str, str]:
    """What of a build's environment a step is given: what is not in its key is not in here."""
    return {
        name: value
        for name, value in environment.items()
        if step.network or name == "SOURCE_DATE_EPOCH"
    }


def _rule(step: KeyedStep) -> str:
    if not step.network:
        return BY_INPUTS
    return BY_RELEASES if step.declared else BY_RELEASES_AND_AGE


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name.removeprefix("release:") for name in names)


def _unkeyed(step: KeyedStep, below: str, reason: str) -> Question:
    chance = secrets.token_hex(16)
    return Question(step, None, StepKey({"below": below, "chance": chance}).digest, reason)
