"""Post-processors of goldsmith's own artifacts: a result that stands is not made again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext, PostProcessed, PostProcessor
from goldsmith.core.results import Result, Results
from goldsmith.layers.keys import canonical

REUSED = "reused"
"""The key of an artifact's state that says that nothing of it was made in this run."""


@dataclass(frozen=True, slots=True)
class PostResults:
    """Finds and keeps what post-processors made."""

    results: Results
    use: bool = True
    """Whether earlier results are used; new ones are kept in any case."""

    def key(
        self, made: PostProcessor, artifact: Artifact, context: PostProcessContext
    ) -> str | None:
        """The key of what it would make of this artifact, None when it has to run."""
        if not artifact.native:
            return None
        own = made.key(artifact, context)
        if own is None:
            return None
        try:
            files = {f"artifact:{name}": self.results.digests.of(context.directory / name)
                     for name in artifact.files}  # fmt: skip
        except OSError:
            return None
        state = {name: value for name, value in artifact.state.items() if name != REUSED}
        return self.results.key({
            **own.inputs, **files, "artifact": canonical([artifact.id, state]),
            "directory": str(context.directory),
        })  # fmt: skip

    def find(self, key: str | None) -> Result | None:
        """An earlier result that stands."""
        return self.results.find(key) if key is not None and self.use else None

    def keep(
        self,
        key: str | None,
        artifact: Artifact,
        made: PostProcessed,
        context: PostProcessContext,
        *,
        started_s: float,
        step: str,
    ) -> None:
        """Write down a result; `started_s` is of the monotonic clock."""
        if key is None:
            return
        wire = made.artifact.to_wire()
        wire["state"].pop(REUSED, None)
        fresh = [context.directory / n for n in made.artifact.files if n not in artifact.files]
        value = {"artifact": wire, "keep": made.keep, "force_keep": made.force_keep}
        duration_s = time.monotonic() - started_s
        self.results.keep(key, value, fresh, duration_s=duration_s, step=step)


def open_post_results(state: Path, *, use: bool) -> PostResults:
    """The results that are kept in a user's state; the store's secret is made when it is needed."""

    def keyed(data: bytes) -> str:
        from goldsmith.layers.store import Store

        return Store.open(state / "store").keyed(data)

    return PostResults(Results(state / "results", keyed), use)


def post_processed(value: Mapping[str, Any], artifact: Artifact) -> PostProcessed:
    """What a post-processor handed on when it made this; `artifact` is what it was given now."""
    made = Artifact.from_wire(value["artifact"])
    if artifact.state.get(REUSED):
        made = replace(made, state={**made.state, REUSED: True})
    return PostProcessed(made, bool(value["keep"]), bool(value["force_keep"]))
