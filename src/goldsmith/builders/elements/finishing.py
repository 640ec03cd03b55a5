"""What is done to an image after its hooks: blocks given back, stand-ins turned into file systems.

A file system that this kernel cannot mount is filled anew from the directory that hooks have
worked in: its type, label, serial number and place stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from goldsmith.builders.elements.volume_mounts import MountedDisk, StandIn
from goldsmith.disk.disk_plan import DiskPlan
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.filling import Filler
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.volume_places import places
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import run
from goldsmith.host.sparse import punch_hole


def trim(disk: MountedDisk) -> Iterator[str]:
    """Give back what the file systems do not use, and tell how much that is of each."""
    yield from trim_mounts(disk.trimmed)


def trim_mounts(mounted: Mapping[str, Path]) -> Iterator[str]:
    """Give back what file systems do not use, by their mount points; not all can."""
    for mount, place in mounted.items():
        done = run(["fstrim", "--verbose", place], check=False, capture=True)
        if done.status == 0:
            yield f"{mount}: {re.sub(r'^.*?: ', '', done.text.strip())}"


def fill_stand_ins(
    image: Path,
    plan: DiskPlan,
    stand_ins: Sequence[StandIn],
    *,
    identity: DiskIdentity,
    epoch_s: int,
    scratch: Path,
) -> None:
    """Make each file system anew from what its directory holds now; the image is not attached.

    Raises LayoutError when that does not fit, GoldsmithError for what the file system cannot hold.
    """
    if not stand_ins:
        return
    trees = {one.volume.mount: one.directory for one in stand_ins if one.volume.mount}
    filler = Filler(trees, identity, epoch_s, True, None, {}, scratch)
    found = places(plan)
    for one in stand_ins:
        pieces = found[one.volume.name]
        assert pieces is not None and len(pieces) == 1, "it would not have been attached"
        stretch = Stretch(image, pieces[0].offsets[0], pieces[0].size_bytes)
        with open(image, "r+b", buffering=0) as stream:
            if not punch_hole(stream.fileno(), stretch.offset_bytes, stretch.size_bytes):
                raise GoldsmithError(f"the file system of {image} cannot make holes in files")
        filler.fill(one.volume, stretch)
