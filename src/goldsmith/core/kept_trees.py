"""The trees that are kept of a build's steps, to be looked into: before, after, or as it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from goldsmith.core.options import did_you_mean
from goldsmith.core.plan import PlanContext
from goldsmith.errors import GoldsmithError
from goldsmith.layers.flatten import shortest_stack
from goldsmith.layers.records import PLAIN, Record
from goldsmith.layers.store import Store

Moment = Literal["at", "before", "after"]
"""When a tree is looked at; "at" is as a step failed, or else after it."""


@dataclass(frozen=True, slots=True)
class KeptTree:
    """One step: its result, or what it left when it failed last."""

    name: str
    label: str
    record: Record | None
    failed: Record | None


def _nothing(step: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class KeptTrees:
    """The steps of a tree in order."""

    store: Store
    steps: tuple[KeptTree, ...]
    inside: str = ""
    """Where the image's tree lies in what is kept, where that holds more."""
    around: Callable[[str], Mapping[str, Any] | None] = _nothing
    """What surrounds the programs of a step, as plain data, where a shell can make it again."""

    def records(self, name: str, moment: Moment) -> list[Record]:
        """The layers of the tree at a moment of a step, bottom first.

        Raises GoldsmithError for a step that there is not, and for one that nothing is kept of.
        """
        return self._records(self._number(name), moment)

    def _number(self, name: str) -> int:
        names = [step.name for step in self.steps]
        if name not in names:
            raise GoldsmithError(
                f"there is no step {name!r}.{did_you_mean(name, names)}",
                hint=f"the steps are {', '.join(names)}",
            )
        return names.index(name)

    def _records(self, number: int, moment: Moment) -> list[Record]:
        step = self.steps[number]
        chosen = list(self.steps[:number])
        records = [kept.record for kept in chosen]
        if moment == "at" and step.failed is not None:
            records.append(step.failed)
        elif moment != "before":
            records.append(step.record)
        if not records:
            raise GoldsmithError(f"before {step.name} there is no tree: it is the first step")
        known = [record for record in records if record is not None]
        if len(known) < len(records):
            absent = (*chosen, step)[records.index(None)]
            raise GoldsmithError(
                f"nothing is kept of {absent.name} ({absent.label}) as the template stands now",
                hint="build it first, or give the variables of the environment that it was built "
                "with; `goldsmith plan` says why a result does not count",
            )
        if known[-1].kind == PLAIN:
            return known[-1:]
        return known


@contextmanager
def opened(store: Store, records: Sequence[Record]) -> Iterator[list[Path]]:
    """The trees to mount for layers (bottom first), topmost first; they are in use meanwhile.

    Raises LayerUnusable. Trees of an ordinary user can only be read in a user namespace.
    """
    with ExitStack() as pins:
        for record in records:
            pins.enter_context(store.pin(record))
        yield pins.enter_context(shortest_stack(store, records))


@runtime_checkable
class KeepsTrees(Protocol):
    """A builder whose steps make a tree that is kept."""

    def kept_trees(self, context: PlanContext) -> KeptTrees:
        """What is kept of the steps; raises GoldsmithError."""
        ...
