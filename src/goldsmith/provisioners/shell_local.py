"""The `shell-local` provisioner: scripts of the user on this host, in the midst of a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from goldsmith.communicators.local import LocalScripts, ShellLocalOptions
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.layers.keys import StepKey


class ShellLocalProvisioner:
    """Runs scripts of the user on this host, not in the tree."""

    type_name: ClassVar[str] = "shell-local"
    options_model: ClassVar[type[Options]] = ShellLocalOptions
    changes_tree: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ShellLocalOptions)
        self.options = options
        self.network = True
        self.reads_only = False

    @property
    def label(self) -> str:
        """Names the scripts, or the first command."""
        if self.options.files:
            return "Provisioning with local shell script: " + ", ".join(self.options.files)
        first = self.options.commands[0].strip().splitlines() or [""]
        shown = first[0] if len(first[0]) <= 60 else first[0][:57] + "..."
        return f"Provisioning with local shell: {shown}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every script must be there."""
        return self.options.missing_scripts(directory)

    def key(self, directory: Path) -> StepKey | None:
        """Nothing can identify what happens on the host: it always runs."""
        return None

    def provision(self, context: ProvisionContext) -> None:
        """Run the scripts; raises GoldsmithError for a status that is not allowed."""
        LocalScripts(
            options=self.options, emitter=context.emitter, directory=context.directory,
            build_name=context.build_name, builder_type=context.builder_type,
            run_uuid=context.run_uuid, scratch_file=context.scratch_file,
        ).run()  # fmt: skip
