"""Several provisioners as one: hooks and a provisioner that wait for the same event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext, ProvisionerCall

if TYPE_CHECKING:
    from goldsmith.layers.keys import StepKey


@dataclass(slots=True)
class AllOf:
    """Runs them in order; the first that fails is the last that runs."""

    calls: tuple[ProvisionerCall, ...]
    type_name: ClassVar[str] = "all"
    options_model: ClassVar[type[Options]] = Options
    changes_tree: ClassVar[bool] = True
    network: bool = True
    reads_only: bool = False

    @property
    def label(self) -> str:
        """That of each."""
        return ", ".join(call.provisioner.label for call in self.calls)

    def check(self, directory: Path) -> Sequence[Finding]:
        """They were checked one by one."""
        return ()

    def key(self, directory: Path) -> StepKey | None:
        """They run every time."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Run each, with its own retries and pauses."""
        from goldsmith.core.hook import attempt, run_provisioner

        for call in self.calls:
            attempt(call, context.emitter, partial(run_provisioner, call, context))
