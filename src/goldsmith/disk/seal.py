"""Sealing: what a tree must know of the disk that it will lie on, written when the plan stands.

It comes after the provisioners and before the file systems are filled: /etc/fstab, GRUB's
configuration, the mount points. A layout of another size changes none of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from goldsmith.disk import fstab
from goldsmith.disk.bootloader import grub, grub_config
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.planner import DiskPlan
from goldsmith.errors import GoldsmithError


@dataclass(frozen=True, slots=True)
class Boot:
    """How an image is to boot."""

    firmware: tuple[str, ...]
    kernel_cmdline: str
    run_in_tree: grub.RunInTree
    title: str = "GNU/Linux"


def seal(
    plan: DiskPlan, tree: Path, identity: DiskIdentity, boot: Boot | None = None
) -> grub.BootLoader | None:
    """Write fstab, mount points and (with `boot`) GRUB's configuration into a tree.

    Returns the boot loader for `assemble`; None without `boot` or its firmware. The plan's
    partitions count, their places do not.
    """
    mounts = plan.by_mount()
    for mount in sorted(mounts):
        _make_directory(tree, mount)
    _write(tree, "etc/fstab", fstab.render(fstab.entries(plan, identity)))
    if boot is None or not boot.firmware:
        return None
    uuids = {
        mount: identity.filesystem_uuid(p.name, p.partition.filesystem.type)
        for mount, p in mounts.items() if p.partition.filesystem is not None
    }  # fmt: skip
    boot_uuid = uuids.get("/boot")
    _write_grub_files(tree, boot, uuids["/"], boot_uuid)
    return grub.make_boot_loader(
        tree, boot.run_in_tree, firmware=boot.firmware,
        filesystem_uuid=boot_uuid or uuids["/"], own_boot=boot_uuid is not None,
    )  # fmt: skip


def _write_grub_files(tree: Path, boot: Boot, root_uuid: str, boot_uuid: str | None) -> None:
    config = grub_config.render_grub_cfg(
        grub_config.find_kernels(tree), root_uuid, boot.kernel_cmdline,
        boot_uuid=boot_uuid, title=boot.title,
    )  # fmt: skip
    _write(tree, "boot/grub/grub.cfg", config)
    _write(tree, "etc/default/grub.d/50-goldsmith.cfg",
           grub_config.render_default_grub(boot.kernel_cmdline))  # fmt: skip


def missing_packages(tree: Path, firmware: Collection[str]) -> list[str]:
    """The boot loader's packages that a Debian tree lacks."""
    documents = tree / "usr/share/doc"
    return [name for name in grub.packages(firmware) if not (documents / name).exists()]


def _inside(tree: Path, relative: str) -> Path:
    """A path below the tree with no symlink in it: one would lead our write to the host."""
    path = tree
    for part in PurePosixPath(relative.lstrip("/")).parts:
        path = path / part
        if path.is_symlink():
            raise GoldsmithError(
                f"/{path.relative_to(tree)} in the tree is a symlink; goldsmith writes "
                f"/{relative.lstrip('/')} to plain directories only",
                hint="let a provisioner replace the symlink by what it points to",
            )
    return path


def _make_directory(tree: Path, relative: str) -> None:
    path = _inside(tree, relative)
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    for place in reversed(missing):
        place.mkdir()
        place.chmod(0o755)
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise GoldsmithError(f"the mount point {relative} is not a directory in the tree")


def _write(tree: Path, relative: str, text: str) -> None:
    """Put a new file in place of what is there, whatever the umask."""
    path = _inside(tree, str(PurePosixPath(relative).parent)) / PurePosixPath(relative).name
    _make_directory(tree, str(path.parent.relative_to(tree)))
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o644)
