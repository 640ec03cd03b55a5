"""Making an image of one bare file system as small as it can be, each kind in its own way.

ext4 is shrunk offline. btrfs can be resized only while it is mounted, so it is attached and mounted
for that: call it in a private mount namespace, as every build worker is. xfs cannot be shrunk at
all: its free blocks become holes, and only what compresses or copies the image gains. For all of
them free blocks are holes afterwards, so that they cost nothing in any format.

The image is changed in place. After an error it is to be thrown away.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.loop import attached
from goldsmith.host.mounts import mounted
from goldsmith.host.process import Completed, run, tool_environment
from goldsmith.host.sparse import full_file_system_named, mapped_bytes, punch_hole
from goldsmith.units import MIB

TOOL_TIMEOUT_S: Final = 3600.0
_PASSES: Final = 8
"""A pass of shrinking makes room for the next one; the gain is nothing after a few."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """An image before and after: its length, and how much of it is data."""

    size_before_bytes: int
    size_bytes: int
    mapped_before_bytes: int
    mapped_bytes: int


def shrink(image: Path, type: str, *, headroom_bytes: int = 0, epoch_s: int = 0) -> Shrunk:
    """Shrink a bare file system, leaving `headroom_bytes` free above the smallest size.

    It never grows. `epoch_s` dates what the tools write into an ext4. Raises GoldsmithError for a
    file system that is damaged, not of this type, or cannot be made smaller.
    """
    shrinker = _SHRINKERS.get(type)
    if shrinker is None:
        hint = _REASONS.get(type, f"choose one of {', '.join(_SHRINKERS)}")
        raise GoldsmithError(f"an image of {type} cannot be shrunk", hint=hint)
    size_before, mapped_before = image.stat().st_size, mapped_bytes(image)
    with full_file_system_named(image):
        shrinker(image, headroom_bytes, epoch_s)
        with open(image, "rb") as stream:
            os.fsync(stream.fileno())
    return Shrunk(size_before, image.stat().st_size, mapped_before, mapped_bytes(image))


def shrinking_tools(type: str) -> tuple[str, ...]:
    """The programs of the build host that `shrink` runs for a type."""
    return _TOOLS.get(type, ())


def _cut(image: Path, size_bytes: int) -> None:
    """Give back what lies behind the file system."""
    if size_bytes < image.stat().st_size:
        os.truncate(image, size_bytes)


# --- ext4 ---

_EXT_MAGIC: Final = 0xEF53
_EXT_64BIT: Final = 0x80
_MINIMUM: Final = re.compile(r"minimum size of the filesystem:\s*([0-9]+)")


def _ext_size(image: Path) -> tuple[int, int]:
    """Blocks and bytes of a block, from the superblock: "The Second Extended File System", 3.1."""
    with open(image, "rb") as stream:
        block = os.pread(stream.fileno(), 1024, 1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != _EXT_MAGIC:
        raise GoldsmithError(f"{image} is not an ext2, ext3 or ext4 file system")
    low, log_bytes = struct.unpack_from("<I16xI", block, 0x4)
    high = struct.unpack_from("<I", block, 0x150)[0]
    if not struct.unpack_from("<I", block, 0x60)[0] & _EXT_64BIT:
        high = 0
    return low | high << 32, 1024 << log_bytes


def _shrink_ext(image: Path, headroom_bytes: int, epoch_s: int) -> None:
    before, block_bytes = _ext_size(image)
    _check_ext(image, epoch_s)
    blocks = before
    for _ in range(_PASSES):
        match = _MINIMUM.search(_e2fsprogs(image, epoch_s, "resize2fs", "-P").text)
        if match is None:
            raise GoldsmithError(f"resize2fs does not say how small {image} can be")
        if int(match[1]) >= blocks:
            break
        _e2fsprogs(image, epoch_s, "resize2fs", words=(match[1],))
        # What it asks for, a pass does not always reach.
        last, blocks = blocks, _ext_size(image)[0]
        if blocks >= last:
            break
    wanted = min(before, blocks - (-headroom_bytes // block_bytes))
    if wanted > blocks:
        _e2fsprogs(image, epoch_s, "resize2fs", words=(str(wanted),))
    _check_ext(image, epoch_s, "-E", "discard")
    _cut(image, _ext_size(image)[0] * block_bytes)


def _check_ext(image: Path, epoch_s: int, *options: str) -> None:
    """Check and make the safe repairs; status 1 says that there were some: e2fsck(8)."""
    done = _e2fsprogs(image, epoch_s, "e2fsck", "-f", "-p", *options, check=False)
    if done.status not in (0, 1):
        raise GoldsmithError(
            f"{image} has a damaged file system: {' '.join(filter(None, done.tail))}",
            hint=f"see what `e2fsck -fn {image}` says, and make the image anew",
        )


def _e2fsprogs(
    image: Path,
    epoch_s: int,
    tool: str,
    *options: str,
    words: tuple[str, ...] = (),
    check: bool = True,
) -> Completed:
    # They would cut a name at its question mark: `tool_name` refuses such a one.
    name = Stretch(image, 0, 0).tool_name.partition("?")[0]
    return run(
        [tool, *options, name, *words], cwd=image.absolute().parent, check=check,
        capture=tool == "resize2fs", timeout_s=TOOL_TIMEOUT_S,
        # e2fsck has a clock of its own (1.47.0: e2fsck/unix.c).
        env=tool_environment(E2FSPROGS_FAKE_TIME=str(epoch_s), E2FSCK_TIME=str(epoch_s)),
    )  # fmt: skip


# --- xfs ---


def _thin_xfs(image: Path, headroom_bytes: int, epoch_s: int) -> None:
    """Punch the free extents that xfs_db lists; xfs_repair says before whether to believe them."""
    done = run(["xfs_repair", "-n", image.absolute()], check=False, timeout_s=TOOL_TIMEOUT_S)
    if done.status != 0:
        raise GoldsmithError(
            f"{image} is not a sound xfs that was unmounted: {_alert(done.tail)}",
            hint="a log that is not empty is replayed by mounting the image once",
        )
    block_bytes, group_blocks = _xfs_geometry(image)
    with open(image, "r+b", buffering=0) as stream:
        for group, first, count in _xfs_free(image):
            offset = (group * group_blocks + first) * block_bytes
            if not punch_hole(stream.fileno(), offset, count * block_bytes):
                return


def _alert(lines: tuple[str, ...]) -> str:
    """The first remarks of xfs_repair, without its phases and what it says of any file."""
    routine = ("Phase", " ", "Cannot get host", "Repair may fail", "the image and the host")
    said = [line for line in lines if line and not line.startswith(routine)]
    return " ".join(said[:4]) or "it does not say why"


def _xfs_db(image: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    return run(
        ["xfs_db", "-r", *words, image.absolute()], capture=True, timeout_s=TOOL_TIMEOUT_S
    ).text  # fmt: skip


def _xfs_geometry(image: Path) -> tuple[int, int]:
    text = _xfs_db(image, "sb 0", "print blocksize agblocks")
    fields = dict(re.findall(r"(?m)^(\w+) = (\d+)$", text))
    if not {"blocksize", "agblocks"} <= fields.keys():
        raise GoldsmithError(f"xfs_db does not say how {image} is divided")
    return int(fields["blocksize"]), int(fields["agblocks"])


def _xfs_free(image: Path) -> Iterator[tuple[int, int, int]]:
    """Free extents as (allocation group, first block in it, blocks); xfs_db(8), freesp -d."""
    for line in _xfs_db(image, "freesp -d").splitlines():
        fields = line.split()
        # The histogram that follows has five columns.
        if len(fields) == 3 and all(field.isdecimal() for field in fields):
            yield int(fields[0]), int(fields[1]), int(fields[2])


# --- btrfs ---

_BTRFS_SMALLEST_BYTES: Final = 256 * MIB
"""The kernel resizes to nothing below this (fs/btrfs/ioctl.c, btrfs_ioctl_resize)."""
_BTRFS_PRECISION_BYTES: Final = 8 * MIB
_BTRFS_MAGIC_AT: Final = 0x10040
"""In the first superblock; btrfs on-disk format, "Superblock"."""


def _shrink_btrfs(image: Path, headroom_bytes: int, epoch_s: int) -> None:
    """Find the smallest size that the kernel can move everything into, by halving.

    `btrfs inspect-internal min-dev-size` says twice as much (btrfs-progs 6.2), and balancing before
    makes chunks for a disk as large as it still is.
    """
    before = size_bytes = image.stat().st_size // MIB * MIB
    with open(image, "rb") as stream:
        if os.pread(stream.fileno(), 8, _BTRFS_MAGIC_AT) != b"_BHRfS_M":
            raise GoldsmithError(f"{image} is not a btrfs file system")
    with (
        tempfile.TemporaryDirectory(prefix="goldsmith-shrink-") as name,
        attached(image) as device,
        mounted(str(device.path), Path(name), "btrfs") as tree,
    ):
        too_small = _BTRFS_SMALLEST_BYTES - MIB
        while size_bytes - too_small > _BTRFS_PRECISION_BYTES:
            middle = (size_bytes + too_small) // 2 // MIB * MIB
            if _resize_btrfs(tree, middle):
                size_bytes = middle
            else:
                too_small = middle
        wanted = min(before, size_bytes - (-headroom_bytes // MIB) * MIB)
        if wanted > size_bytes and _resize_btrfs(tree, wanted):
            size_bytes = wanted
        # What a transaction has freed is trimmed only after the next one.
        for _ in range(2):
            run(["btrfs", "filesystem", "sync", tree], timeout_s=TOOL_TIMEOUT_S)
        run(["fstrim", tree], timeout_s=TOOL_TIMEOUT_S)
    _cut(image, size_bytes)


def _resize_btrfs(tree: Path, size_bytes: int) -> bool:
    """Resize; returns False when the kernel finds no room to move chunks to: nothing changed."""
    try:
        run(["btrfs", "filesystem", "resize", str(size_bytes), tree], timeout_s=TOOL_TIMEOUT_S)
    except CommandFailed as e:
        if any("No space left on device" in line for line in e.tail):
            return False
        raise
    return True


_SHRINKERS: Final[Mapping[str, Callable[[Path, int, int], None]]] = {
    "ext2": _shrink_ext,
    "ext3": _shrink_ext,
    "ext4": _shrink_ext,
    "xfs": _thin_xfs,
    "btrfs": _shrink_btrfs,
}
SHRINKABLE: Final = frozenset(_SHRINKERS)
"""The types that `shrink` takes."""
_REASONS: Final = {
    "squashfs": "a squashfs has no free space",
    "erofs": "an erofs has no free space",
    "vfat": "give its partition a smaller size instead",
    "swap": "give its partition a smaller size instead",
}
_TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), ("resize2fs", "e2fsck")),
    "xfs": ("xfs_repair", "xfs_db"),
    "btrfs": ("btrfs", "fstrim"),
}
