"""File systems made as large as the device that they were copied to.

ext grows while it is not mounted, xfs and btrfs only while they are: call it in a private mount
namespace, as every worker has. Source: resize2fs(8), xfs_growfs(8), btrfs-filesystem(8).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from goldsmith.deploy.copying.images import CopyError
from goldsmith.host.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, mounted
from goldsmith.host.process import run

TOOL_TIMEOUT_S: Final = 3600.0


class NotGrown(CopyError):
    """A file system is damaged, or its tool would not make it larger."""


def grow_filesystem(device: Path, kind: str) -> bool:
    """Let a file system have all of its device; False for kinds that have one size for life.

    Raises NotGrown for a damaged one, CommandFailed with what a tool says.
    """
    grow = _GROWERS.get(kind)
    if grow is None:
        return False
    grow(device)
    return True


def _grow_ext(device: Path) -> None:
    _check_ext(device)
    run(["resize2fs", device], timeout_s=TOOL_TIMEOUT_S)


def _check_ext(device: Path) -> None:
    """resize2fs wants a check just before; status 1 says that repairs were made: e2fsck(8)."""
    done = run(["e2fsck", "-f", "-p", device], check=False, timeout_s=TOOL_TIMEOUT_S)
    if done.status not in (0, 1):
        raise NotGrown(
            f"{device} has a damaged file system: {' '.join(filter(None, done.tail))}",
            hint=f"see what `e2fsck -fn {device}` says, and make the image anew",
        )


def _grow_mounted(kind: str, argv: Callable[[Path], list[str]], device: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="goldsmith-grow-") as directory:
        place = Path(directory)
        with mounted(str(device), place, kind, flags=MS_NOSUID | MS_NODEV | MS_NOEXEC):
            run(argv(place), timeout_s=TOOL_TIMEOUT_S)


_GROWERS: Final[Mapping[str, Callable[[Path], None]]] = {
    "ext2": _grow_ext,
    "ext3": _grow_ext,
    "ext4": _grow_ext,
    "xfs": partial(_grow_mounted, "xfs", lambda place: ["xfs_growfs", str(place)]),
    "btrfs": partial(
        _grow_mounted, "btrfs", lambda place: ["btrfs", "filesystem", "resize", "max", str(place)]
    ),
}
