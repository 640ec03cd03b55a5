"""Names for the volume on this instance: a free one to attach it as, the node that it becomes."""

from __future__ import annotations

import os
import string
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from goldsmith.errors import GoldsmithError
from goldsmith.host.cancellation import pause
from goldsmith.host.mounts import MountPoint
from goldsmith.host.signals import check_interrupted

T = TypeVar("T")
_LETTERS: Final = string.ascii_lowercase[5:16]
_NODE_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05
BY_ID: Final = Path("/dev/disk/by-id")
SYS_BLOCK: Final = Path("/sys/block")
SYS_CLASS: Final = Path("/sys/class/block")


def available_device(*, dev: Path = Path("/dev"), sys_block: Path = SYS_BLOCK) -> str:
    """The first free name to attach a volume as: to be called while the lock is held.

    Two builds would find the same one. On hosts that show disks as NVMe, or by virtio, names of
    EC2 are never nodes, so that any is free; raises GoldsmithError when none is.
    """
    prefix = device_prefix(sys_block)
    for letter in _LETTERS:
        name = str(dev / f"{prefix}{letter}")
        if not is_used(name) and not is_used(f"{name}1"):
            return name
    raise GoldsmithError(
        f"every device from {dev}/{prefix}{_LETTERS[0]} to {prefix}{_LETTERS[-1]} is in use",
        hint="detach volumes that nobody needs, or name a free one by device_path",
    )


def is_used(device: str) -> bool:
    """Whether there is a node of this name already, or one as which a volume would appear."""
    return os.path.lexists(device) or os.path.lexists(_as_xvd(device))


def device_prefix(sys_block: Path = SYS_BLOCK) -> str:
    """How disks of this host are called: sd or xvd."""
    names = sorted(os.listdir(sys_block)) if sys_block.is_dir() else []
    for name in names:
        for prefix in ("sd", "xvd"):
            if name.startswith(prefix):
                return prefix
    return "sd"


def attached_name(device: str) -> str:
    """The name by which EC2 is told of a device."""
    folder, name = os.path.split(device)
    if not name.startswith("xvd"):
        return device
    return os.path.join(folder, "sd" + name.removeprefix("xvd"))


@dataclass(frozen=True, slots=True)
class Node:
    """A whole disk, and how its partitions are called."""

    disk: str
    given: bool
    """Whether the template has named it: then a number is appended and nothing else."""

    def partition(self, number: str) -> Path:
        """The node of a partition, "0" for the whole disk."""
        if number in ("", "0"):
            return Path(self.disk)
        joint = "p" if not self.given and self.disk[-1].isdecimal() else ""
        return Path(f"{self.disk}{joint}{number}")


def find_node(
    volume_id: str, device: str, given: str, *, by_id: Path = BY_ID, sys_block: Path = SYS_BLOCK
) -> Node | None:
    """The node of an attached volume; None while there is none yet."""
    if given:
        return Node(given, given=True)
    serial = volume_id.replace("-", "")
    link = by_id / f"nvme-Amazon_Elastic_Block_Store_{serial}"
    if link.exists():
        return Node(os.path.realpath(link), given=False)
    if sys_block.is_dir():
        for name in sorted(os.listdir(sys_block)):
            if name.startswith("nvme") and _serial(sys_block / name) == serial:
                return Node(f"/dev/{name}", given=False)
    for name in (device, _as_xvd(device)):
        if os.path.exists(name):
            return Node(name, given=False)
    return None


def mounted_of(
    disk: str, mounts: Iterable[MountPoint], *, sys_class: Path = SYS_CLASS
) -> list[str]:  # fmt: skip
    """Where file systems of a disk are mounted, as far as mounts name it or its partitions."""
    folder = sys_class / os.path.basename(os.path.realpath(disk))
    if not folder.is_dir():
        # A given one may end with the letter before the number.
        folder = folder.with_name(folder.name.removesuffix("p"))
    nodes = [folder, *(one.parent for one in folder.glob("*/partition"))]
    numbers = {(node / "dev").read_text().strip(): node.name for node in nodes
               if (node / "dev").is_file()}  # fmt: skip
    names = set(numbers.values())
    return [
        one.path for one in mounts
        # btrfs has numbers of its own.
        if one.device in numbers or os.path.basename(os.path.realpath(one.source)) in names
    ]  # fmt: skip


def _serial(disk: Path) -> str:
    try:
        return (disk / "device/serial").read_text().strip()
    except OSError:
        return ""


def _as_xvd(device: str) -> str:
    folder, name = os.path.split(device)
    return os.path.join(folder, "xvd" + name.removeprefix("sd"))


def awaited_node(volume_id: str, device: str, given: str) -> Node:
    """The node of a volume as soon as the kernel shows it; raises GoldsmithError."""

    def look() -> Node | None:
        node = find_node(volume_id, device, given)
        # A given one may end with the letter before the number: "/dev/nvme1n1p".
        if node is None or os.path.exists(node.disk) or not node.given:
            return node
        return node if os.path.exists(node.disk.removesuffix("p")) else None

    return _awaited(look, f"volume {volume_id} is attached as {device}, but {given or 'its node'}")


def awaited_partition(node: Node, number: str) -> Path:
    """The node of a partition, which may have been made just now; raises GoldsmithError."""
    place = node.partition(number)
    return _awaited(lambda: place if place.exists() else None, f"{place}")


def _awaited(look: Callable[[], T | None], what: str) -> T:
    started_s = time.monotonic()
    while (found := look()) is None:
        check_interrupted()
        if time.monotonic() - started_s > _NODE_WITHIN_S:
            raise GoldsmithError(
                f"{what} did not appear within {_NODE_WITHIN_S:.0f} s",
                hint="are nvme_device_path and mount_partition right? without the first the "
                "volume is found by its id",
            )
        pause(_POLL_S)
    return found
