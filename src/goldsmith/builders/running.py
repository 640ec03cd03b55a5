"""Runs a step of a build that is none of a tree: its scratch directory, and its errors."""

from __future__ import annotations

from typing import TypeVar

from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step, StepContext
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.host.signals import check_interrupted

R = TypeVar("R")


def run_untold(context: BuildContext, step: Step[R]) -> R:
    """Run one that tells only what it says itself; raises StepFailed, or Interrupted."""
    check_interrupted()
    scratch = context.work / "scratch"
    scratch.mkdir(exist_ok=True, mode=0o700)
    try:
        return step.run(
            StepContext(emitter=context.emitter, scratch=scratch, epoch_s=context.epoch_s)
        )
    except Interrupted:
        raise
    except GoldsmithError as e:
        raise StepFailed(step.label, e) from e
    except OSError as e:
        raise StepFailed(step.label, explain_os_error(e)) from e
