"""What a build would do, and why: the answer of `plan`, and of a build that has nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from goldsmith.core.artifact import Artifact
from goldsmith.core.caching import CachePolicy
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.redact import Redactor

StepState = Literal["hit", "miss", "always"]
"""Whether the result of a step is there, has to be made, or is never kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step: `reason` says why it runs, or by which rule its earlier result is used."""

    name: str
    label: str
    state: StepState
    reason: str = ""
    key: str | None = None
    predicted_s: float | None = None
    """How long it will take, by what it took on this host; None where it never ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """All steps of a build in order, and what it needs of the host."""

    build: str
    steps: tuple[PlannedStep, ...] = ()
    writes: tuple[str, ...] = ()
    """The files that it will write."""
    download_bytes: int | None = None
    """What will be fetched; None where that is not known."""
    disk_needed_bytes: int | None = None
    disk_free_bytes: int | None = None
    notes: tuple[str, ...] = ()
    finished: Artifact | None = field(default=None, compare=False)
    """The artifact, where it stands already and nothing has to run for it."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether every result stands."""
        return all(step.state == "hit" for step in self.steps)

    @property
    def predicted_s(self) -> float | None:
        """The time of all steps that run; None when one of them is not known."""
        times = [step.predicted_s for step in self.steps if step.state != "hit"]
        known = [seconds for seconds in times if seconds is not None]
        return sum(known) if len(known) == len(times) else None

    def to_json(self) -> dict[str, Any]:
        """The form that `plan --json` prints."""
        fields = asdict(self)
        del fields["finished"]
        return {**fields, "nothing_to_do": self.nothing_to_do, "predicted_s": self.predicted_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What a builder is given to plan with; it changes nothing on the host but the cache's own."""

    name: str
    source_name: str
    directory: Path
    """The directory to which relative paths of the template refer."""
    provisioners: Callable[[Mapping[str, str]], Sequence[ProvisionerCall]]
    environment: Mapping[str, str]
    policy: CachePolicy
    redactor: Redactor
    state: Path
    """Where runs and caches lie."""
    estimate: bool = False
    """Whether what will be downloaded is wanted, which takes reading the indexes."""


def plan_of_uncached(context: PlanContext, label: str, writes: Sequence[Path] = ()) -> BuildPlan:
    """The plan of a source whose work is never kept: every step runs each time."""
    reason = "this source keeps no results"
    steps = [PlannedStep(name="build", label=label, state="always", reason=reason)]
    for number, call in enumerate(context.provisioners({}), 1):
        steps.append(PlannedStep(name=f"provisioner-{number}", label=call.provisioner.label,
                                 state="always", reason=reason))  # fmt: skip
    return BuildPlan(build=context.name, steps=tuple(steps),
                     writes=tuple(str(path) for path in writes))  # fmt: skip
