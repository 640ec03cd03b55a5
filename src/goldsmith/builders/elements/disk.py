"""The disk of an element image: filled from the tree, then finished by hooks in the final system.

Where the file systems are filled in the image file itself nothing is copied twice; the image is
attached and mounted for the hooks alone. Source: `specs/diskimage-builder.md`, A2 steps 9 to 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from goldsmith.builders.elements.break_shell import BreakShell
from goldsmith.builders.elements.device_files import write_devices, write_parameters
from goldsmith.builders.elements.disk_size import plan_disk, usage_report
from goldsmith.builders.elements.disk_wishes import DiskWishes
from goldsmith.builders.elements.finishing import fill_stand_ins, trim
from goldsmith.builders.elements.guest_phases import (
    GuestPhases,
    device_names,
    has_late_hooks,
    prepare_tree,
)
from goldsmith.builders.elements.hook_needs import need_guest_for_hooks
from goldsmith.builders.elements.late_phases import LatePlace, LateRun, run_block_device_hooks
from goldsmith.builders.elements.phase_steps import HookSurroundings
from goldsmith.builders.elements.tidy import tidy
from goldsmith.builders.elements.volume_mounts import VolumeMounts, make_mount_points, need_guest
from goldsmith.builders.image.disk_steps import split_contents
from goldsmith.disk.assemble import AssembledImage, assemble, required_tools
from goldsmith.disk.block_devices.layouts import chosen_uuids, fstab_text
from goldsmith.disk.disk_plan import DiskPlan
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.packing import packed_trees
from goldsmith.disk.usage import measure
from goldsmith.disk.ways import needs_guest
from goldsmith.elements.description import Description
from goldsmith.elements.places import Places
from goldsmith.elements.setup import Setup
from goldsmith.events import Emitter
from goldsmith.host.confined import confined
from goldsmith.machine.disk_guest import DiskGuest
from goldsmith.units import KIB, format_size

IMAGE_FILE: Final = "image0.raw"
"""The name of the raw image in TMP_IMAGE_DIR, as upstream has it."""


class Built(Protocol):
    """A finished build directory, writable; what is changed in it is thrown away afterwards.

    The hooks of all elements are in it, and the host's name servers in the tree's resolv.conf.
    """

    @property
    def build(self) -> Path:
        """The directory, as this process sees it."""
        ...

    @property
    def tree(self) -> Path:
        """The image's tree in it."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What hooks on the host are given."""
        ...


@dataclass(frozen=True, slots=True)
class RawDisk:
    """A finished raw image, and what lies where in it."""

    path: Path
    assembled: AssembledImage

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self.assembled.size_bytes


@dataclass(frozen=True, slots=True)
class _Making:
    """What making a disk needs besides the tree."""

    description: Description
    setup: Setup
    places: Places
    wishes: DiskWishes
    emitter: Emitter
    scratch: Path
    epoch_s: int
    terminal: str
    seed: str

    @property
    def identity(self) -> DiskIdentity:
        """Where the identifiers of the disk come from: the seed, or the image's name."""
        seed = self.seed or Path(self.description.image_name).name
        return DiskIdentity(seed, chosen_uuids(self.wishes.devices))

    def line(self, stream: str, line: str) -> None:
        """Hand on a line that a hook has written."""
        self.emitter.output(line, stream)


def make_disk(
    built: Built,
    description: Description,
    setup: Setup,
    places: Places,
    wishes: DiskWishes,
    *,
    emitter: Emitter,
    scratch: Path,
    epoch_s: int,
    on_final_tree: Callable[[Path], None] | None = None,
    terminal: str = "",
    seed: str = "",
) -> RawDisk:
    """Fill a disk from a tree, run the hooks of the last phases in it, and put it right.

    `scratch` is a directory of the run, which holds the raw image in the end. `on_final_tree` is
    called with the finished tree while it is mounted, and shells of `break` are on `terminal`. Must
    be called from the main thread of a worker, whose namespaces take every mount with them. Raises
    LayoutError when the tree does not fit, HookFailed, HostError for what this host cannot do.
    """
    making = _Making(description, setup, places, wishes, emitter, scratch, epoch_s, terminal, seed)
    image_directory, final = making.scratch / "image", making.scratch / "final"
    for directory in (image_directory, final):
        directory.mkdir(parents=True, exist_ok=True)
    place = LatePlace(places, built.build, image_directory)
    environment = dict(built.environment)
    run_block_device_hooks(_late_run(making, place, environment))
    planned = _plan(built.tree, making)
    environment["DIB_IMAGE_SIZE"] = str(planned.size_bytes // KIB)
    environment |= write_parameters(built.build, places, wishes, planned.size_bytes)
    write_fstab(built.tree, fstab_text(making.wishes.devices))
    raw = image_directory / IMAGE_FILE
    reasons = [*need_guest(planned.layout), *need_guest_for_hooks(making.setup.hooks)]
    in_guest = bool(reasons) and has_late_hooks(built.build)
    hooks_place = prepare_tree(built.tree) if in_guest else ""
    assembled = _fill(built.tree, planned, raw, making)
    volumes = VolumeMounts(planned, finished=in_guest)
    with volumes.held(making.scratch):
        if in_guest:
            copies = {one.volume.mount or "/": one.directory for one in volumes.stand_ins}
            block_bytes = making.wishes.disk.block_size_bytes
            write_devices(built.build, places.image / IMAGE_FILE, device_names(planned))
            GuestPhases(
                _late_run(making, place, environment), planned, raw, block_bytes, making.scratch,
                hooks_place, reasons, copies,
            ).run_all()  # fmt: skip
        with volumes.attached(
            raw, final, built.tree, block_bytes=making.wishes.disk.block_size_bytes
        ) as disk:
            if not in_guest:
                write_devices(built.build, places.image / IMAGE_FILE, disk.names)
                environment |= {
                    "IMAGE_BLOCK_DEVICE": disk.device, "IMAGE_BLOCK_DEVICES": disk.as_bash_array,
                }  # fmt: skip
                place = LatePlace(places, built.build, image_directory, final)
                _late_run(making, place, environment).run()
            tidy(final)
            if on_final_tree is not None:
                on_final_tree(final)
            for told in trim(disk):
                making.line("stdout", told)
        fill_stand_ins(
            raw, planned, () if in_guest else volumes.stand_ins, identity=making.identity,
            epoch_s=making.epoch_s, scratch=making.scratch,
        )  # fmt: skip
    return RawDisk(raw, assembled)


def _late_run(making: _Making, place: LatePlace, environment: Mapping[str, str]) -> LateRun:
    around = HookSurroundings(making.description, making.setup, making.places)
    shell = BreakShell(making.emitter, making.terminal, making.description.environment)
    return LateRun(around, place, environment, making.emitter, shell)


def _plan(tree: Path, making: _Making) -> DiskPlan:
    wishes = making.wishes
    make_mount_points(tree, wishes.mount_points)
    usage = measure(tree, [point for point in wishes.mount_points if point.startswith("/")])
    if wishes.report_usage:
        for line in usage_report(tree, everything=wishes.report_all):
            making.line("stdout", line)
    planned = plan_disk(wishes, usage)
    making.emitter.say(f"The disk has {format_size(planned.size_bytes)}")
    return planned


def write_fstab(tree: Path, text: str) -> None:
    """Write the lines of the file systems in place of the tree's own fstab."""
    (tree / "etc").mkdir(exist_ok=True)
    place = confined(tree, "/etc/fstab")
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o644)


def _fill(tree: Path, planned: DiskPlan, raw: Path, making: _Making) -> AssembledImage:
    """Fill every file system, offline where a tool can, in the guest what this kernel cannot."""
    layout, scratch = planned.layout, making.scratch
    with (
        split_contents(tree, sorted(layout.by_mount()), scratch) as contents,
        packed_trees(
            layout, contents, identity=making.identity, epoch_s=making.epoch_s, scratch=scratch,
            on_file=making.emitter.progress,
        ) as packed,
    ):  # fmt: skip
        guest = None
        if needs_guest(layout):
            guest = DiskGuest(scratch, on_line=making.line, report=making.emitter.say)
        return assemble(
            planned, contents, raw, identity=making.identity, epoch_s=making.epoch_s,
            scratch=scratch, packed_files=packed.files, on_stage=making.emitter.progress,
            guest=guest, is_kept=False,
        )  # fmt: skip


def disk_tools(wishes: DiskWishes) -> list[str]:
    """The programs of this host that making the disk will run."""
    layout = wishes.layout(1 << 40)
    return sorted({*required_tools(layout), "partx", "fstrim", "nsenter", "chroot", "mount",
                   "umount"})  # fmt: skip
