"""Compressed file systems made before their disk is planned, because nobody can guess their size.

What a tree compresses to is known when it is compressed. So with an automatic size the file system
comes first, the plan takes its length, and the assembly copies it to its place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from goldsmith.disk.filesystems import packed
from goldsmith.disk.filesystems.space import PACKED
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """Finished file systems by mount point, as `plan` and `assemble` take them."""

    files: Mapping[str, Path]
    sizes_bytes: Mapping[str, int]


@contextmanager
def packed_trees(
    layout: Layout,
    trees: Mapping[str, Path],
    *,
    identity: DiskIdentity,
    epoch_s: int,
    scratch: Path,
    on_file: Callable[[str, int, int], None] | None = None,
) -> Iterator[PackedTrees]:
    """Make every squashfs and erofs of a layout that is mounted, for the length of a block.

    `trees` has, per mount point, the directory to fill it from, as for `assemble`. `on_file` is
    called before each with its name, how many are made, and how many there are. Raises NoSpaceError
    when the file system of `scratch` is full.
    """
    wanted = [
        (volume.name, volume.mount, volume.filesystem)
        for volume in layout.volumes()
        if volume.mount is not None
        and volume.filesystem is not None
        and volume.filesystem.type in PACKED
    ]
    files: dict[str, Path] = {}
    sizes_bytes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="goldsmith-packed-", dir=scratch) as directory:
        for number, (name, mount, filesystem) in enumerate(wanted):
            if on_file is not None:
                on_file(f"{filesystem.type} {name}", number, len(wanted))
            spec = packed.Packed(
                filesystem.type, identity.filesystem_uuid(name, filesystem.type), filesystem.options
            )
            files[mount] = Path(directory, f"{number}.{filesystem.type}")
            sizes_bytes[mount] = packed.write_file(
                files[mount], spec, trees.get(mount), epoch_s=epoch_s
            )
        yield PackedTrees(files, sizes_bytes)
