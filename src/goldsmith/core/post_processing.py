"""Runs the post-processor chains of a finished build, with Packer's rules of what is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext, PostProcessed, PostProcessor
from goldsmith.core.post_results import PostResults, post_processed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.core.results import NOT_RECORDED, Result
from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
from goldsmith.events import CacheUse, Emitter, EventSink
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
    results: PostResults | None = None
    """Earlier results; None where none are used nor kept."""

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
        run_values = artifact.run_values or {"PackerRunUUID": self.run_uuid}
        name = f"{self.prepared.build.source_type}.{self.prepared.build.source_name}"
        for chain in self.prepared.chains:
            calls = [call for call in chain if call.component.applies_to(name)]
            if not calls:
                keep_original = True
                continue
            try:
                kept_first, last = self._chain(calls, artifact, run_values, results)
                keep_original = keep_original or kept_first
                if last is not artifact or not artifact.native:
                    results.append(last)
            except Interrupted:
                raise
            except GoldsmithError as e:
                keep_original = keep_original or artifact.native
                errors.append(e)
        if not keep_original:
            try:
                _destroy_all_but(artifact, results)
            except GoldsmithError as e:
                errors.append(e)
        elif not (artifact.native and _held_by_one_of(results, artifact)):
            results.insert(0, artifact)
        return results, errors

    def _chain(
        self,
        calls: Sequence[PostProcessorCall],
        artifact: Artifact,
        run_values: Mapping[str, str],
        results: list[Artifact],
    ) -> tuple[bool, Artifact]:
        kept_first, current = False, artifact
        for number, call in enumerate(calls):
            processed = self._call(call, current, run_values)
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
        self, call: PostProcessorCall, artifact: Artifact, run_values: Mapping[str, str]
    ) -> PostProcessed:
        build = self.prepared.build
        emitter = Emitter(f"{build.name} ({call.component.type})", self.sink, self.redactor)
        scratch = self.run.path / f"post-{os.urandom(4).hex()}"
        scratch.mkdir(mode=0o700)
        context = PostProcessContext(
            emitter=emitter, build_name=build.source_name, builder_type=build.source_type,
            scratch=scratch, directory=self.directory, scratch_file=self.run.scratch_file,
            run_uuid=self.run_uuid, force=self.force, run=self.run,
        )  # fmt: skip
        label = f"Running post-processor: {call.component.announced}"
        announcer = Emitter(build.name, self.sink, self.redactor)
        made, key, found = self._known(call, artifact, run_values, context)
        cache: CacheUse | None = None if key is None else "miss" if found is None else "hit"
        with announcer.running(
            call.component.type, label, takes_long=artifact.native, key=key, cache=cache
        ):
            emitter.step = announcer.step
            if found is not None:
                return post_processed(found.value, artifact)
            started_s = time.monotonic()
            try:
                made = made or call.made(run_values, artifact.expected)
                processed = made.post_process(artifact, context)
            except OSError as e:
                raise explain_os_error(e) from e
            if self.results is not None:
                try:
                    self.results.keep(key, artifact, processed, context, started_s=started_s,
                                      step=f"{call.component.type} of {build.name}")  # fmt: skip
                except OSError as e:
                    # What was made is in place, whatever becomes of the record.
                    emitter.warn(f"{NOT_RECORDED}: {explain_os_error(e)}")
            return processed

    def _known(
        self,
        call: PostProcessorCall,
        artifact: Artifact,
        run_values: Mapping[str, str],
        context: PostProcessContext,
    ) -> tuple[PostProcessor | None, str | None, Result | None]:
        """The post-processor, the key of its result and the result itself, if it stands.

        One that is made only now fails within its own step, so it is not made here.
        """
        if self.results is None or call.post_processor is None:
            return call.post_processor, None, None
        made = call.post_processor
        key = self.results.key(made, artifact, context)
        return made, key, self.results.find(key)


def _held_by_one_of(others: Sequence[Artifact], artifact: Artifact) -> bool:
    """Whether all files of an artifact are also those of another one."""
    return any(set(artifact.files) <= set(other.files) for other in others)


def _destroy_all_but(artifact: Artifact, others: Sequence[Artifact]) -> None:
    """Remove an artifact, except for what another one still holds."""
    artifact.discard({name for other in others for name in other.held})
