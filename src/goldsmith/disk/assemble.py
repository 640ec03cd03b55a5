"""An image from a plan and its trees, offline: no loop device, no mount, no root.

One path: a sparse file, the partition table, each file system filled in its place, the boot
loader. The same plan, trees, identity and time give the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.disk import partition_table
from goldsmith.disk.bootloader import grub
from goldsmith.disk.filesystems import ext4, host_tools, vfat
from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.disk.identity import DiskIdentity
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
    for planned in plan.partitions:
        if planned.partition.filesystem is not None:
            stages.append(
                (
                    f"{planned.partition.filesystem.type} {planned.name}",
                    _filling(planned, trees, image, identity=identity, epoch_s=epoch_s,
                             boot_loader=boot_loader, clamp_mtimes=clamp_mtimes),
                )
            )  # fmt: skip
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


def _filling(
    planned: PlannedPartition,
    trees: Mapping[str, Path],
    image: Path,
    *,
    identity: DiskIdentity,
    epoch_s: int,
    boot_loader: grub.BootLoader | None,
    clamp_mtimes: bool,
) -> Callable[[], None]:
    """The function that makes and fills one file system."""
    partition = planned.partition
    filesystem = partition.filesystem
    tree = trees.get(partition.mount) if partition.mount is not None else None
    stretch = Stretch(image, planned.offset_bytes, planned.size_bytes)

    def fill_ext4() -> None:
        assert filesystem is not None  # noqa: S101 (for the type checker)
        spec = ext4.Ext4(
            identity.filesystem_uuid(planned.name, "ext4"), identity.hash_seed(planned.name),
            planned.inodes or 0, filesystem.label, filesystem.options,
        )  # fmt: skip
        ext4.make(stretch, spec, tree, epoch_s=epoch_s, clamp_mtimes=clamp_mtimes)

    def fill_vfat() -> None:
        assert filesystem is not None  # noqa: S101 (for the type checker)
        spec = vfat.Vfat(identity.vfat_serial(planned.name), filesystem.label, filesystem.options)
        contents = vfat.read_tree(tree) if tree is not None else {}
        efi = boot_loader.efi if boot_loader is not None and partition.type == "esp" else None
        with tempfile.TemporaryDirectory(prefix="goldsmith-efi-") as directory:
            if efi is not None:
                loader = Path(directory, grub.EFI_PATH.name)
                loader.write_bytes(efi)
                contents[_existing_name(contents, grub.EFI_PATH)] = loader
            vfat.make(stretch, spec, contents, epoch_s=epoch_s)

    return {"ext4": fill_ext4, "vfat": fill_vfat}[filesystem.type if filesystem else "ext4"]


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
