"""What must be let go of before a volume can become a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goldsmith.core.step import StepContext
from goldsmith.host.teardown import Handle


@dataclass(frozen=True, slots=True)
class EarlyCleanupStep:
    """Releases handles, the last acquired first; the first that fails halts the build."""

    handles: Sequence[Handle]
    name: str = "early-cleanup"
    label: str = "Unmounting the root device"

    def run(self, context: StepContext) -> None:
        """Release them; raises what an unmount or a detachment raises."""
        for handle in reversed(self.handles):
            handle.release()
