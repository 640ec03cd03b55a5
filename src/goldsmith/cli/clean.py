"""`goldsmith clean`: lists what dead builds and old guests have left, then removes it.

Never what a living build uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from goldsmith.cli.components import undo_functions
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.journal import (
    find_dead_runs,
    finish_run,
    remove_doomed_runs,
    state_directory,
)
from goldsmith.ui.terminal import write_line

if TYPE_CHECKING:
    from goldsmith.cli.native_flags import NativeParser
    from goldsmith.machine.guest_upkeep import SpareGuest


def run(words: list[str], machine_readable: bool) -> int:
    """Clean; 0 when nothing is left, 1 when something could not be removed, 2 for usage."""
    # Late: every build imports this module for what dead runs have left, none for guests.
    from goldsmith.machine.guest_upkeep import find_spare_guests

    try:
        options = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    state = state_directory()
    dead = find_dead_runs(state)
    guests = find_spare_guests(state)
    layers = 0
    if not options.dry_run:
        remove_doomed_runs(state)
        layers = _remove_unfinished_layers(state)
    if layers:
        write_line(f"Removed {layers} unfinished result{'' if layers == 1 else 's'} of steps.")
    if not dead and not guests:
        if not layers:
            write_line("Nothing is left to clean.")
        return 0
    for found in dead:
        write_line(f"{found.path}  (goldsmith {found.command}, ended without cleanup)")
        for entry in found.entries:
            write_line(f"    {entry}")
    for guest in guests:
        write_line(str(guest))
    if options.dry_run:
        return 0
    found_in_all = len(dead) + len(guests)
    removed = _remove_guests(state, guests)
    for found in dead:
        failures = finish_run(found, undo_functions(write_line))
        removed += not failures
        for text in failures:
            write_line(f"could not undo {text}")
    write_line(f"Removed {removed} of {found_in_all}.")
    return 0 if removed == found_in_all else 1


def command_parser() -> NativeParser:
    """The flags of the verb."""
    from goldsmith.cli.native_flags import NativeParser

    parser = NativeParser(
        prog="goldsmith clean",
        description="Lists what builds that were killed have left on this host, then removes it.",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list, remove nothing")
    return parser


def _remove_guests(state: Path, guests: Sequence[SpareGuest]) -> int:
    """Remove guests that nobody needs; returns how many are gone."""
    from goldsmith.machine.guest_upkeep import remove_spare_guests

    if guests:
        for text in remove_spare_guests(state):
            write_line(f"could not remove {text}")
    return sum(not guest.path.exists() for guest in guests)


def _remove_unfinished_layers(state: Path) -> int:
    """Remove the layers that builds had begun when they were killed; returns their number."""
    # Late: few builds find any.
    from goldsmith.layers.garbage import collect_garbage
    from goldsmith.layers.store import Store

    if not (state / "store").is_dir():
        return 0
    return collect_garbage(Store.open(state / "store").directory)


def _has_unnamed_layers(state: Path) -> bool:
    """Whether there are more layers than records: those that living builds make, or garbage.

    Every record names a layer of its own, so nothing needs to be read.
    """
    store = state / "store"
    if not (store / "layers").is_dir():
        return False
    records = sum(len(os.listdir(store / place)) for place in ("keys", "flat", "failed"))
    return len(os.listdir(store / "layers")) > records


def finish_dead_runs(state: Path, tell: Callable[[str], None]) -> None:
    """What every command does first: finish what killed ones began; says so only if there was any.

    What cannot be undone now stays for `goldsmith clean`, and does not stop the command.
    """
    remove_doomed_runs(state)
    for found in find_dead_runs(state):
        if found.may_go_on:
            # `goldsmith clean` removes that too.
            continue
        failures = finish_run(found, undo_functions(tell))
        tell(f"Cleaned up after a build that was killed: {found.path.name}")
        for text in failures:
            tell(f"  could not undo {text}")
    try:
        if _has_unnamed_layers(state):
            _remove_unfinished_layers(state)
    except Interrupted:
        raise
    except (GoldsmithError, OSError):
        return
