"""The layers of one build: which trees they are, and their way into the store while it goes on.

A layer's id is the digest of its content. It is made, with everything that publishing takes, on a
thread beside the steps that follow: only a step whose result may be there has to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from goldsmith.core.step_cache import Answer, Question
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.layers.flatten import MOST_LOWERS, flatten
from goldsmith.layers.method import LayerMethod
from goldsmith.layers.publish import Draft
from goldsmith.layers.records import MadeStep, Record
from goldsmith.layers.store import LayerUnusable, Store

_MOST_AT_ONCE: Final = 3 * MOST_LOWERS
"""So many layers fit one page of mount options, whatever their directory is called."""


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """A layer of the tree; `made` has its id, None for one that nobody can find again."""

    tree: Path
    made: Future[str | None]

    @property
    def known_id(self) -> str | None:
        """Its id, None also while that is being made."""
        return self.made.result() if self.made.done() else None


@dataclass(slots=True)
class LayerStack:
    """The layers so far, bottom first; a context manager.

    Leaving the block waits until all are published, and lets go of them.
    """

    store: Store
    method: LayerMethod
    directory: Path
    """A directory of the run, on the store's file system."""
    recipe: str = ""
    """Names the steps so far by their inputs alone."""
    _layers: list[BuiltLayer] = field(default_factory=list)
    _warnings: list[str] = field(default_factory=list)
    _scope: ExitStack = field(default_factory=ExitStack)
    _publisher: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._publisher is not None:
                self._publisher.shutdown(wait=True)
        finally:
            self._scope.close()

    @property
    def top_id(self) -> str | None:
        """The id of the topmost layer, "" where there is none; waits until it is known.

        None where nobody can find that layer again.
        """
        return self._layers[-1].made.result() if self._layers else ""

    @property
    def known_top_id(self) -> str | None:
        """The id of the topmost layer if it is known by now."""
        return self._layers[-1].known_id if self._layers else ""

    def take_warnings(self) -> list[str]:
        """Why results were not kept, since this was asked last."""
        taken, self._warnings = self._warnings, []
        return taken

    def new_draft(self) -> Draft:
        """A new layer, removed at the end unless it is published by then."""
        return self._scope.enter_context(self.store.draft())

    def push_kept(self, record: Record, recipe: str, *, verify: bool) -> None:
        """Put a layer of the store on top; raises LayerUnusable."""
        tree = self._scope.enter_context(self.store.pin(record, verify=verify))
        self._push(BuiltLayer(tree, _done(record.id)), recipe)

    def push_passing(self, draft: Draft, recipe: str) -> None:
        """Put a layer on top that is not kept: nothing that stands on it is found again."""
        self._push(BuiltLayer(draft.tree, _done(None)), recipe)

    def push_made(
        self,
        draft: Draft,
        question: Question,
        answer: Answer,
        describe: Callable[[str], MadeStep],
        held: ExitStack,
    ) -> None:
        """Put a new layer on top and begin to publish it; `held` is left when that is done.

        `describe` is given the id of the layer below.
        """
        parent = self._layers[-1] if self._layers else None

        def publish() -> str | None:
            with held:
                below = "" if parent is None else parent.made.result()
                if below is None:
                    return None
                made = describe(below)
                try:
                    record = draft.publish(made, instead_of=answer.too_old)
                except (GoldsmithError, OSError) as e:
                    told = explain_os_error(e) if isinstance(e, OSError) else e
                    self._warnings.append(f"the result of {made.label!r} is not kept: {told}")
                    return None
                # If another build was quicker, with another result from the same inputs, then
                # what stands on our tree must not be found by whoever stands on the other.
                return record.id if record.id == made.id_of(draft.content) else None

        if self._publisher is None:
            self._publisher = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._push(BuiltLayer(draft.tree, self._publisher.submit(publish)), question.recipe)

    def _push(self, layer: BuiltLayer, recipe: str) -> None:
        self._layers = [layer] if self.method.whole else [*self._layers, layer]
        self.recipe = recipe

    def lowers(self) -> list[Path]:
        """The trees to stand on, the topmost first: no more than an overlay takes well."""
        if len(self._layers) > MOST_LOWERS:
            self._flatten()
        return [layer.tree for layer in reversed(self._layers)]

    def _flatten(self) -> None:
        """Replace layers by whole trees that stand for them, and for all below them.

        Many kept layers in a row were never mounted together: more than an overlay can hold at all.
        """
        for number in range(len(self._layers) - 1, 0, -1):
            layer_id = self._layers[number].known_id
            record = self.store.flattened(layer_id) if layer_id else None
            if record is not None:
                try:
                    tree = self._scope.enter_context(self.store.pin(record))
                except LayerUnusable:
                    continue
                flat = BuiltLayer(tree, self._layers[number].made)
                self._layers = [flat, *self._layers[number + 1 :]]
                break
        while len(self._layers) > MOST_LOWERS:
            self._flatten_lowest(_MOST_AT_ONCE)

    def _flatten_lowest(self, count: int) -> None:
        lowest, draft = self._layers[:count], self.new_draft()
        flatten(
            [layer.tree for layer in reversed(lowest)], draft,
            merged=self.directory / "tree", scratch=self.directory / "flattening",
        )  # fmt: skip
        stack_id = lowest[-1].made.result()
        if stack_id is not None:
            draft.publish_flat(stack_id)
        flat = BuiltLayer(draft.tree, lowest[-1].made)
        self._layers = [flat, *self._layers[count:]]


def _done(value: str | None) -> Future[str | None]:
    future: Future[str | None] = Future()
    future.set_result(value)
    return future
