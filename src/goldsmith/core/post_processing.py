"""Runs the post-processor chains of a finished build, with Packer's rules of what is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
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
    force: bool = False
    run_uuid: str = ""

    def process(self, artifact: Artifact) -> tuple[list[Artifact], list[GoldsmithError]]:
        """Run every chain; returns the artifacts that remain and the errors.

        A post-processor that fails ends its chain; the others go on. The builder's artifact is
        destroyed when there were chains and no first post-processor of one kept it; an image that
        a post-processor failed on stays. Of a foreign artifact everything is listed as Packer does,
        what two chains hand on twice.
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
                if last is not artifact or not artifact.native:
                    results.append(last)
            except Interrupted:
                raise
            except GoldsmithError as e:
                keep_original = keep_original or artifact.native
                errors.append(e)
        if not keep_original:
            _destroy_all_but(artifact, results)
        elif not (artifact.native and _held_by_one_of(results, artifact)):
            results.insert(0, artifact)
        return results, errors

    def _chain(
        self, calls: Sequence[PostProcessorCall], artifact: Artifact, results: list[Artifact]
    ) -> tuple[bool, Artifact]:
        kept_first, current = False, artifact
        for number, call in enumerate(calls):
            processed = self._call(call, current, artifact.run_values)
            keep = processed.keep
            wish = call.component.keep_input_artifact
            if wish is not None and not (processed.force_keep and not wish):
                keep = wish
            if number == 0:
                kept_first = keep
            elif keep:
                if not (artifact.native and _held_by_one_of([processed.artifact], current)):
                    results.append(current)
            else:
                # It may have taken over files of earlier ones, which have rules of their own.
                _destroy_all_but(current, [processed.artifact, artifact, *results])
            current = processed.artifact
        return kept_first, current

    def _call(
        self, call: PostProcessorCall, artifact: Artifact, run_values: Mapping[str, str] | None
    ) -> PostProcessed:
        build = self.prepared.build
        emitter = Emitter(f"{build.name} ({call.component.type})", self.sink, self.redactor)
        scratch = self.run.path / f"post-{os.urandom(4).hex()}"
        scratch.mkdir(mode=0o700)
        context = PostProcessContext(
            emitter=emitter, build_name=build.source_name, builder_type=build.source_type,
            scratch=scratch, directory=self.directory, scratch_file=self.run.scratch_file,
            run_uuid=self.run_uuid, force=self.force,
        )  # fmt: skip
        # Packer's line: an unnamed one has two blanks before its type.
        label = f"Running post-processor: {call.component.name} (type {call.component.type})"
        announcer = Emitter(build.name, self.sink, self.redactor)
        with announcer.running(call.component.type, label, takes_long=artifact.native):
            emitter.step = announcer.step
            try:
                return call.made(run_values, artifact.expected).post_process(artifact, context)
            except OSError as e:
                raise explain_os_error(e) from e


def _held_by_one_of(others: Sequence[Artifact], artifact: Artifact) -> bool:
    """Whether all files of an artifact are also those of another one."""
    return any(set(artifact.files) <= set(other.files) for other in others)


def _destroy_all_but(artifact: Artifact, others: Sequence[Artifact]) -> None:
    """Remove an artifact's files, except those that another one still has."""
    kept = {name for other in others for name in other.files}
    for name in artifact.files:
        if name not in kept:
            Path(name).unlink(missing_ok=True)
