"""Fills the file systems of a disk, each in a stretch of a file: the image, or one of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from goldsmith.disk import attached
from goldsmith.disk.bootloader import grub
from goldsmith.disk.disk_plan import PlannedPartition, PlannedVolume
from goldsmith.disk.filesystems import btrfs, ext4, packed, swap, vfat
from goldsmith.disk.filesystems.stretch import Stretch, copy_into
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import FileSystem


@dataclass(frozen=True, slots=True)
class Filler:
    """Makes and fills the file systems of one image.

    `scratch` is for those that need a file of their own; `trees` and `packed_files` have, by mount
    point, what `assemble` was given.
    """

    trees: Mapping[str, Path]
    identity: DiskIdentity
    epoch_s: int
    clamp_mtimes: bool
    boot_loader: grub.BootLoader | None
    packed_files: Mapping[str, Path]
    scratch: Path

    def fill(self, planned: PlannedVolume, stretch: Stretch) -> None:
        """Make a volume's file system in a stretch of a file that is a hole there.

        Raises LayoutError when its files do not fit.
        """
        filesystem = planned.filesystem
        if filesystem is None:
            return
        fill = {
            "ext2": self._fill_ext, "ext3": self._fill_ext, "ext4": self._fill_ext,
            "vfat": self._fill_vfat, "btrfs": self._fill_btrfs, "xfs": self._fill_attached,
            "squashfs": self._fill_packed, "erofs": self._fill_packed, "swap": self._make_swap,
        }[filesystem.type]  # fmt: skip
        fill(planned, filesystem, stretch)

    def tree(self, planned: PlannedVolume) -> Path | None:
        """The directory that a volume is filled from; None: it stays empty."""
        return None if planned.mount is None else self.trees.get(planned.mount)

    def attached(self, planned: PlannedVolume, filesystem: FileSystem) -> attached.Attached:
        """What is told to the driver's own tools."""
        return attached.Attached(
            filesystem.type, self._uuid(planned, filesystem), filesystem.label, filesystem.options
        )

    def _uuid(self, planned: PlannedVolume, filesystem: FileSystem) -> str:
        return filesystem.uuid or self.identity.filesystem_uuid(planned.name, filesystem.type)

    def _fill_ext(self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch) -> None:
        spec = ext4.Ext4(
            uuid=self._uuid(planned, filesystem),
            hash_seed=self.identity.hash_seed(planned.name),
            inodes=planned.inodes or 0,
            label=filesystem.label,
            options=filesystem.options,
            type=filesystem.type,
            journal_mib=filesystem.journal_mib,
        )
        ext4.make(stretch, spec, self.tree(planned),
                  epoch_s=self.epoch_s, clamp_mtimes=self.clamp_mtimes)  # fmt: skip

    def _fill_btrfs(self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch) -> None:
        spec = btrfs.Btrfs(self._uuid(planned, filesystem), filesystem.label, filesystem.options)
        btrfs.make(stretch, spec, self.tree(planned),
                   epoch_s=self.epoch_s, scratch=self.scratch)  # fmt: skip

    def _fill_attached(
        self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch
    ) -> None:
        spec = self.attached(planned, filesystem)
        attached.make(stretch, spec, self.tree(planned),
                      epoch_s=self.epoch_s, clamp_mtimes=self.clamp_mtimes)  # fmt: skip

    def _fill_packed(
        self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch
    ) -> None:
        finished = self.packed_files.get(planned.mount or "")
        if finished is not None:
            copy_into(finished, stretch, filesystem.type)
            return
        spec = packed.Packed(filesystem.type, self._uuid(planned, filesystem), filesystem.options)
        packed.make(stretch, spec, self.tree(planned), epoch_s=self.epoch_s,
                    clamp_mtimes=self.clamp_mtimes, scratch=self.scratch)  # fmt: skip

    def _make_swap(self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch) -> None:
        swap.make(stretch, self._uuid(planned, filesystem), filesystem.label,
                  filesystem.options, scratch=self.scratch)  # fmt: skip

    def _fill_vfat(self, planned: PlannedVolume, filesystem: FileSystem, stretch: Stretch) -> None:
        serial = self.identity.vfat_serial(planned.name)
        sector_bytes = planned.sector_bytes if isinstance(planned, PlannedPartition) else 512
        spec = vfat.Vfat(serial, filesystem.label, filesystem.options, sector_bytes)
        tree = self.tree(planned)
        contents = {} if tree is None else vfat.read_tree(tree)
        is_esp = isinstance(planned, PlannedPartition) and planned.partition.type == "esp"
        efi = self.boot_loader.efi if self.boot_loader is not None and is_esp else None
        with tempfile.TemporaryDirectory(prefix="goldsmith-efi-", dir=self.scratch) as directory:
            if efi is not None:
                loader = Path(directory, grub.EFI_PATH.name)
                loader.write_bytes(efi)
                contents[_existing_name(contents, grub.EFI_PATH)] = loader
            vfat.make(stretch, spec, contents, epoch_s=self.epoch_s)


def _existing_name(contents: vfat.Contents, wanted: PurePosixPath) -> PurePosixPath:
    """A path as the tree spells it (efi/boot), so that vfat does not get it twice."""
    name = PurePosixPath()
    for part in wanted.parts:
        spelled = (p for p in contents if p.parent == name and p.name.lower() == part.lower())
        name = next(spelled, name / part)
    return name
