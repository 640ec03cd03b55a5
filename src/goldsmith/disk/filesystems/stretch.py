"""A part of an image file, and how a file system that needs a file of its own gets into it.

Debian 12's mkfs.btrfs and mkfs.erofs have no offset, and mksquashfs cuts the file that it writes
to: such a file system is made in a sparse file beside the image and copied by its extents.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.sparse import copy_extents, full_file_system_named, punch_zeros
from goldsmith.units import format_size


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an image file, both numbers multiples of 4096."""

    image: Path
    offset_bytes: int
    size_bytes: int

    @property
    def tool_name(self) -> str:
        """The file as e2fsprogs' tools, run in its directory, are told it.

        Raises GoldsmithError for a name that they would cut at its question mark.
        """
        if "?" in self.image.name or self.image.name.startswith("-"):
            raise GoldsmithError(f"{self.image.name!r} cannot be the name of an image being made")
        return f"{self.image.name}?offset={self.offset_bytes}"


@contextmanager
def own_file(stretch: Stretch, kind: str, *, scratch: Path, sized: bool) -> Iterator[Path]:
    """A file to make a file system in, copied into the stretch when the block ends well.

    `scratch` is a directory for it, best on the image's file system. `sized`: it is as long as the
    stretch from the start, with no data. Raises LayoutError when what was made is longer.
    """
    with tempfile.TemporaryDirectory(prefix="goldsmith-", dir=scratch) as directory:
        path = Path(directory, kind)
        with full_file_system_named(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, stretch.size_bytes if sized else 0)
            finally:
                os.close(fd)
            yield path
            # mkfs.btrfs writes the holes of files as zeros.
            punch_zeros(path)
        copy_into(path, stretch, kind)


def copy_into(source: Path, stretch: Stretch, kind: str) -> None:
    """Copy a file system's own file into its stretch by extents; raises LayoutError if too long."""
    size_bytes = source.stat().st_size
    if size_bytes > stretch.size_bytes:
        raise LayoutError(
            [f"the {kind} of {format_size(size_bytes)} is larger than its "
             f"{format_size(stretch.size_bytes)}"],
            hint='make the partition larger, or write size = "auto"',
        )  # fmt: skip
    with (
        full_file_system_named(stretch.image),
        open(source, "rb") as reading,
        open(stretch.image, "r+b", buffering=0) as writing,
    ):
        copy_extents(reading.fileno(), writing.fileno(), target_offset=stretch.offset_bytes)
