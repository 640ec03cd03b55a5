"""Runs the post-processor chains of a finished build, with Packer's rules of what is kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.events import Emitter, EventSink
from goldsmith.host.journal import RunDirectory
from goldsmith.redact import Redactor


@dataclass(slots=True)
class PostProcessing:
    """The chains of one build; each starts from the builder's artifact."""

    prepared: PreparedBuild
    run: RunDirectory
    directory: Path
    sink: EventSink
    redactor: Redactor

    def process(self, artifact: Artifact) -> tuple[list[Artifact], list[GoldsmithError]]:
        """Run every chain; returns the artifacts that remain and the errors.

        A post-processor that fails ends its chain; the others go on. The builder's artifact is
        destroyed when there were chains and no first post-processor of one kept it.
        """
        results: list[Artifact] = []
        errors: list[GoldsmithError] = []
        keep_original = not any(self.prepared.chains)
        name = f"{self.prepared.build.source_type}.{self.prepared.build.source_name}"
        for chain in self.prepared.chains:
            calls = [call for call in chain if call.component.applies_to(name)]
            if not calls:
                keep_original = True
                continue
            try:
                kept_first, last = self._chain(calls, artifact, results)
                keep_original = keep_original or kept_first
                if last is not artifact:
                    results.append(last)
            except Interrupted:
                raise
            except GoldsmithError as e:
                keep_original = True
                errors.append(e)
        if keep_original and not any(set(artifact.files) <= set(r.files) for r in results):
            results.insert(0, artifact)
        elif not keep_original:
            _destroy_all_but(artifact, results)
        return results, errors

    def _chain(
        self, calls: Sequence[PostProcessorCall], artifact: Artifact, results: list[Artifact]
    ) -> tuple[bool, Artifact]:
        kept_first, current = False, artifact
        for number, call in enumerate(calls):
            processed = self._call(call, current)
            keep = processed.keep
            wish = call.component.keep_input_artifact
            if wish is not None and not (processed.force_keep and not wish):
                keep = wish
            if number == 0:
                kept_first = keep
            elif keep and not set(current.files) <= set(processed.artifact.files):
                results.append(current)
            elif not keep:
                # It may have taken over files of earlier ones, which have rules of their own.
                _destroy_all_but(current, [processed.artifact, artifact, *results])
            current = processed.artifact
        return kept_first, current

    def _call(self, call: PostProcessorCall, artifact: Artifact) -> PostProcessed:
        build = self.prepared.build
        shown = call.component.name or call.component.type
        emitter = Emitter(f"{build.name} ({call.component.type})", self.sink, self.redactor)
        scratch = self.run.path / f"post-{os.urandom(4).hex()}"
        scratch.mkdir(mode=0o700)
        context = PostProcessContext(
            emitter=emitter, build_name=build.source_name, builder_type=build.source_type,
            scratch=scratch, directory=self.directory, scratch_file=self.run.scratch_file,
        )  # fmt: skip
        label = f"Running post-processor: {shown} (type {call.component.type})"
        with emitter.running(call.component.type, label, takes_long=True):
            return call.post_processor.post_process(artifact, context)


def _destroy_all_but(artifact: Artifact, others: Sequence[Artifact]) -> None:
    """Remove an artifact's files, except those that another one still has."""
    kept = {name for other in others for name in other.files}
    for name in artifact.files:
        if name not in kept:
            Path(name).unlink(missing_ok=True)
