"""The provision hook: runs the provisioners of a build that has no tree of its own, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from goldsmith.core.builder import BuildContext
from goldsmith.core.communicator import Communicator
from goldsmith.core.provisioner import ProvisionContext, ProvisionerCall
from goldsmith.core.tree_build import ANSWERS_AFTER_ERROR, ASK_AFTER_ERROR
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.cancellation import pause
from goldsmith.host.signals import time_limit


def provision_context(
    build: BuildContext,
    communicator: Communicator,
    builder_type: str,
    environment: Mapping[str, str] | None = None,
) -> ProvisionContext:
    """What a provisioner of a build is given; `environment` is the build's unless it is given."""
    return ProvisionContext(
        communicator=communicator, emitter=build.emitter, build_name=build.source_name,
        builder_type=builder_type, directory=build.directory, run_uuid=build.run_uuid,
        environment=build.environment if environment is None else environment,
        scratch_file=build.run.scratch_file,
    )  # fmt: skip


def run_provisioner(call: ProvisionerCall, context: ProvisionContext) -> None:
    """Run a provisioner once; raises GoldsmithError, also when its `timeout` is over."""
    limit_s = call.timeout_s
    expired = GoldsmithError(
        f"the provisioner did not end within its timeout of {limit_s or 0:g} s; it was killed "
        "with everything that it had started",
        hint="raise `timeout` of this provisioner, or find out what it waits for",
    )
    with time_limit(limit_s, expired):
        call.provisioner.provision(context)


@dataclass(frozen=True, slots=True)
class ProvisionHook:
    """The provisioners of one build, over one communicator."""

    build: BuildContext
    communicator: Communicator
    builder_type: str

    def run(self, run_values: Mapping[str, str]) -> None:
        """Run them all; `run_values` is what the builder fills of `build.*`.

        Raises the error of the first that fails, after its retries; the others do not run then.
        """
        emitter = self.build.emitter
        for number, call in enumerate(self.build.provisioners(run_values), 1):
            emitter.step = f"provisioner-{number}"
            try:
                self._run(call)
            finally:
                emitter.step = ""

    def _run(self, call: ProvisionerCall) -> None:
        while True:
            try:
                self._try(call)
                return
            except Interrupted:
                raise
            except GoldsmithError as e:
                if self.build.on_error != "ask" or not self._wants_retry(e):
                    raise

    def _wants_retry(self, error: GoldsmithError) -> bool:
        self.build.emitter.error(str(error))
        return self.build.ask(ASK_AFTER_ERROR, ANSWERS_AFTER_ERROR) == "r"

    def _try(self, call: ProvisionerCall) -> None:
        """Try as often as `max_retries` allows, pausing before each try."""
        emitter = self.build.emitter
        context = provision_context(self.build, self.communicator, self.builder_type)
        for left in range(call.max_retries, -1, -1):
            if call.pause_before_s:
                shown = go_duration(call.pause_before_s)
                emitter.say(f"Pausing {shown} before the next provisioner...")
                pause(call.pause_before_s)
            if call.timeout_s is not None:
                shown = go_duration(call.timeout_s)
                emitter.say(f"Setting a {shown} timeout for the next provisioner...")
            try:
                run_provisioner(call, context)
                return
            except Interrupted:
                raise
            except GoldsmithError as e:
                if not left:
                    raise
                emitter.error(f"Provisioner failed with {str(e)!r}, retrying with {left} trie(s) "
                              "left")  # fmt: skip


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
