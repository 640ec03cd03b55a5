"""Target disks get their partition tables: old marks wiped, tables written, nodes there to use.

What a disk loses follows from its policy (see `scheme.Policy`); no other disk is opened for
writing. Nothing is kept in memory only, so that a run that was killed anywhere is begun again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from goldsmith.deploy.disks import (
    HostDisk,
    disks_below,
    is_claimed,
    read_disk,
    whole_disks_below,
)
from goldsmith.deploy.refusals import MKFS_TOOLS, DeployRefused, differences
from goldsmith.deploy.scheme import (
    Deployment,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
)
from goldsmith.deploy.stacks import make_stacks, take_down
from goldsmith.deploy.table_script import table_script
from goldsmith.disk.partition_table import SFDISK_TIMEOUT_S
from goldsmith.errors import GoldsmithError, HostError, explain_os_error
from goldsmith.host.cancellation import check_cancelled, pause
from goldsmith.host.process import run
from goldsmith.units import MIB

MKFS_TIMEOUT_S: Final = 3600.0
NODE_WAIT_S: Final = 60.0
LET_GO_WAIT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.2
WIPED_BYTES: Final = MIB
"""At both ends of everything: superblocks of arrays lie up to 128 KiB before the end, a GPT's
backup 17 KiB, the marks of file systems and of LVM in the first 68 KiB."""

Say = Callable[[str], None]


def partition_disks(deployment: Deployment, disks: Mapping[str, HostDisk], say: Say) -> None:
    """Carry out the tables, arrays, groups, and file systems without an image.

    The caller has asked `refusals`. Raises GoldsmithError where a disk is held after all; up to
    the first "Partitioning" that was said nothing is written.
    """
    scheme = deployment.scheme
    cleaned = [disk for disk in scheme.disks if disk.policy == "clean"]
    take_down([disks[disk.device] for disk in cleaned], say)
    for disk in scheme.disks:
        if disk.policy == "clean" and is_claimed(disks[disk.device].path):
            raise DeployRefused((f"{disk.device} is in use: somebody holds it",))
    for disk in cleaned:
        check_cancelled()
        say(f"Partitioning {disk.device}")
        _clean(disk, disks[disk.device])
    for disk in scheme.disks:
        announce(disk)
    make_stacks(scheme, say)
    make_filesystems(deployment, say)


def _clean(target: TargetDisk, disk: HostDisk) -> None:
    forget_partitions(disk)
    with _opened(disk.path) as fd:
        for begin, size in stretches(target, disk):
            _zero_ends(fd, begin, size)
        _sync(fd, disk.device)
    if target.label == "none":
        return
    run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never",
         "--wipe-partitions", "never", disk.path],
        input=table_script(target, disk.sector_bytes).encode(), timeout_s=SFDISK_TIMEOUT_S,
    )  # fmt: skip
    with _opened(disk.path) as fd:
        _sync(fd, disk.device)
    written = read_disk(target.device)
    if different := list(differences(written, target, exact=True)):
        raise GoldsmithError(f"{target.device} does not have the table that was written: "
                             + "; ".join(different),
                             hint="does the disk report errors? see `dmesg`")  # fmt: skip


def stretches(target: TargetDisk, disk: HostDisk) -> Iterator[tuple[int, int]]:
    """What of a disk has marks to wipe: all partitions, the old ones and the new, and the disk."""
    places = [(p.begin_bytes, p.size_bytes) for p in disk.partitions]
    places += [(p.begin_bytes, p.size_bytes) for p in target.partitions]
    for begin, size in (*dict.fromkeys(places), (0, disk.size_bytes)):
        end = min(begin + size, disk.size_bytes)
        if begin < end:
            yield begin, end - begin


def _zero_ends(fd: int, begin: int, size: int) -> None:
    head = min(size, WIPED_BYTES)
    _write_zeros(fd, begin, head)
    tail = min(size - head, WIPED_BYTES)
    _write_zeros(fd, begin + size - tail, tail)


def _write_zeros(fd: int, begin: int, size: int) -> None:
    zeros = memoryview(bytes(size))
    while zeros:
        written = os.pwrite(fd, zeros, begin)
        zeros, begin = zeros[written:], begin + written


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A disk that nobody else holds, or can hold meanwhile."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as e:
        raise explain_os_error(e) from e
    try:
        yield fd
    except OSError as e:
        raise GoldsmithError(f"{path} cannot be written: {e.strerror}") from e
    finally:
        os.close(fd)


def _sync(fd: int, device: str) -> None:
    try:
        os.fsync(fd)
    except OSError as e:
        raise GoldsmithError(f"{device} did not take what was written: {e.strerror}") from e


def forget_partitions(disk: HostDisk) -> None:
    """Let the kernel forget the partitions of a disk; raises GoldsmithError for one in use."""
    done = None
    deadline_s = time.monotonic() + LET_GO_WAIT_S
    while left := _known_partitions(disk.name):
        if done is not None and time.monotonic() > deadline_s:
            why = f": {done.tail[-1]}" if done.tail else ""
            raise GoldsmithError(f"the kernel does not let go of {', '.join(left)}{why}",
                                 hint="something has it open")  # fmt: skip
        if done is not None:
            pause(_LOOK_AGAIN_S)  # udev may be looking at it
        done = run(["partx", "--delete", disk.path], check=False, timeout_s=SFDISK_TIMEOUT_S)


def _known_partitions(name: str) -> list[str]:
    directory = Path("/sys/class/block", name).resolve()
    if not directory.is_dir():
        raise GoldsmithError(f"the disk {name} is gone")
    return sorted(entry.name for entry in directory.iterdir() if (entry / "partition").exists())


def announce(target: TargetDisk) -> None:
    """Make the kernel know the partitions of a disk, and wait until their nodes are there.

    Kernels without a parser learn them by this alone; others may know them already. Raises
    HostError when a node does not come, as where device nodes are made by hand.
    """
    if target.label == "none":
        return
    disk = read_disk(target.device)
    deadline_s = time.monotonic() + NODE_WAIT_S
    while not _is_announced(disk):
        # udev may have the table read at the same moment: then a part of this fails.
        done = run(["partx", "--update", disk.path], check=False, timeout_s=SFDISK_TIMEOUT_S)
        if _is_announced(disk):
            break
        if time.monotonic() > deadline_s:
            why = f": {done.tail[-1]}" if done.tail else ""
            raise HostError(f"the kernel did not take the partitions of {disk.device}{why}")
        pause(_LOOK_AGAIN_S)
    for partition in target.partitions:
        if partition.type != "extended":
            _wait_for_node(partition.node)
            require_on_disk(partition.node, disk)


def _is_announced(disk: HostDisk) -> bool:
    """Whether the kernel has exactly the partitions of the table."""
    known = _known_partitions(disk.name)
    places = {_place(Path("/sys/class/block", name)) for name in known}
    # The kernel has an extended partition with the length of its first sectors only.
    wanted = {(p.begin_bytes, p.size_bytes) for p in disk.partitions
              if p.content.kind != "extended"}  # fmt: skip
    return bool(known) and wanted <= places and len(known) == len(disk.partitions)


def _place(directory: Path) -> tuple[int, int]:
    start, size = (int((directory / name).read_text()) for name in ("start", "size"))
    return start * 512, size * 512


def _wait_for_node(node: str) -> None:
    deadline_s = time.monotonic() + NODE_WAIT_S
    while not os.path.exists(node):
        if time.monotonic() > deadline_s:
            raise HostError(f"{node} did not appear although the kernel was told of it",
                            hint="device nodes come from devtmpfs or udev: is /dev mounted so?"
                            )  # fmt: skip
        pause(0.05)


def require_on_disk(node: str, disk: HostDisk) -> None:
    """Raise GoldsmithError unless a partition's node leads to the disk that it is named after."""
    if disks_below(node) != whole_disks_below(disk.name):
        raise GoldsmithError(f"{node} is no partition of {disk.device}: nothing is written to it",
                             hint="is there a file or link of that name?")  # fmt: skip


def with_found_places(scheme: Scheme, disks: Mapping[str, HostDisk]) -> Scheme:
    """A scheme whose kept disks have the places of their own tables.

    A partition that is not there stays as it was: `refusals` tells of it.
    """

    def kept(target: TargetDisk) -> TargetDisk:
        disk = disks.get(target.device)
        if target.policy != "keep" or disk is None:
            return target
        return replace(target, partitions=tuple(_placed(p, disk) for p in target.partitions))

    return replace(scheme, disks=tuple(map(kept, scheme.disks)))


def _placed(partition: TargetPartition, disk: HostDisk) -> TargetPartition:
    found = disk.partition(partition.number)
    if found is None or found.size_bytes < partition.size_bytes:
        return partition
    return replace(partition, begin_bytes=found.begin_bytes, size_bytes=found.size_bytes)


def make_filesystems(deployment: Deployment, say: Say) -> None:
    """Make every file system and swap that neither keeps its data nor comes from an image."""
    for fs in filesystems_to_make(deployment):
        check_cancelled()
        say(f"Making {fs.type} on {fs.node}")
        run(mkfs_words(fs), timeout_s=MKFS_TIMEOUT_S)


def filesystems_to_make(deployment: Deployment) -> Iterable[TargetFilesystem]:
    """The file systems that mkfs makes."""
    from_images = {image.node for image in deployment.images}
    drive = deployment.scheme.config_drive_node()
    return [fs for fs in deployment.scheme.filesystems
            if not fs.keep_data and fs.node not in from_images and fs.node != drive]  # fmt: skip


_FORCE: Final = {
    "ext2": ("-q", "-F"), "ext3": ("-q", "-F"), "ext4": ("-q", "-F"), "xfs": ("-q", "-f"),
    "btrfs": ("-q", "-f"), "vfat": (), "swap": ("-f",),
}  # fmt: skip


def mkfs_words(fs: TargetFilesystem) -> list[str]:
    """The words that make a file system; those of the scheme come before its node."""
    words = [MKFS_TOOLS[fs.type], *_FORCE[fs.type]]
    if fs.type.startswith("ext"):
        words += ["-t", fs.type]
    if fs.label:
        words += ["-n" if fs.type == "vfat" else "-L", fs.label]
    return [*words, *fs.options.split(), fs.node]
