"""The options of all that runs scripts of the user: which scripts, and what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from goldsmith.core.options import Finding, Options
from goldsmith.core.script_environment import VariableMap, VariablePairs


class GivenScripts(Options):
    """Scripts by their files or as lines, their variables, and what counts as success."""

    go_templates: ClassVar[bool] = True

    inline: tuple[str, ...] = Field((), description="Commands, run in order as one script.")
    script: str | None = Field(None, description="A script on this host.")
    scripts: tuple[str, ...] = Field((), description="Scripts on this host, run in order.")
    environment_vars: VariablePairs = Field(
        (), description='Variables for the scripts, each "NAME=value".'
    )
    env: VariableMap = Field(
        default_factory=dict, description="Variables for the scripts; these win."
    )
    valid_exit_codes: tuple[int, ...] = Field((0,), description="What counts as success.")

    @property
    def files(self) -> tuple[str, ...]:
        """The scripts that lie on this host."""
        return (self.script,) if self.script is not None else self.scripts

    def missing_scripts(self, directory: Path) -> Sequence[Finding]:
        """A finding for each script that is not there."""
        findings = []
        for number, name in enumerate(self.files):
            if not (directory / name).is_file():
                at = ("script",) if self.script is not None else ("scripts", number)
                findings.append(Finding(f"Bad script {name!r}: there is no such file", at))
        return findings
