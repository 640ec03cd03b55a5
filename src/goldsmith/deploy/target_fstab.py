"""The target's /etc/fstab: by UUID, with what is really on its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from goldsmith.deploy.node_facts import NodeFacts, read_facts, require_uuid
from goldsmith.deploy.scheme import SWAP_MOUNT, Scheme, TargetFilesystem
from goldsmith.disk.fstab import FstabEntry, render

FSTAB: Final = "/etc/fstab"
_PANICS: Final = ("ext2", "ext3", "ext4")
"""Those with errors=: mount(8) refuses the others' root with it."""


def read_all_facts(scheme: Scheme) -> dict[str, NodeFacts]:
    """What lies on the nodes of a scheme's file systems and swaps, by node."""
    return {fs.node: read_facts(fs.node) for fs in scheme.filesystems if _has_line(fs)}


def target_fstab(scheme: Scheme, facts: Mapping[str, NodeFacts]) -> str:
    """The file's text.

    A root with ext2, ext3 or ext4 stops the machine at an error (errors=panic), as fuel-agent has
    it, unless the scheme has options of its own. Raises GoldsmithError for a node without UUID.
    """
    redundant = len(scheme.boot_disks()) > 1
    return render(_entries(scheme.filesystems, facts, redundant))


def _entries(
    filesystems: Iterable[TargetFilesystem], facts: Mapping[str, NodeFacts], redundant: bool
) -> Iterable[FstabEntry]:
    for filesystem in filesystems:
        if not _has_line(filesystem):
            continue
        found = facts[filesystem.node]
        is_swap = _is_swap(filesystem)
        uuid = require_uuid(found, filesystem.mount or SWAP_MOUNT)
        # An image may bring another kind than the scheme says.
        kind = "swap" if is_swap else found.type or filesystem.type
        mount = "none" if is_swap else filesystem.mount or "/"
        yield FstabEntry(uuid, mount, kind, _options(filesystem, mount, kind, redundant))


def _has_line(filesystem: TargetFilesystem) -> bool:
    return filesystem.is_mounted or _is_swap(filesystem)


def _is_swap(filesystem: TargetFilesystem) -> bool:
    return filesystem.mount == SWAP_MOUNT or filesystem.type == "swap"


def _options(
    filesystem: TargetFilesystem, mount: str, kind: str, redundant: bool
) -> tuple[str, ...]:
    if filesystem.mount_options:
        return filesystem.mount_options
    if mount == "/" and kind in _PANICS:
        return ("defaults", "errors=panic")
    if kind == "vfat" and mount not in ("/boot/efi", "/efi"):
        return ("defaults",)
    if kind == "vfat" and redundant:
        # The machine starts from its other disk, too, when the one with this is gone.
        return ("umask=0077", "nofail")
    return ()
