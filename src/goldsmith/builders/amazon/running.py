"""Runs the steps of a build one after the other, under Packer's names."""

from __future__ import annotations

from typing import TypeVar

from goldsmith.builders.running import run_untold
from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step
from goldsmith.host.signals import check_interrupted

R = TypeVar("R")


def run_step(context: BuildContext, step: Step[R], *, told: bool = True) -> R:
    """Run one and return its result; raises StepFailed, or Interrupted.

    `told`: whether the user reads of it even if it says nothing itself.
    """
    check_interrupted()
    if told:
        with context.emitter.running(step.name, step.label, takes_long=True):
            result = run_untold(context, step)
    else:
        result = run_untold(context, step)
    pause_debugging(context, step.name)
    return result


def pause_debugging(context: BuildContext, name: str) -> None:
    """Ask the user to go on, where each step is to be looked at."""
    if context.debug:
        context.ask(f"Pausing after run of step '{name}'. Press enter to continue.", ())
