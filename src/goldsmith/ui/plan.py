"""Shows what builds would do."""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.core.plan import BuildPlan, PlannedStep
from goldsmith.units import format_duration, format_size

_MARKS = {"hit": "kept", "miss": "runs", "always": "runs"}


def render_plans(plans: Sequence[BuildPlan]) -> str:
    """All plans as text for people."""
    return "\n\n".join(_render(plan) for plan in plans)


def _render(plan: BuildPlan) -> str:
    lines = [f"{plan.build}:"]
    width = max((len(step.name) for step in plan.steps), default=0)
    for step in plan.steps:
        lines.append(f"  {_MARKS[step.state]}  {step.name:<{width}}  {step.label}")
        lines.append(f"        {'':<{width}}  {_why(step)}")
    lines += [f"  note: {note}" for note in plan.notes]
    lines.append("  " + _summary(plan))
    lines += [f"  writes {path}" for path in plan.writes]
    if plan.disk_needed_bytes is not None and plan.disk_free_bytes is not None:
        needed, free = format_size(plan.disk_needed_bytes), format_size(plan.disk_free_bytes)
        short = " - not enough" if plan.disk_needed_bytes > plan.disk_free_bytes else ""
        lines.append(f"  takes about {needed} of {free} free{short}")
    elif plan.disk_free_bytes is not None:
        lines.append(f"  {format_size(plan.disk_free_bytes)} are free; what it takes is not known")
    return "\n".join(lines)


def _why(step: PlannedStep) -> str:
    if step.state == "hit":
        return step.reason
    took = "" if step.predicted_s is None else f" (took {format_duration(step.predicted_s)})"
    return f"{step.reason}{took}"


def _summary(plan: BuildPlan) -> str:
    if plan.nothing_to_do:
        return "Nothing is to do."
    count = sum(step.state != "hit" for step in plan.steps)
    told = f"{count} of {len(plan.steps)} steps run"
    if plan.predicted_s is not None:
        told += f", in about {format_duration(round(plan.predicted_s) or 1)}"
    if plan.download_bytes is not None:
        told += f", {format_size(plan.download_bytes)} to download"
    return told + "."
