"""The `breakpoint` provisioner: stops a build until somebody presses Enter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey


class BreakpointOptions(Options):
    """Options of the `breakpoint` provisioner."""

    go_templates: ClassVar[bool] = True

    note: str = Field("", description="What to say while the build stops.")
    disable: bool = Field(False, description="Go on without stopping.")


class BreakpointProvisioner:
    """Lets the user look around in the midst of a build."""

    type_name: ClassVar[str] = "breakpoint"
    options_model: ClassVar[type[Options]] = BreakpointOptions
    changes_tree: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        assert isinstance(options, BreakpointOptions)
        self.options = options
        self.network = False
        self.reads_only = False

    @property
    def label(self) -> str:
        """Names the note."""
        return f"Breakpoint provisioner{self._note}"

    @property
    def _note(self) -> str:
        return f' with note "{self.options.note}"' if self.options.note else ""

    def check(self, directory: Path) -> Sequence[Finding]:
        """Nothing depends on the host."""
        return []

    def key(self, directory: Path) -> StepKey | None:
        """It always stops."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Stop until the user presses Enter; raises GoldsmithError when nobody can be asked."""
        if self.options.disable:
            context.emitter.say(f"Breakpoint provisioner{self._note} disabled; continuing...")
            return
        context.emitter.say(f"Pausing at breakpoint provisioner{self._note}.")
        if context.ask("Press enter to continue.", ()) is None:
            raise GoldsmithError(
                "Error asking for input: no available tty",
                hint="run the build in a terminal, or set disable = true in the breakpoint",
            )
