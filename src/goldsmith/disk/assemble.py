"""An image from a plan and its trees: no loop device, no mount, no root where it can be.

One path: a sparse file, the partition table, each file system filled in its place, the boot
loader. `ways` says how each part is made. The same plan, trees, identity and time give the same
bytes, unless there is a btrfs or xfs among them (see `filesystems.btrfs` and `attached`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.disk import attached, partition_table
from goldsmith.disk.bootloader import grub
from goldsmith.disk.disk_plan import DiskPlan, PlannedPartition
from goldsmith.disk.filesystems import btrfs, ext4, host_tools, packed, swap, vfat
from goldsmith.disk.filesystems.stretch import Stretch, copy_into
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import FileSystem
from goldsmith.disk.ways import require_no_guest, ways
from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.process import get_tool
from goldsmith.host.sparse import create_sparse, full_file_system_named

SECTOR_BYTES: Final = 512

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
class AssembledImage:
    """A finished raw image; `disk_uuid` is the table's GUID, an MBR's identifier or ""."""

    path: Path
    size_bytes: int
    disk_uuid: str
    partitions: tuple[AssembledPartition, ...]


def required_tools(plan: DiskPlan) -> list[str]:
    """The programs of the build host that `assemble` will run."""
    types = [v.filesystem.type for v in plan.volumes() if v.filesystem]
    return [*(["sfdisk"] if plan.label != "none" else []), *host_tools(types)]


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
) -> AssembledImage:
    """Write a raw image to a new file, fsynced.

    `trees` has, per mount point, the directory to fill its file system from; one that holds the
    contents of another mount point too is the caller's mistake (bind an empty directory over it).
    A mount point that is not listed stays empty. `packed_files` has, by mount point, compressed
    file systems that `packed.write_file` has made already. `scratch` is a directory for file
    systems that need a file of their own, by default the image's. Raises FileExistsError when
    `image` is there, HostError when something needs the guest, LayoutError when files do not fit,
    NoSpaceError when the host's file system is full; an image that was begun is removed then.
    """
    _require(plan, trees)
    stages: list[tuple[str, Callable[[], None]]] = []
    if plan.label != "none":
        stages.append(
            ("partition table", lambda: partition_table.write_table(image, plan, identity))
        )
    filler = _Filler(trees, image, identity, epoch_s, clamp_mtimes, boot_loader,
                     packed_files or {}, scratch or image.absolute().parent)  # fmt: skip
    for planned in plan.partitions:
        filesystem = planned.partition.filesystem
        if filesystem is not None:
            fill = filler.filling(planned, filesystem)
            stages.append((f"{filesystem.type} {planned.name}", fill))
    if boot_loader is not None and boot_loader.core_img is not None:
        stages.append(("boot loader", lambda: _write_bios_boot(plan, image, boot_loader)))
    create_sparse(image, plan.size_bytes)
    try:
        for number, (name, stage) in enumerate(stages):
            if on_stage is not None:
                on_stage(name, number, len(stages))
            stage()
        _sync(image, plan.size_bytes)
    except BaseException:
        image.unlink(missing_ok=True)
        raise
    partitions = tuple(_describe(planned, identity, plan.label) for planned in plan.partitions)
    return AssembledImage(image, plan.size_bytes, identity.table_id(plan.label), partitions)


def _require(plan: DiskPlan, trees: Mapping[str, Path]) -> None:
    """Refuse what cannot work before anything is written."""
    require_no_guest(plan.layout, ways(plan.layout))
    for tool in required_tools(plan):
        get_tool(tool)
    if plan.sector_bytes != SECTOR_BYTES:
        raise GoldsmithError(f"sectors of {plan.sector_bytes} bytes are not available in goldsmith")
    unknown = sorted(set(trees) - set(plan.by_mount()))
    if unknown:
        raise GoldsmithError(f"the layout has no partition mounted at {', '.join(unknown)}")
    for mount, tree in trees.items():
        if not tree.is_dir():
            raise GoldsmithError(f"there is no directory {tree} to fill {mount} from")


@dataclass(frozen=True, slots=True)
class _Filler:
    """Makes and fills the file systems of one image."""

    trees: Mapping[str, Path]
    image: Path
    identity: DiskIdentity
    epoch_s: int
    clamp_mtimes: bool
    boot_loader: grub.BootLoader | None
    packed_files: Mapping[str, Path]
    scratch: Path

    def filling(self, planned: PlannedPartition, filesystem: FileSystem) -> Callable[[], None]:
        """The function that makes one file system."""
        fill = {
            "ext2": self._fill_ext, "ext3": self._fill_ext, "ext4": self._fill_ext,
            "vfat": self._fill_vfat, "btrfs": self._fill_btrfs, "xfs": self._fill_attached,
            "squashfs": self._fill_packed, "erofs": self._fill_packed, "swap": self._make_swap,
        }[filesystem.type]  # fmt: skip
        return partial(fill, planned, filesystem)

    def _tree(self, planned: PlannedPartition) -> Path | None:
        mount = planned.partition.mount
        return None if mount is None else self.trees.get(mount)

    def _stretch(self, planned: PlannedPartition) -> Stretch:
        return Stretch(self.image, planned.offset_bytes, planned.size_bytes)

    def _uuid(self, planned: PlannedPartition, filesystem: FileSystem) -> str:
        return self.identity.filesystem_uuid(planned.name, filesystem.type)

    def _fill_ext(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        spec = ext4.Ext4(
            uuid=self._uuid(planned, filesystem),
            hash_seed=self.identity.hash_seed(planned.name),
            inodes=planned.inodes or 0,
            label=filesystem.label,
            options=filesystem.options,
            type=filesystem.type,
        )
        ext4.make(self._stretch(planned), spec, self._tree(planned),
                  epoch_s=self.epoch_s, clamp_mtimes=self.clamp_mtimes)  # fmt: skip

    def _fill_btrfs(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        spec = btrfs.Btrfs(self._uuid(planned, filesystem), filesystem.label, filesystem.options)
        btrfs.make(self._stretch(planned), spec, self._tree(planned),
                   epoch_s=self.epoch_s, scratch=self.scratch)  # fmt: skip

    def _fill_attached(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        spec = attached.Attached(
            filesystem.type, self._uuid(planned, filesystem), filesystem.label, filesystem.options
        )
        attached.make(self._stretch(planned), spec, self._tree(planned),
                      epoch_s=self.epoch_s, clamp_mtimes=self.clamp_mtimes)  # fmt: skip

    def _fill_packed(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        finished = self.packed_files.get(planned.mount or "")
        if finished is not None:
            copy_into(finished, self._stretch(planned), filesystem.type)
            return
        spec = packed.Packed(filesystem.type, self._uuid(planned, filesystem), filesystem.options)
        packed.make(self._stretch(planned), spec, self._tree(planned), epoch_s=self.epoch_s,
                    clamp_mtimes=self.clamp_mtimes, scratch=self.scratch)  # fmt: skip

    def _make_swap(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        swap.make(self._stretch(planned), self._uuid(planned, filesystem), filesystem.label,
                  filesystem.options, scratch=self.scratch)  # fmt: skip

    def _fill_vfat(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        serial = self.identity.vfat_serial(planned.name)
        spec = vfat.Vfat(serial, filesystem.label, filesystem.options)
        tree = self._tree(planned)
        contents = {} if tree is None else vfat.read_tree(tree)
        is_esp = planned.partition.type == "esp"
        efi = self.boot_loader.efi if self.boot_loader is not None and is_esp else None
        with tempfile.TemporaryDirectory(prefix="goldsmith-efi-", dir=self.scratch) as directory:
            if efi is not None:
                loader = Path(directory, grub.EFI_PATH.name)
                loader.write_bytes(efi)
                contents[_existing_name(contents, grub.EFI_PATH)] = loader
            vfat.make(self._stretch(planned), spec, contents, epoch_s=self.epoch_s)


def _existing_name(contents: vfat.Contents, wanted: PurePosixPath) -> PurePosixPath:
    """A path as the tree spells it (efi/boot), so that vfat does not get it twice."""
    name = PurePosixPath()
    for part in wanted.parts:
        spelled = (p for p in contents if p.parent == name and p.name.lower() == part.lower())
        name = next(spelled, name / part)
    return name


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


def _sync(image: Path, size_bytes: int) -> None:
    with full_file_system_named(image), open(image, "r+b", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != size_bytes:
            raise GoldsmithError(f"{image} has changed its size while it was filled")
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
        filesystem_uuid=identity.filesystem_uuid(planned.name, filesystem.type)
        if filesystem and filesystem.type != "squashfs"
        else None,
        filesystem_label=filesystem.label if filesystem else None,
        mount=partition.mount,
    )
