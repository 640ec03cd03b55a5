"""A tree taken from the disk image of a machine: its root file system, and those mounted below it.

The image is never written to and nothing in it is run. Its file systems are mounted read-only by
this host's kernel, from loop devices at the offsets of their partitions, so it must happen where
mounts are private. Source: blkid(8), sfdisk(8) of util-linux 2.38; qemu-img(1) of QEMU 7.2.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial as with_arguments
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed, GoldsmithError, Interrupted
from goldsmith.host import mounts
from goldsmith.host.confined import confined, make_directory
from goldsmith.host.loop import attached
from goldsmith.host.process import run, tool_environment
from goldsmith.packages.apt_request import Report
from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import (
    ImagePartition,
    as_raw,
    fstab_lines,
    read_partitions,
    require_image,
)
from goldsmith.packages.unpack import prepare_target

READ_ONLY_OPTIONS: Final[Mapping[str, str]] = {
    # A read-only device cannot replay a journal.
    "ext4": "noload", "ext3": "noload", "ext2": "", "xfs": "norecovery,nouuid",
    "btrfs": "rescue=nologreplay", "squashfs": "", "erofs": "",
}  # fmt: skip
"""The file systems that can be mounted here, with the options for a read-only device."""
_ROOT_TYPES: Final = frozenset({
    # x86-64 and arm64 roots of the discoverable partitions specification.
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
})  # fmt: skip
_STACKED: Final = {
    "LVM2_member": "a physical volume of LVM", "linux_raid_member": "a member of a RAID array",
    "crypto_LUKS": "encrypted",
}  # fmt: skip

Open = Callable[[ImagePartition], AbstractContextManager[Path]]
"""Mounts a file system read-only for the length of a block."""


def bootstrap_image(
    target: Path, image: Path, *, emit: Report, scratch: Path, partition: int | None = None
) -> None:
    """Copy the root of a raw, qcow2, vmdk, vdi, vhdx or vpc image into `target`.

    `target` is an empty directory or a new one; `scratch` takes a raw copy of what is not raw. The
    root is `partition`, or the one partition with a system in it. Of the file systems in its fstab
    those that this kernel can mount come along. Raises PackageError, NotRootError.
    """
    require_image(image)
    prepare_target(target)
    with tempfile.TemporaryDirectory(prefix="image.", dir=scratch) as name:
        work = Path(name)
        raw = as_raw(image, work / "disk.raw", emit)
        partitions = read_partitions(raw, image)
        with _root(raw, image, partitions, partition, work / "root") as (root, found):
            _warn_of_journal(raw, found, emit)
            emit("message", f"Copying {found.name} of {image.name}")
            _copy(root, target, image)
            others = list(_mounted_below(root, partitions, emit))
        for other, place in sorted(others, key=lambda pair: pair[1]):
            emit("message", f"Copying {other.name} of {image.name} to {place}")
            with _opened(raw, image, other, place=work / "other") as tree:
                _copy(tree, make_directory(target, place), image)


@contextlib.contextmanager
def _root(
    raw: Path, image: Path, partitions: Sequence[ImagePartition], wanted: int | None, place: Path
) -> Iterator[tuple[Path, ImagePartition]]:
    """The root file system, mounted."""
    opened = with_arguments(_opened, raw, image, place=place)
    if wanted is None:
        found = choose_root(image, partitions, opened, hint="partition = NUMBER")
    else:
        found = numbered(image, partitions, wanted)
    with opened(found) as tree:
        require_root(tree, found, image)
        yield tree, found


def numbered(image: Path, partitions: Sequence[ImagePartition], wanted: int) -> ImagePartition:
    """The partition of that number; raises PackageError with those that there are."""
    for part in partitions:
        if part.number == wanted:
            return part
    have = ", ".join(str(part.number) for part in partitions)
    raise PackageError(f"{image} has no partition {wanted}: it has {have}")


def choose_root(
    image: Path, partitions: Sequence[ImagePartition], opened: Open, *, hint: str
) -> ImagePartition:
    """The one partition with a system in it, looked into where its kind does not tell.

    Raises PackageError for none, and for several; `hint` says how to name one.
    """
    mountable = [part for part in partitions if part.filesystem in READ_ONLY_OPTIONS]
    marked = [part for part in mountable if part.type in _ROOT_TYPES]
    if len(mountable) == 1 or len(marked) == 1:
        return (marked or mountable)[0]
    roots, errors = [], []
    for part in mountable:
        try:
            with opened(part) as tree:
                roots += [part] if is_root(tree) else []
        except PackageError as e:
            errors.append(e)
    if len(roots) == 1:
        return roots[0]
    if roots:
        names = ", ".join(part.name for part in roots)
        raise PackageError(f"{image} has several systems: {names}", hint=hint)
    if errors:
        raise errors[0]
    kinds = [f"{part.name} is {what_it_is(part)}" for part in partitions]
    raise PackageError("\n".join([f"{image} has no root file system that can be read", *kinds]))


def what_it_is(part: ImagePartition) -> str:
    """What a partition holds, in words."""
    return _STACKED.get(part.filesystem, part.filesystem or "unknown")


def is_root(tree: Path) -> bool:
    """Whether a system is in a mounted file system."""
    return all(confined(tree, name, follow_last=True).is_dir() for name in ("/usr", "/etc"))


def require_root(tree: Path, part: ImagePartition, image: Path, *, hint: str | None = None) -> None:
    """Raise PackageError, with that hint, unless there is a system in a mounted file system."""
    if not is_root(tree):
        raise PackageError(f"{part.name} of {image} has no system: no /usr and no /etc", hint=hint)


@contextlib.contextmanager
def _opened(raw: Path, image: Path, part: ImagePartition, *, place: Path) -> Iterator[Path]:
    """Mount a file system of the image read-only."""
    kind = part.filesystem
    if kind not in READ_ONLY_OPTIONS:
        what = _STACKED.get(kind, f"of type {kind}" if kind else "of an unknown kind")
        raise PackageError(f"{part.name} of {image} is {what}: it cannot be read here")
    place.mkdir(exist_ok=True)
    flags = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    with contextlib.ExitStack() as stack:
        try:
            loop = stack.enter_context(
                attached(raw, read_only=True, offset_bytes=part.offset_bytes)
            )
            stack.enter_context(
                mounts.mounted(str(loop.path), place, kind, flags=flags,
                               options=READ_ONLY_OPTIONS[kind])
            )  # fmt: skip
        except Interrupted:
            raise
        except GoldsmithError as e:
            raise PackageError(
                f"the {kind} in {part.name} of {image} cannot be read: {e}",
                hint="it is damaged, or this host's kernel does not know it: "
                "/proc/filesystems and the kernel's log say which",
            ) from e
        yield place


def _warn_of_journal(raw: Path, part: ImagePartition, emit: Report) -> None:
    """Say when an ext file system was in use: what is only in its journal is not read."""
    if not part.filesystem.startswith("ext"):
        return
    with raw.open("rb") as file:
        # s_feature_incompat, bit 2: the journal needs recovery (ext4 disk layout, superblock).
        file.seek(part.offset_bytes + 1024 + 0x60)
        if file.read(1)[0] & 0x4:
            emit("warning", f"{part.name} was not unmounted: its last changes are left out")


def _mounted_below(
    root: Path, partitions: Sequence[ImagePartition], emit: Report
) -> Iterator[tuple[ImagePartition, str]]:
    """The other partitions in the root's fstab that can be read, each with its mount point."""
    for line in fstab_lines(root):
        part = next((p for p in partitions if p.answers_to(line.device)), None)
        if part is not None and part.filesystem == "swap":
            continue
        if part is not None and part.filesystem in READ_ONLY_OPTIONS:
            yield part, line.place
        else:
            emit("warning", f"{line.place} of the image ({line.device}) is not copied")


def _copy(origin: Path, target: Path, image: Path) -> None:
    argv = ["cp", "--archive", "--sparse=always", "--one-file-system", "--no-target-directory",
            str(origin), os.path.abspath(target)]  # fmt: skip
    try:
        run(argv, env=tool_environment())
    except CommandFailed as e:
        said = "\n".join(e.tail[-5:])
        full = any("No space left" in line for line in e.tail)
        raise PackageError(
            f"the files of {image} cannot be copied\n{said}",
            hint="free space on the file system of the build" if full else None,
        ) from e
