"""`goldsmith fa-copyimage`: writes images onto disks that are divided."""

from __future__ import annotations

from goldsmith.cli.fa_provision import run_stages
from goldsmith.cli.fuel_arguments import fuel_parser
from goldsmith.cli.native_flags import NativeParser


def run(words: list[str], machine_readable: bool) -> int:
    """Run this stage alone; 0, 2 for usage, 255 for every failure."""
    return run_stages(command_parser(), words, "copy")


def command_parser() -> NativeParser:
    """The flags of the verb."""
    return fuel_parser(
        "fa-copyimage",
        "Writes the images of fuel-agent's input onto disks that are divided already.",
    )
