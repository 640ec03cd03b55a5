"""Runs the steps of a build one after the other, under Packer's names."""

from __future__ import annotations

from typing import TypeVar

from goldsmith.core.builder import BuildContext
from goldsmith.core.step import Step, StepContext
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.host.signals import check_interrupted

R = TypeVar("R")


def run_step(context: BuildContext, step: Step[R], *, told: bool = True) -> R:
    """Run one and return its result; raises StepFailed, or Interrupted.

    `told`: whether the user reads of it even if it says nothing itself.
    """
    check_interrupted()
    emitter = context.emitter
    scratch = context.work / "scratch"
    scratch.mkdir(exist_ok=True, mode=0o700)
    inner = StepContext(emitter=emitter, scratch=scratch, epoch_s=context.epoch_s)
    try:
        if told:
            with emitter.running(step.name, step.label, takes_long=True):
                result = step.run(inner)
        else:
            result = step.run(inner)
    except Interrupted:
        raise
    except GoldsmithError as e:
        raise StepFailed(step.label, e) from e
    except OSError as e:
        raise StepFailed(step.label, explain_os_error(e)) from e
    pause_debugging(context, step.name)
    return result


def pause_debugging(context: BuildContext, name: str) -> None:
    """Ask the user to go on, where each step is to be looked at."""
    if context.debug:
        context.ask(f"Pausing after run of step '{name}'. Press enter to continue.", ())
