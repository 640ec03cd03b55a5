"""The `sleep` provisioner: waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goldsmith.core.options import DurationSeconds, Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.host.cancellation import pause
from goldsmith.layers.keys import StepKey


class SleepOptions(Options):
    """Options of the `sleep` provisioner."""

    go_templates: ClassVar[bool] = True

    duration: DurationSeconds = Field(description='How long to wait, such as "30s".')


class SleepProvisioner:
    """Waits for a time that the template names."""

    type_name: ClassVar[str] = "sleep"
    options_model: ClassVar[type[Options]] = SleepOptions
    changes_tree: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        assert isinstance(options, SleepOptions)
        self.options = options
        self.network = False
        self.reads_only = False

    @property
    def label(self) -> str:
        """Says how long."""
        return f"Waiting for {self.options.duration:g} s"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def key(self, directory: Path) -> StepKey | None:
        """It always waits."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Wait, silently as Packer does; an interrupt or the end of `timeout` ends it."""
        pause(self.options.duration)
