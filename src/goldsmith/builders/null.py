"""The `null` source: provisions a machine that is there already, or none; no artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from goldsmith.communicators.none import NoCommunicator
from goldsmith.communicators.ssh.checks import NONE, check_communicator
from goldsmith.communicators.ssh.options import CommunicatorOptions
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options

if TYPE_CHECKING:
    from goldsmith.core.builder import BuildContext
    from goldsmith.core.communicator import Communicator
    from goldsmith.core.plan import BuildPlan, PlanContext

BUILDER_ID: Final = "fnoeding.null"


class NullOptions(CommunicatorOptions):
    """Options of `source "null"`."""

    go_templates: ClassVar[bool] = True


class NullBuilder:
    """Runs provisioners on a machine that somebody else has made, or without one."""

    type_name: ClassVar[str] = "null"
    options_model: ClassVar[type[Options]] = NullOptions
    needs_worker: ClassVar[bool] = False
    announces: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, NullOptions)
        self.options = options
        self.name = name

    @property
    def communicates(self) -> bool:
        """Whether there is a machine."""
        return self.options.communicator != NONE

    @property
    def expected(self) -> ExpectedArtifact:
        """No disk image."""
        return ExpectedArtifact()

    def check(self) -> Sequence[Finding]:
        """What is wrong with how the machine is to be reached."""
        return check_communicator(self.options)

    def preflight(self, directory: Path, *, force: bool) -> None:
        """Raise HostError without the library for SSH, where it is needed."""
        if self.communicates:
            from goldsmith.communicators.ssh.session import require_library

            require_library()

    def claims(self, directory: Path) -> Sequence[Path]:
        """Nothing that another build could not write too, as with Packer."""
        return ()

    def plan(self, context: PlanContext) -> BuildPlan:
        """Everything runs each time."""
        from goldsmith.core.plan import plan_of_uncached

        return plan_of_uncached(context, "Running the provisioners")

    def build(self, context: BuildContext) -> Artifact:
        """Connect and run the provisioners; raises GoldsmithError."""
        run_values = {"ID": "Null", "PackerRunUUID": context.run_uuid}
        if not self.communicates:
            self._provision(context, NoCommunicator(), run_values)
        else:
            from goldsmith.communicators.ssh.session import connected

            with connected(self.options, context.emitter) as machine:
                run_values |= machine.run_values
                self._provision(context, machine.communicator, run_values)
        return Artifact(
            builder_id=BUILDER_ID, id="Null",
            string="Did not export anything. This is the null builder",
            state={"generated_data": run_values},
        )  # fmt: skip

    def _provision(
        self, context: BuildContext, communicator: Communicator, run_values: dict[str, str]
    ) -> None:
        from goldsmith.core.hook import ProvisionHook

        ProvisionHook(context, communicator, self.type_name, connects=True).run(run_values)
