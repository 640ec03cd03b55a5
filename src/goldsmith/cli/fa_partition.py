"""`goldsmith fa-partition`: divides disks by fuel-agent's own input."""

from __future__ import annotations

from goldsmith.cli.fa_provision import run_stages
from goldsmith.cli.fuel_arguments import fuel_parser
from goldsmith.cli.native_flags import NativeParser


def run(words: list[str], machine_readable: bool) -> int:
    """Run this stage alone; 0, 2 for usage, 255 for every failure."""
    return run_stages(command_parser(), words, "partition")


def command_parser() -> NativeParser:
    """The flags of the verb."""
    return fuel_parser(
        "fa-partition",
        "Divides the disks that fuel-agent's input names, and makes the file "
        "systems without images.",
    )
