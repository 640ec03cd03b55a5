"""What makes a machine of file systems that were written: the last part of every deployment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from goldsmith.deploy.boot_loader import prepare_boot_loader, write_boot_loader
from goldsmith.deploy.config_drive import write_seed
from goldsmith.deploy.nested_files import move_nested_files
from goldsmith.deploy.scheme import Deployment
from goldsmith.deploy.target_arrays import write_array_config
from goldsmith.deploy.target_fstab import FSTAB, read_all_facts, target_fstab
from goldsmith.deploy.target_mounts import mount_target
from goldsmith.deploy.target_network import write_network_files
from goldsmith.host.confined import make_directory, write_confined

NO_DISCOVERY: Final = "/etc/nailgun-agent/nodiscover"
"""Tells the agent of a fuel-agent's server that the machine is a target already."""

Say = Callable[[str], None]


def finish_target(deployment: Deployment, *, scratch: Path, say: Say, warn: Say) -> None:
    """Move files to their file systems, mount the target, configure it, and install GRUB.

    Everything is unmounted and on the disks when this returns or raises GoldsmithError. The
    caller's mount namespace must be private. It can be repeated.
    """
    scheme = deployment.scheme
    if scheme.root() is None:
        return
    move_nested_files(scheme, scratch=scratch, say=say)
    chroot = scratch / "target"
    with mount_target(scheme, chroot, warn=warn):
        configure_target(deployment, chroot)
        made = prepare_boot_loader(deployment, chroot, say=say)
    chroot.rmdir()
    if made is not None:
        write_boot_loader(scheme, made, scratch=scratch, say=say, warn=warn)


def configure_target(deployment: Deployment, chroot: Path) -> None:
    """Write fstab, mdadm.conf, the name, the seed and the network's files into a mounted target."""
    scheme = deployment.scheme
    fstab = target_fstab(scheme, read_all_facts(scheme))
    write_confined(chroot, FSTAB, fstab.encode())
    write_array_config(scheme, chroot)
    if deployment.hostname:
        write_confined(chroot, "/etc/hostname", f"{deployment.hostname}\n".encode())
    if deployment.seed and deployment.config_drive is not None:
        write_seed(deployment.config_drive, chroot)
    write_network_files(deployment, chroot)
    if deployment.config_drive is not None and deployment.config_drive.master_url:
        make_directory(chroot, str(Path(NO_DISCOVERY).parent))
        write_confined(chroot, NO_DISCOVERY, b"")
