"""What provisioners changed goes into the new image: by its own file systems, and by mtools."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from goldsmith.builders.chroot.difference import compare
from goldsmith.builders.chroot.root import MountedImage
from goldsmith.builders.chroot.transfer import transfer
from goldsmith.core.step import StepContext
from goldsmith.disk.filesystems.vfat_files import put_back
from goldsmith.errors import GoldsmithError
from goldsmith.host import kernel
from goldsmith.host.process import find_tool, run


@dataclass(frozen=True, slots=True)
class ApplyStep:
    """Writes the difference between the source's tree and the finished one into the image."""

    before: Path
    after: Path
    mounted: MountedImage
    name: str = "apply"
    label: str = "Applying the changes to the new image"

    def run(self, context: StepContext) -> None:
        """Apply; raises GoldsmithError when a file system of the image is full."""
        found = compare(self.before, self.after, apart=tuple(self.mounted.offered))
        tree = self.mounted.tree
        transfer(found, self.after, tree, mount_points=self.mounted.mount_points)
        for point in ("", *self.mounted.mount_points):
            if point not in self.mounted.offered:
                _sync(tree / point)
                self._give_back(tree / point)
        removed, written = len(found.removed), len(found.files)
        context.emitter.say(f"{_files(written)} written, {_files(removed)} removed")

    def _give_back(self, place: Path) -> None:
        """Turn blocks that no file has into holes: they are not for those who get the image."""
        if find_tool("fstrim") is not None:
            # Some file systems cannot, and need not.
            run(["fstrim", str(place)], check=False)


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _sync(place: Path) -> None:
    """Write everything to the raw image; a host without room shows itself here."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.syncfs(fd)
    except OSError as e:
        if e.errno == errno.EIO:
            raise GoldsmithError(
                "a file system of the image could not be written",
                hint="the file system that holds the build may be full",
            ) from e
        raise
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class WriteBackStep:
    """Puts back what provisioners changed in file systems that are not mounted."""

    before: Path
    after: Path
    mounted: MountedImage
    name: str = "write-back"
    label: str = "Writing back the files of vfat"

    def run(self, context: StepContext) -> None:
        """Write by mtools; raises GoldsmithError for what vfat cannot hold, and when it is full."""
        for point, stretch in self.mounted.offered.items():
            count = put_back(
                stretch, self.before / point, self.after / point, epoch_s=context.epoch_s
            )
            if count:
                context.emitter.say(f"/{point}: {_files(count)} changed")
