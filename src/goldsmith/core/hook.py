"""The provision hook: runs the provisioners of a build that has no tree of its own, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

from goldsmith.core.after_error import (
    ANSWERS_AFTER_ERROR,
    ASK_AFTER_ERROR,
    ERROR_CLEANUP,
    KEEPING,
    RUN_CLEANUP,
    TOLD_BEFORE_CLEANUP,
    CleanupFailed,
)
from goldsmith.core.builder import BuildContext
from goldsmith.core.communicator import Communicator
from goldsmith.core.provisioner import ProvisionContext, ProvisionerCall, temporary_directory
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, TimeLimitReached
from goldsmith.events import Emitter
from goldsmith.gotemplate.quoting import quote
from goldsmith.host.cancellation import pause
from goldsmith.host.signals import time_limit

DEBUG_PAUSE: Final = "Pausing before the next provisioner . Press enter to continue."


def provision_context(
    build: BuildContext,
    communicator: Communicator,
    builder_type: str,
    environment: Mapping[str, str] | None = None,
    run_values: Mapping[str, str] | None = None,
) -> ProvisionContext:
    """What a provisioner of a build is given; `environment` is the build's unless it is given."""
    return ProvisionContext(
        communicator=communicator, emitter=build.emitter, build_name=build.source_name,
        builder_type=builder_type, directory=build.directory, run_uuid=build.run_uuid,
        run_values=run_values or {},
        environment=build.environment if environment is None else environment,
        scratch_file=partial(build.run.scratch_file, survives=False), ask=build.ask,
        scratch_directory=partial(temporary_directory, build.run.path),
    )  # fmt: skip


def run_provisioner(call: ProvisionerCall, context: ProvisionContext) -> None:
    """Run a provisioner once; raises GoldsmithError, also when its `timeout` is over."""
    limit_s = call.timeout_s
    expired = TimeLimitReached(
        f"the provisioner did not end within its timeout of {limit_s or 0:g} s; it was killed "
        "with everything that it had started",
        hint="raise `timeout` of this provisioner, or find out what it waits for",
    )
    with time_limit(limit_s, expired):
        call.provisioner.provision(context)


def attempt(call: ProvisionerCall, emitter: Emitter, once: Callable[[], None]) -> None:
    """Run `once` as often as `max_retries` allows, pausing before each try.

    Raises the error of the last try, unless the build goes on after errors of this provisioner.
    """
    for left in range(call.max_retries, -1, -1):
        if call.pause_before_s:
            shown = go_duration(call.pause_before_s)
            emitter.say(f"Pausing {shown} before the next provisioner...")
            pause(call.pause_before_s)
        if call.timeout_s is not None:
            shown = go_duration(call.timeout_s)
            emitter.say(f"Setting a {shown} timeout for the next provisioner...")
        try:
            once()
            return
        except Interrupted:
            raise
        except GoldsmithError as e:
            error = quote(str(e.cause if isinstance(e, StepFailed) else e))
            if left:
                emitter.say(f"Provisioner failed with {error}, retrying with {left} trie(s) left")
                continue
            if call.max_retries:
                emitter.say("retry limit reached.")
            if not call.continue_on_error:
                raise
            emitter.error(f"Provisioner failed with {error}; going on, as continue_on_error says")


@dataclass(frozen=True, slots=True)
class _Failure:
    error: GoldsmithError
    keeps: bool
    """Whether what the builder has made stays, as the user wants."""


@dataclass(frozen=True, slots=True)
class ProvisionHook:
    """The provisioners of one build, over one communicator."""

    build: BuildContext
    communicator: Communicator
    builder_type: str
    connects: bool = False
    """Whether connecting is a step of its own, as it is in Packer's builders but `file`."""
    undo: Callable[[], None] = lambda: None
    """Takes back what the builder has made so far, when that is not to stay after an error."""

    def run(self, run_values: Mapping[str, str]) -> None:
        """Run them all; `run_values` is what the builder fills of `build.*`.

        Raises the error of the first that fails, after its retries; the others do not run then, but
        the build's cleanup provisioner, as `-on-error` says.
        """
        with ExitStack() as failing:
            failing.callback(self.undo)
            self._pause_debugging("after run of", "StepConnect")
            failure = self._first_failure(run_values)
            self._pause_debugging("after run of", "StepProvision")
            failure = failure and self._cleaned_up(failure, run_values)
            if failure is None or failure.keeps:
                failing.pop_all()
            if failure is not None:
                raise failure.error
            for step in ("StepProvision", "StepConnect"):
                self._pause_debugging("before cleanup of", step)

    def _pause_debugging(self, moment: str, step: str) -> None:
        if self.build.debug and self.connects:
            self.build.ask(f"Pausing {moment} step '{step}'. Press enter to continue.", ())

    def _first_failure(self, run_values: Mapping[str, str]) -> _Failure | None:
        emitter = self.build.emitter
        for number, call in enumerate(self.build.provisioners(run_values), 1):
            emitter.step = f"provisioner-{number}"
            try:
                failure = self._failure(call, run_values)
            finally:
                emitter.step = ""
            if failure is not None:
                return failure
        return None

    def _failure(self, call: ProvisionerCall, run_values: Mapping[str, str]) -> _Failure | None:
        """Run one, as often as the user wants."""
        build = self.build
        context = self._context(run_values)
        while True:
            if build.debug:
                build.ask(DEBUG_PAUSE, ())
            try:
                attempt(call, build.emitter, partial(run_provisioner, call, context))
                return None
            except Interrupted:
                raise
            except GoldsmithError as e:
                answer = self._answer(e) if build.on_error == "ask" else None
                if answer != "r":
                    return _Failure(e, build.on_error in KEEPING or answer == "a")

    def _context(self, run_values: Mapping[str, str]) -> ProvisionContext:
        return provision_context(
            self.build, self.communicator, self.builder_type, run_values=run_values
        )

    def provision(self, run_values: Mapping[str, str]) -> None:
        """Only run them all, for a builder that sees itself to what follows an error.

        Raises the error of the first that fails.
        """
        if (failure := self._first_failure(run_values)) is not None:
            raise failure.error

    def clean_up(self, run_values: Mapping[str, str]) -> None:
        """Only run the build's cleanup provisioner, for such a builder; raises its error."""
        if (call := self.build.error_cleanup(run_values)) is not None:
            context = self._context(run_values)
            attempt(call, self.build.emitter, partial(run_provisioner, call, context))

    def _answer(self, error: GoldsmithError) -> str | None:
        self.build.emitter.error(str(error))
        if self.connects:
            self.build.emitter.say('Step "StepProvision" failed')
        return self.build.ask(ASK_AFTER_ERROR, ANSWERS_AFTER_ERROR)

    def _cleaned_up(self, failure: _Failure, run_values: Mapping[str, str]) -> _Failure:
        """What remains of a failure after the cleanup provisioner, where that is to run."""
        policy, emitter = self.build.on_error, self.build.emitter
        if failure.keeps and policy != RUN_CLEANUP:
            if policy != "ask":
                emitter.error(str(failure.error))
            if self.connects:
                emitter.error('Step "StepProvision" failed, aborting...')
                emitter.error('aborted: skipping cleanup of step "StepConnect"')
            return failure
        error = self._after_cleanup(failure.error, run_values)
        if policy == RUN_CLEANUP:
            emitter.error(str(error))
            if self.connects:
                emitter.error('Step "StepConnect" failed, aborting...')
        return _Failure(error, failure.keeps)

    def _after_cleanup(
        self, error: GoldsmithError, run_values: Mapping[str, str]
    ) -> GoldsmithError:
        """Run the cleanup provisioner; returns the error of the build after that."""
        build = self.build
        context = self._context(run_values)
        build.emitter.step = ERROR_CLEANUP
        try:
            call = build.error_cleanup(run_values)
            if call is not None or self.connects:
                build.emitter.say(TOLD_BEFORE_CLEANUP)
            if call is not None:
                attempt(call, build.emitter, partial(run_provisioner, call, context))
            return error
        except Interrupted:
            raise
        except GoldsmithError as e:
            return CleanupFailed(e, error)
        finally:
            build.emitter.step = ""


def go_duration(duration_s: float) -> str:
    """A duration as Go prints it: "1.5s", "1m30s", "1h0m0s", "300ms"."""
    nanoseconds = round(Decimal(str(duration_s)) * 10**9)
    if not nanoseconds:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{_plain(Decimal(nanoseconds) / size)}{unit}"
    minutes, rest = divmod(Decimal(nanoseconds) / 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_plain(rest)}s"
    if hours:
        return f"{hours:f}h{minutes:f}m{seconds}"
    return f"{minutes:f}m{seconds}" if minutes else seconds


def _plain(number: Decimal) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"
