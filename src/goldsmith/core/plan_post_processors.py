"""What the post-processors of a planned build would do."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from goldsmith.core.artifact import Artifact
from goldsmith.core.plan import BuildPlan, PlannedStep
from goldsmith.core.post_processor import PostProcessContext
from goldsmith.core.post_results import PostResults, post_processed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.events import Emitter
from goldsmith.redact import Redactor


def with_post_processors(
    plan: BuildPlan,
    prepared: PreparedBuild,
    results: PostResults,
    directory: Path,
    redactor: Redactor,
) -> BuildPlan:
    """The plan with the steps of every chain."""
    build = prepared.build
    name = f"{build.source_type}.{build.source_name}"
    context = PostProcessContext(
        emitter=Emitter(build.name, lambda event: None, redactor), build_name=build.source_name,
        builder_type=build.source_type, scratch=directory, directory=directory,
        scratch_file=contextlib.nullcontext,
    )  # fmt: skip
    steps = list(plan.steps)
    for chain in prepared.chains:
        artifact = plan.finished
        for call in chain:
            if call.component.applies_to(name):
                step, artifact = _planned(call, artifact, results, context)
                steps.append(step)
    return replace(plan, steps=tuple(steps))


def _planned(
    call: PostProcessorCall,
    artifact: Artifact | None,
    results: PostResults,
    context: PostProcessContext,
) -> tuple[PlannedStep, Artifact | None]:
    label = f"post-processor {call.component.type}"
    step = PlannedStep(
        name=call.component.type, label=label, state="miss",
        reason="its artifact is made anew",
        predicted_s=results.results.latest_s(f"{call.component.type} of {context.emitter.build}"),
    )  # fmt: skip
    made = call.post_processor
    if artifact is None or made is None:
        return step, None
    key = results.key(made, artifact, context)
    if key is None:
        return replace(step, state="always", reason="it runs each time"), artifact
    found = results.find(key)
    if found is None:
        return replace(step, reason="it never ran on this artifact with these options, or what it "
                       "made was changed", key=key), None  # fmt: skip
    return (
        replace(step, state="hit", reason="its artifact is unchanged", key=key, predicted_s=0.0),
        post_processed(found.value, artifact).artifact,
    )
