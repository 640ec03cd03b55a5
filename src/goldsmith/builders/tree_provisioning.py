"""Provisioners on a tree of layers, and the steps beside it: the same for every such source."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from goldsmith.builders.image.tree_steps import LocalProvisionStep, ProvisionStep
from goldsmith.builders.running import run_untold
from goldsmith.core.after_error import TOLD_BEFORE_CLEANUP, CleanupFailed
from goldsmith.core.builder import BuildContext
from goldsmith.core.hook import DEBUG_PAUSE, attempt
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.step import Step, TreeStep
from goldsmith.core.tree_build import TreeBuild
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.events import CacheUse
from goldsmith.host.signals import check_interrupted

R = TypeVar("R")
StepOfCall = Callable[[ProvisionerCall, int, BuildContext, str], TreeStep]
"""Makes the step of a provisioner: its call, its number (0 for the one that cleans up after an
error), the build, the builder's type."""


@dataclass(frozen=True, slots=True)
class TreeProvisioning:
    """The provisioners of one build on its tree."""

    builder_type: str
    trees: TreeBuild
    context: BuildContext
    step_of_call: StepOfCall = ProvisionStep

    def provision(self) -> None:
        """Run all provisioners in order; raises the error of the first that fails.

        The cleanup provisioner runs before that, unless the user keeps what there is.
        """
        context = self.context
        run_values = {"PackerRunUUID": context.run_uuid}
        calls = context.provisioners(run_values)
        try:
            for number, call in enumerate(calls, 1):
                self._provision(call, number)
        except StepFailed as e:
            if context.on_error == "abort" or self.trees.abandoned:
                raise
            self._clean_up_after(e, run_values)
            raise

    def _provision(self, call: ProvisionerCall, number: int) -> None:
        """Run a provisioner; each try starts from the tree before it."""
        context = self.context
        if context.debug:
            context.ask(DEBUG_PAUSE, ())
        run: Callable[[], None]
        if call.provisioner.changes_tree:
            provision = self.step_of_call(call, number, context, self.builder_type)
            run = functools.partial(self.trees.run, provision, asks=False)
        else:
            # What it makes of the host's files is in the keys of the steps that use them.
            local = LocalProvisionStep(call, number, context, self.builder_type)
            run = functools.partial(self.run, local)
        while True:
            try:
                attempt(call, context.emitter, run)
                return
            except StepFailed as e:
                if context.on_error != "ask" or not self.trees.wants_retry(e):
                    raise

    def _clean_up_after(self, error: StepFailed, run_values: Mapping[str, str]) -> None:
        """Run the cleanup provisioner, if there is one; raises CleanupFailed."""
        context = self.context
        try:
            call = context.error_cleanup(run_values)
            if call is None:
                return
            context.emitter.say(TOLD_BEFORE_CLEANUP)
            run: Callable[[], None]
            if call.provisioner.changes_tree:
                step = self.step_of_call(call, 0, context, self.builder_type)
                run = functools.partial(self.trees.run_after_failure, step)
            else:
                local = LocalProvisionStep(call, 0, context, self.builder_type)
                run = functools.partial(self.run, local)
            attempt(call, context.emitter, run)
        except Interrupted:
            raise
        except (GoldsmithError, OSError) as e:
            cause = explain_os_error(e) if isinstance(e, OSError) else e
            raise CleanupFailed(cause, error) from e

    def run(self, step: Step[R], *, reason: str = "") -> R:
        """Run a step outside of the tree; `reason` is why an earlier result is not used."""
        cache: CacheUse | None = "miss" if reason else None
        check_interrupted()
        with self.context.emitter.running(
            step.name, step.label, takes_long=True, cache=cache, reason=reason
        ):
            return self.run_untold(step)

    def run_untold(self, step: Step[R]) -> R:
        """Run a step that nobody wants to read about unless it fails."""
        return run_untold(self.context, step)
