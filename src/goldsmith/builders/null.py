"""The `null` source: no machine and no artifact, only provisioners and post-processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from goldsmith.communicators.none import NoCommunicator
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options

if TYPE_CHECKING:
    from goldsmith.core.builder import BuildContext
    from goldsmith.core.plan import BuildPlan, PlanContext

BUILDER_ID: Final = "fnoeding.null"
NONE: Final = "none"
_LATER: Final = ("ssh", "winrm", "")
_NOT_YET: Final = "Not available in goldsmith yet."


class NullOptions(Options):
    """Options of `source "null"`."""

    go_templates: ClassVar[bool] = True

    communicator: str = Field(
        "ssh", description='How to reach a machine; only "none" (no machine) works yet.'
    )
    ssh_host: Any = Field(None, description=_NOT_YET)
    ssh_port: Any = Field(None, description=_NOT_YET)
    ssh_username: Any = Field(None, description=_NOT_YET)
    ssh_password: Any = Field(None, description=_NOT_YET)
    ssh_private_key_file: Any = Field(None, description=_NOT_YET)
    ssh_agent_auth: Any = Field(None, description=_NOT_YET)
    ssh_timeout: Any = Field(None, description=_NOT_YET)
    winrm_host: Any = Field(None, description=_NOT_YET)
    winrm_port: Any = Field(None, description=_NOT_YET)
    winrm_username: Any = Field(None, description=_NOT_YET)
    winrm_password: Any = Field(None, description=_NOT_YET)


class NullBuilder:
    """Runs provisioners without a machine."""

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
        """A machine cannot be reached yet."""
        communicator = self.options.communicator
        if communicator not in (NONE, *_LATER):
            return [Finding(f"communicator {communicator!r} does not exist", ("communicator",),
                            'Write communicator = "none".')]  # fmt: skip
        if communicator != NONE:
            return [
                Finding(
                    f'communicator "{communicator or "ssh"}" is not available in goldsmith yet',
                    ("communicator",),
                    'Without one a null source reaches for ssh. Write communicator = "none".',
                )
            ]
        given = self.options.model_dump(exclude_none=True, exclude={"communicator"})
        return [
            Finding(f'{name} has no meaning with communicator = "none"', (name,)) for name in given
        ]

    def preflight(self, directory: Path, *, force: bool) -> None:
        """Nothing is needed and nothing can be in the way."""

    def claims(self, directory: Path) -> Sequence[Path]:
        """Nothing that another build could not write too, as with Packer."""
        return ()

    def plan(self, context: PlanContext) -> BuildPlan:
        """Everything runs each time."""
        from goldsmith.core.plan import plan_of_uncached

        return plan_of_uncached(context, "Running the provisioners")

    def build(self, context: BuildContext) -> Artifact:
        """Run the provisioners; raises GoldsmithError."""
        from goldsmith.core.hook import ProvisionHook

        run_values = {"ID": "Null", "PackerRunUUID": context.run_uuid}
        hook = ProvisionHook(context, NoCommunicator(), self.type_name, connects=True)
        hook.run(run_values)
        return Artifact(
            builder_id=BUILDER_ID, id="Null",
            string="Did not export anything. This is the null builder",
            state={"generated_data": run_values},
        )  # fmt: skip
