"""What is wrong with a disk of elements on this host: found before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from goldsmith.builders.elements.disk import disk_tools
from goldsmith.builders.elements.disk_size import empty_plan
from goldsmith.builders.elements.disk_wishes import DiskWishes
from goldsmith.builders.elements.hook_needs import missing_tools, need_guest_for_hooks
from goldsmith.builders.elements.late_phases import LATE_PHASES
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.builders.elements.volume_mounts import need_guest
from goldsmith.disk import attached
from goldsmith.disk.disk_plan import PlannedLogicalVolume
from goldsmith.disk.volume_places import places
from goldsmith.disk.ways import needs_guest
from goldsmith.errors import Diagnostics, GoldsmithError, MissingToolError
from goldsmith.host.process import get_tool
from goldsmith.units import TIB

_ANY_SIZE_BYTES: Final = TIB


def disk_findings(recipe: Recipe, wishes: DiskWishes) -> Diagnostics:
    """What this host lacks for a disk and its last phases, and what of it nothing can mount."""
    findings = Diagnostics()
    layout = wishes.layout(_ANY_SIZE_BYTES)
    reasons = [*need_guest(layout), *need_guest_for_hooks(recipe.setup.hooks)]
    hooks = any(recipe.setup.hooks_of(phase.name) for phase in LATE_PHASES)
    in_guest = bool(reasons) and hooks
    _add_missing(findings, disk_tools(wishes))
    for error in missing_tools(recipe.setup.hooks):
        findings.error(str(error), error.hint or "")
    if in_guest or needs_guest(layout):
        _add_guest(findings, shares=in_guest)
    if in_guest:
        for text, hint in _shells(recipe, reasons):
            findings.error(text, hint)
    for text, hint in _not_mounted(wishes):
        findings.error(text, hint)
    return findings


def _add_missing(findings: Diagnostics, tools: Iterable[str]) -> None:
    for tool in tools:
        try:
            get_tool(tool)
        except MissingToolError as e:
            findings.error(str(e), e.hint or "")


def _add_guest(findings: Diagnostics, *, shares: bool) -> None:
    # Late: most disks need no guest.
    from goldsmith.machine.acceleration import EMULATOR
    from goldsmith.machine.guest_image import require_guest_image
    from goldsmith.machine.guest_share import SERVER

    _add_missing(findings, (EMULATOR, SERVER) if shares else (EMULATOR,))
    try:
        require_guest_image()
    except GoldsmithError as e:
        findings.error(str(e), e.hint or "")


def _shells(recipe: Recipe, reasons: list[str]) -> Iterator[tuple[str, str]]:
    breaks = recipe.description.breaks
    for phase in LATE_PHASES:
        for when in ("before", "after"):
            if breaks.at(when, phase):
                yield (
                    f"break={when}-{phase.name[:-2]}: no shell can be opened there: the phase runs "
                    f"in the guest ({'; '.join(reasons)})",
                    "break at an earlier phase, or look at the kept tree by `goldsmith shell`",
                )


def _not_mounted(wishes: DiskWishes) -> Iterator[tuple[str, str]]:
    given_bytes = wishes.disk.size_bytes or wishes.size_bytes
    try:
        plan = empty_plan(wishes, given_bytes or _ANY_SIZE_BYTES)
    except GoldsmithError as e:
        # Otherwise it shows when it is known what the tree takes.
        if given_bytes is not None:
            yield str(e), e.hint or ""
        return
    found = places(plan)
    for mount, volume in sorted(plan.by_mount().items()):
        pieces = found[volume.name]
        if isinstance(volume, PlannedLogicalVolume) and (pieces is None or len(pieces) != 1):
            yield (f"{volume.name} lies in several pieces: only the device mapper shows it as one",
                   "make its volume group of one physical volume")  # fmt: skip
        if mount == "/" and volume.filesystem is not None:
            reason = attached.why_not(volume.filesystem.type)
            if reason is not None:
                yield f"the root cannot be {volume.filesystem.type}: {reason}", "choose ext4"
