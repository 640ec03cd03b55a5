"""An image from a plan and its trees, offline: no loop device, no mount, no root.

One path: a sparse file, the partition table, each file system filled in its place, the boot
loader. The same plan, trees, identity and time give the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.disk import partition_table
from goldsmith.disk.bootloader import grub
from goldsmith.disk.filesystems import ext4, host_tools, vfat
from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import FileSystem
from goldsmith.disk.planner import DiskPlan, PlannedPartition
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import get_tool
from goldsmith.host.sparse import create_sparse, full_file_system_named

SECTOR_BYTES: Final = 512

OnStage = Callable[[str, int, int], None]
"""Called with what is done next, its number from 0 and the number of all stages."""


@dataclass(frozen=True, slots=True)
class AssembledPartition:
    """A partition as it lies in the image; `filesystem_uuid` as blkid writes it."""

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
    """A finished raw image."""

    path: Path
    size_bytes: int
    disk_uuid: str
    partitions: tuple[AssembledPartition, ...]


def required_tools(plan: DiskPlan) -> list[str]:
    """The programs of the build host that `assemble` will run."""
    types = [p.partition.filesystem.type for p in plan.partitions if p.partition.filesystem]
    return ["sfdisk", *host_tools(types)]


def assemble(
    plan: DiskPlan,
    trees: Mapping[str, Path],
    image: Path,
    *,
    identity: DiskIdentity,
    epoch_s: int,
    boot_loader: grub.BootLoader | None = None,
    clamp_mtimes: bool = True,
    on_stage: OnStage | None = None,
) -> AssembledImage:
    """Write a raw image to a new file, fsynced.

    `trees` has, per mount point, the directory to fill its file system from; one that holds the
    contents of another mount point too is the caller's mistake (bind an empty directory over it).
    A mount point that is not listed stays empty. `boot_loader` comes from `seal`. Raises
    FileExistsError when `image` is there, LayoutError when files do not fit, NoSpaceError when the
    host's file system is full; an image that was begun is removed then.
    """
    _require(plan, trees)
    stages: list[tuple[str, Callable[[], None]]] = [
        ("partition table", lambda: partition_table.write_table(image, plan, identity))
    ]
    filler = _Filler(trees, image, identity, epoch_s, clamp_mtimes, boot_loader)
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
    partitions = tuple(_describe(planned, identity) for planned in plan.partitions)
    return AssembledImage(image, plan.size_bytes, identity.disk_uuid, partitions)


def _require(plan: DiskPlan, trees: Mapping[str, Path]) -> None:
    """Refuse what cannot work before anything is written."""
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

    def filling(self, planned: PlannedPartition, filesystem: FileSystem) -> Callable[[], None]:
        """The function that makes one file system."""
        fill = {"ext4": self._fill_ext4, "vfat": self._fill_vfat}[filesystem.type]
        return partial(fill, planned, filesystem)

    def _tree(self, planned: PlannedPartition) -> Path | None:
        mount = planned.partition.mount
        return None if mount is None else self.trees.get(mount)

    def _stretch(self, planned: PlannedPartition) -> Stretch:
        return Stretch(self.image, planned.offset_bytes, planned.size_bytes)

    def _fill_ext4(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        spec = ext4.Ext4(
            uuid=self.identity.filesystem_uuid(planned.name, "ext4"),
            hash_seed=self.identity.hash_seed(planned.name),
            inodes=planned.inodes or 0,
            label=filesystem.label,
            options=filesystem.options,
        )
        ext4.make(self._stretch(planned), spec, self._tree(planned),
                  epoch_s=self.epoch_s, clamp_mtimes=self.clamp_mtimes)  # fmt: skip

    def _fill_vfat(self, planned: PlannedPartition, filesystem: FileSystem) -> None:
        serial = self.identity.vfat_serial(planned.name)
        spec = vfat.Vfat(serial, filesystem.label, filesystem.options)
        tree = self._tree(planned)
        contents = {} if tree is None else vfat.read_tree(tree)
        is_esp = planned.partition.type == "esp"
        efi = self.boot_loader.efi if self.boot_loader is not None and is_esp else None
        with tempfile.TemporaryDirectory(prefix="goldsmith-efi-") as directory:
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
    planned = plan.of_type("bios-boot")
    if planned is None:
        raise GoldsmithError("the layout has no bios-boot partition for GRUB's core image")
    grub.write_bios_boot(image, boot_loader, lba=planned.start_sector, sectors=planned.size_sectors)


def _sync(image: Path, size_bytes: int) -> None:
    with full_file_system_named(image), open(image, "r+b", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != size_bytes:
            raise GoldsmithError(f"{image} has changed its size while it was filled")
        os.fsync(stream.fileno())


def _describe(planned: PlannedPartition, identity: DiskIdentity) -> AssembledPartition:
    partition, filesystem = planned.partition, planned.partition.filesystem
    return AssembledPartition(
        number=planned.number,
        name=planned.name,
        type=partition.type,
        offset_bytes=planned.offset_bytes,
        size_bytes=planned.size_bytes,
        partition_uuid=identity.partition_uuid(planned.name),
        filesystem=filesystem.type if filesystem else None,
        filesystem_uuid=identity.filesystem_uuid(planned.name, filesystem.type)
        if filesystem
        else None,
        filesystem_label=filesystem.label if filesystem else None,
        mount=partition.mount,
    )
