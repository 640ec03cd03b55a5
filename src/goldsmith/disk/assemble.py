"""An image from a plan and its trees: no loop device, no mount, no root where it can be.

One path: a sparse file, the partition table, arrays and volume groups in the guest, each file
system filled in its place, the boot loader. `ways` says how each part is made. The same plan,
trees, identity and time give the same bytes, unless there is a btrfs or xfs among them (see
`filesystems.btrfs` and `attached`) or a volume group on a striped array (see `guest_assembly`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from goldsmith.disk import attached, guest_assembly, partition_table
from goldsmith.disk.bootloader import grub
from goldsmith.disk.disk_plan import (
    DiskPlan,
    PlannedArray,
    PlannedLogicalVolume,
    PlannedPartition,
    PlannedVolume,
)
from goldsmith.disk.filesystems import host_tools
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.filling import Filler
from goldsmith.disk.guest_archive import write_archive
from goldsmith.disk.guest_assembly import Guest, GuestFill
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout
from goldsmith.disk.volume_places import Pieces, places
from goldsmith.disk.ways import filled_in_guest, require_no_guest, ways
from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.process import get_tool
from goldsmith.host.sparse import copy_extents, create_sparse, full_file_system_named

SECTOR_BYTES: Final = 512
SECTOR_SIZES: Final = (SECTOR_BYTES, 4096)
"""What disks can have; boot loaders are written to those of the first size alone."""

OnStage = Callable[[str, int, int], None]
"""Called with what is done next, its number from 0 and the number of all stages."""


@dataclass(frozen=True, slots=True)
class AssembledPartition:
    """A partition as it lies in the image; both identifiers as blkid writes them.

    `partition_uuid` is "" on a disk without a table, `filesystem_uuid` None for squashfs.
    """

    number: int
    name: str
    type: str
    offset_bytes: int
    size_bytes: int
    partition_uuid: str
    filesystem: str | None
    filesystem_uuid: str | None
    filesystem_label: str | None
    mount: str | None


@dataclass(frozen=True, slots=True)
class AssembledVolume:
    """An array or a logical volume; `uuid` is an array's without punctuation, or as LVM has it."""

    name: str
    kind: Literal["raid", "logical_volume"]
    size_bytes: int
    uuid: str
    filesystem: str | None
    filesystem_uuid: str | None
    filesystem_label: str | None
    mount: str | None


@dataclass(frozen=True, slots=True)
class AssembledImage:
    """A finished raw image; `disk_uuid` is the table's GUID, an MBR's identifier or ""."""

    path: Path
    size_bytes: int
    disk_uuid: str
    partitions: tuple[AssembledPartition, ...]
    volumes: tuple[AssembledVolume, ...] = ()


def required_tools(layout: Layout) -> list[str]:
    """The programs of the build host that `assemble` will run."""
    in_guest = filled_in_guest(layout)
    types = [v.filesystem.type for v in layout.volumes() if v.filesystem and v.name not in in_guest]
    return [*(["sfdisk"] if layout.label != "none" else []), *host_tools(types),
            *(["tar"] if in_guest else [])]  # fmt: skip


def assemble(
    plan: DiskPlan,
    trees: Mapping[str, Path],
    image: Path,
    *,
    identity: DiskIdentity,
    epoch_s: int,
    boot_loader: grub.BootLoader | None = None,
    clamp_mtimes: bool = True,
    packed_files: Mapping[str, Path] | None = None,
    scratch: Path | None = None,
    on_stage: OnStage | None = None,
    guest: Guest | None = None,
    is_kept: bool = True,
) -> AssembledImage:
    """Write a raw image to a new file, fsynced unless it is made into something else (`is_kept`).

    `trees` has, per mount point, the directory to fill its file system from; one that holds the
    contents of another mount point too is the caller's mistake (bind an empty directory over it).
    A mount point that is not listed stays empty. `packed_files` has, by mount point, compressed
    file systems that `packed.write_file` has made already. `scratch` is a directory for file
    systems that need a file of their own, by default the image's. Raises FileExistsError when
    `image` is there, HostError when something needs the guest and none is given, LayoutError when
    files do not fit, NoSpaceError when the host's file system is full, GoldsmithError when the
    guest fails; an image that was begun is removed then.
    """
    _require(plan, trees, guest)
    scratch = scratch or image.absolute().parent
    filler = Filler(
        trees, identity, epoch_s, clamp_mtimes, boot_loader, packed_files or {}, scratch
    )
    with ExitStack() as stack:
        assembly = _Assembly(plan, image, filler, guest, places(plan), filled_in_guest(plan.layout))
        stages = list(assembly.stages(stack))
        create_sparse(image, plan.size_bytes)
        try:
            for number, (name, stage) in enumerate(stages):
                if on_stage is not None:
                    on_stage(name, number, len(stages))
                stage()
            _finish(image, plan.size_bytes, is_kept=is_kept)
        except BaseException:
            image.unlink(missing_ok=True)
            raise
    partitions = tuple(_describe(planned, identity, plan.label) for planned in plan.partitions)
    return AssembledImage(image, plan.size_bytes, identity.table_id(plan.label), partitions,
                          tuple(_describe_volumes(plan, identity)))  # fmt: skip


def _require(plan: DiskPlan, trees: Mapping[str, Path], guest: Guest | None) -> None:
    """Refuse what cannot work before anything is written."""
    if guest is None:
        require_no_guest(plan.layout, ways(plan.layout))
    for tool in required_tools(plan.layout):
        get_tool(tool)
    if plan.sector_bytes not in SECTOR_SIZES:
        raise GoldsmithError(f"sectors of {plan.sector_bytes} bytes are not available in goldsmith")
    unknown = sorted(set(trees) - set(plan.by_mount()))
    if unknown:
        raise GoldsmithError(f"the layout has no partition mounted at {', '.join(unknown)}")
    for mount, tree in trees.items():
        if not tree.is_dir():
            raise GoldsmithError(f"there is no directory {tree} to fill {mount} from")


Stage = tuple[str, Callable[[], None]]


@dataclass(frozen=True, slots=True)
class _Assembly:
    """The stages of one image: what each volume is filled by depends on where it lies."""

    plan: DiskPlan
    image: Path
    filler: Filler
    guest: Guest | None
    places: Mapping[str, Pieces | None]
    in_guest: frozenset[str]

    def stages(self, stack: ExitStack) -> Iterator[Stage]:
        """What is done, in order; directories that it needs go with the stack."""
        plan, loader = self.plan, self.filler.boot_loader
        if plan.label != "none":
            yield "partition table", self._write_table
        volumes = [v for v in plan.volumes() if v.filesystem is not None]
        copied = [v for v in volumes if v.name not in self.in_guest and not self.places[v.name]]
        written = [v for v in volumes if v.name in self.in_guest]
        if self.guest is not None and (plan.arrays or plan.groups or written):
            held = Path(stack.enter_context(tempfile.TemporaryDirectory(
                prefix="goldsmith-guest-", dir=self.filler.scratch)))  # fmt: skip
            fills = [GuestFill(v, content=held / f"content-{n}") for n, v in enumerate(copied)]
            for fill in fills:
                yield _title(fill.volume), partial(self._make_content, fill)
            fills += [self._fill_by_driver(v, held / f"tree-{n}") for n, v in enumerate(written)]
            yield "guest", partial(self._run_guest, self.guest, fills)
        for volume in volumes:
            pieces = self.places[volume.name]
            if volume.name not in self.in_guest and pieces:
                yield _title(volume), partial(self._fill_in_place, volume, pieces)
        if loader is not None and loader.core_img is not None:
            yield "boot loader", partial(_write_bios_boot, plan, self.image, loader)

    def _write_table(self) -> None:
        partition_table.write_table(self.image, self.plan, self.filler.identity)

    def _make_content(self, fill: GuestFill) -> None:
        """Make a file system in a file of its own, for the guest to copy."""
        if fill.content is not None:
            create_sparse(fill.content, fill.volume.size_bytes)
            self.filler.fill(fill.volume, Stretch(fill.content, 0, fill.volume.size_bytes))

    def _fill_by_driver(self, volume: PlannedVolume, archive: Path) -> GuestFill:
        assert volume.filesystem is not None
        device = guest_assembly.devices(self.plan)[volume.name]
        spec = self.filler.attached(volume, volume.filesystem)
        words = attached.mkfs_words(spec, device, volume.size_bytes)
        has_files = self.filler.tree(volume) is not None
        return GuestFill(volume, mkfs=tuple(words), archive=archive if has_files else None)

    def _run_guest(self, guest: Guest, fills: list[GuestFill]) -> None:
        identity, epoch_s = self.filler.identity, self.filler.epoch_s
        for fill in fills:
            tree = self.filler.tree(fill.volume)
            if fill.archive is not None and tree is not None:
                write_archive(
                    tree, fill.archive, epoch_s=epoch_s, clamp_mtimes=self.filler.clamp_mtimes
                )
        job = guest_assembly.make_job(
            self.plan, fills, self.image, identity=identity, epoch_s=epoch_s
        )
        guest_assembly.run_job(guest, job)
        for fill in fills:
            if fill.input is not None:
                fill.input.unlink()
        guest_assembly.settle(
            self.plan, self.places, self.image, identity=identity, epoch_s=epoch_s
        )

    def _fill_in_place(self, volume: PlannedVolume, pieces: Pieces) -> None:
        """Fill a volume where it lies, every mirror of it alike."""
        if len(pieces) == 1:
            first = pieces[0]
            self.filler.fill(volume, Stretch(self.image, first.offsets[0], first.size_bytes))
            for offset in first.offsets[1:]:
                _copy(self.image, self.image, first.offsets[0], first.size_bytes, offset)
            return
        with tempfile.TemporaryDirectory(prefix="goldsmith-", dir=self.filler.scratch) as directory:
            content, at = Path(directory, "content"), 0
            create_sparse(content, volume.size_bytes)
            self.filler.fill(volume, Stretch(content, 0, volume.size_bytes))
            for piece in pieces:
                for offset in piece.offsets:
                    _copy(content, self.image, at, piece.size_bytes, offset)
                at += piece.size_bytes


def _title(volume: PlannedVolume) -> str:
    kind = volume.filesystem.type if volume.filesystem is not None else "nothing"
    return f"{kind} {volume.name}"


def _copy(source: Path, target: Path, at: int, size_bytes: int, target_at: int) -> None:
    with (
        full_file_system_named(target),
        open(source, "rb") as reading,
        open(target, "r+b", buffering=0) as writing,
    ):
        copy_extents(reading.fileno(), writing.fileno(), source_offset=at, length=size_bytes,
                     target_offset=target_at)  # fmt: skip


def _write_bios_boot(plan: DiskPlan, image: Path, boot_loader: grub.BootLoader) -> None:
    """GRUB's core image: in its own partition on a gpt disk, before the first one on an mbr."""
    planned = plan.of_type("bios-boot")
    if planned is not None:
        grub.write_bios_boot(
            image, boot_loader, lba=planned.start_sector, sectors=planned.size_sectors
        )
        return
    if plan.label != "mbr":
        raise GoldsmithError("the layout has no bios-boot partition for GRUB's core image")
    starts = [p.start_sector for p in (*plan.partitions, plan.extended) if p is not None]
    gap = min(starts) - 1
    core = -(-len(boot_loader.core_img or b"") // SECTOR_BYTES)
    if core > gap:
        raise LayoutError(
            [f"GRUB's core image needs {core} sectors, before the first partition there are {gap}"],
            hint='write label = "gpt" and add a partition of type "bios-boot"',
        )
    grub.write_bios_boot(image, boot_loader, lba=1, sectors=gap)


def _finish(image: Path, size_bytes: int, *, is_kept: bool) -> None:
    with full_file_system_named(image), open(image, "r+b", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != size_bytes:
            raise GoldsmithError(f"{image} has changed its size while it was filled")
        if is_kept:
            os.fsync(stream.fileno())


def _describe(planned: PlannedPartition, identity: DiskIdentity, label: str) -> AssembledPartition:
    partition, filesystem = planned.partition, planned.partition.filesystem
    return AssembledPartition(
        number=planned.number,
        name=planned.name,
        type=partition.type,
        offset_bytes=planned.offset_bytes,
        size_bytes=planned.size_bytes,
        partition_uuid=identity.part_uuid(label, planned.name, planned.number),
        filesystem=filesystem.type if filesystem else None,
        filesystem_uuid=filesystem.uuid or identity.filesystem_uuid(planned.name, filesystem.type)
        if filesystem and filesystem.type != "squashfs"
        else None,
        filesystem_label=filesystem.label if filesystem else None,
        mount=partition.mount,
    )


def _describe_volumes(plan: DiskPlan, identity: DiskIdentity) -> Iterator[AssembledVolume]:
    for volume in plan.volumes():
        kind: Literal["raid", "logical_volume"]
        if isinstance(volume, PlannedArray):
            kind, uuid = "raid", identity.array_uuid(volume.name).replace("-", "")
        elif isinstance(volume, PlannedLogicalVolume):
            kind, uuid = "logical_volume", identity.lvm_uuid("logical", volume.name)
        else:
            continue
        filesystem = volume.filesystem
        has_uuid = filesystem is not None and filesystem.type != "squashfs"
        yield AssembledVolume(
            volume.name, kind, volume.size_bytes, uuid,
            filesystem.type if filesystem else None,
            filesystem.uuid or identity.filesystem_uuid(volume.name, filesystem.type)
            if filesystem and has_uuid else None,
            filesystem.label if filesystem else None, volume.mount,
        )  # fmt: skip
