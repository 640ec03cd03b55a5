"""GRUB on the target's disks, for BIOS and UEFI, made of what the target itself has.

The core images are those of `disk.bootloader.grub`: they find /boot by its UUID whatever it lies
on (LVM, RAID), so every boot disk gets the same ones, and no device map, no EFI variables and no
driver for vfat is needed where the deployment runs.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.deploy.grub_defaults import image_parameters, merged, write_defaults
from goldsmith.deploy.node_facts import read_facts, require_uuid
from goldsmith.deploy.scheme import Deployment, Scheme, TargetDisk, TargetPartition
from goldsmith.disk.bootloader import grub
from goldsmith.disk.bootloader.grub_config import Kernel, find_kernels, render_grub_cfg
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.filesystems.vfat import EARLIEST_EPOCH_S, Mtools
from goldsmith.disk.partition_table import TYPE_GUIDS, read_table
from goldsmith.errors import GoldsmithError
from goldsmith.host.chroot import CLEAN_ENVIRONMENT, chroot_argv
from goldsmith.host.confined import confined, write_confined
from goldsmith.host.process import Completed, run
from goldsmith.packages.installed import os_release

GRUB_CFG: Final = "/boot/grub/grub.cfg"
SECTOR_BYTES: Final = 512
_TIMEOUT_S: Final = 1800.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MadeBootLoader:
    """What `write_boot_loader` puts onto the disks."""

    files: grub.BootLoader
    firmware: tuple[str, ...]


def prepare_boot_loader(deployment: Deployment, chroot: Path, *, say: Say) -> MadeBootLoader | None:
    """Write GRUB's configuration into the mounted target and make its core images.

    Returns None where the deployment wants no boot loader. Raises GoldsmithError for a target
    without GRUB or kernel, and for disks that have no place for it.
    """
    if not deployment.firmware:
        return None
    scheme = deployment.scheme
    require_places(scheme, deployment.firmware)
    root = scheme.root()
    if root is None:
        raise GoldsmithError("the scheme has no file system at /: there is nothing to boot")
    own_boot = scheme.by_mount("/boot")
    root_uuid = require_uuid(read_facts(root.node), "/")
    boot_uuid = None if own_boot is None else require_uuid(read_facts(own_boot.node), "/boot")
    kernels = choose_kernels(find_kernels(chroot), deployment.kernel, _boot_files(chroot),
                             deployment.initrd)  # fmt: skip
    say(f"Installing GRUB for {' and '.join(deployment.firmware)}, kernel {kernels[0].version}")
    _write_configuration(deployment, chroot, kernels, root_uuid, boot_uuid)

    def run_in_tree(argv: Sequence[str]) -> Completed:
        return run(chroot_argv(chroot, argv), env=CLEAN_ENVIRONMENT, timeout_s=_TIMEOUT_S)

    files = grub.make_boot_loader(
        chroot, run_in_tree, firmware=deployment.firmware, filesystem_uuid=boot_uuid or root_uuid,
        own_boot=boot_uuid is not None,
    )  # fmt: skip
    return MadeBootLoader(files, deployment.firmware)


def _boot_files(chroot: Path) -> list[str]:
    boot = confined(chroot, "/boot", follow_last=True)
    return sorted(path.name for path in boot.iterdir()) if boot.is_dir() else []


def choose_kernels(
    found: Sequence[Kernel], kernel: str, files: Sequence[str], initrd: str
) -> list[Kernel]:
    """The kernels in the order of the menu; the first one is booted.

    `kernel` and `initrd` are regular expressions, or names, of files in /boot; "" is the newest
    kernel and the initramfs of its version. Raises GoldsmithError where nothing matches.
    """
    if not found:
        raise GoldsmithError(
            "the target has no kernel in /boot",
            hint="its image needs a package such as linux-image-amd64",
        )
    chosen = next((k for k in found if _matches(kernel, k.image)), None)
    if chosen is None:
        names = ", ".join(k.image for k in found)
        raise GoldsmithError(f"no kernel in /boot of the target matches {kernel!r}: {names}")
    first = chosen
    if initrd:
        # The newest of several is the last one by name, as fuel-agent has it.
        name = next((name for name in reversed(files) if _matches(initrd, name)), None)
        if name is None:
            raise GoldsmithError(f"no file in /boot of the target matches {initrd!r}")
        first = Kernel(chosen.version, chosen.image, name)
    return [first, *(k for k in found if k is not chosen)]


def _matches(pattern: str, name: str) -> bool:
    if not pattern or pattern == name:
        return True
    try:
        return re.search(pattern, name) is not None
    except re.error as e:
        raise GoldsmithError(f"{pattern!r} is not a regular expression: {e}") from e


def _write_configuration(
    deployment: Deployment,
    chroot: Path,
    kernels: Sequence[Kernel],
    root_uuid: str,
    boot_uuid: str | None,
) -> None:
    image, image_default = image_parameters(chroot)
    wanted = deployment.kernel_cmdline.split()
    if deployment.root_by_uuid and not any(word.startswith("root=") for word in wanted):
        wanted.append(f"root=UUID={root_uuid}")
    parameters = merged(image, wanted)
    write_defaults(chroot, parameters, deployment.grub_timeout_s)
    shown = [word for word in merged(image_default, parameters) if word != f"root=UUID={root_uuid}"]
    described = os_release(chroot)
    title = described.get("NAME", "") or "GNU/Linux"
    text = render_grub_cfg(
        kernels, root_uuid, " ".join(shown), boot_uuid=boot_uuid, title=title,
        timeout_s=deployment.grub_timeout_s,
    )  # fmt: skip
    write_confined(chroot, GRUB_CFG, text.encode())


def require_places(scheme: Scheme, firmware: Sequence[str]) -> None:
    """Raise GoldsmithError unless every boot disk has a place for GRUB, for each firmware."""
    disks = scheme.boot_disks()
    if not disks:
        raise GoldsmithError("no disk of the scheme is to boot",
                             hint="say boot_loader of one, or choose no firmware")  # fmt: skip
    if "bios" in firmware:
        for disk in disks:
            bios_place(disk)
    if "uefi" in firmware and not any(system_partitions(disk) for disk in disks):
        raise GoldsmithError("no boot disk has an EFI system partition",
                             hint='give one a partition of type "esp"')  # fmt: skip


def bios_place(disk: TargetDisk) -> tuple[int, int]:
    """First sector and number of sectors for GRUB's core image on a disk; raises GoldsmithError."""
    for partition in disk.partitions:
        if partition.type == "bios-boot" or "bios_grub" in partition.flags:
            return (partition.begin_bytes // SECTOR_BYTES, partition.size_bytes // SECTOR_BYTES)
    if disk.label == "gpt":
        raise GoldsmithError(f"{disk.device} has no bios-boot partition for GRUB's core image",
                             hint='add one with type "bios-boot" and 1 MiB')  # fmt: skip
    starts = [partition.begin_bytes // SECTOR_BYTES for partition in disk.partitions]
    if disk.label != "mbr" or not starts or min(starts) < 2:
        raise GoldsmithError(f"{disk.device} has no place for GRUB's core image: "
                             "it lies before the first partition of an MBR")  # fmt: skip
    return (1, min(starts) - 1)


def place_on_disk(disk: TargetDisk) -> tuple[int, int]:
    """`bios_place`, by the table itself: an MBR that was kept may have partitions of others."""
    first, sectors = bios_place(disk)
    if disk.label == "mbr":
        table = read_table(Path(disk.device))
        starts = (e.start_sector * table.sector_bytes // SECTOR_BYTES for e in table.entries)
        sectors = min(sectors, *(start - first for start in starts))
    return first, sectors


def system_partitions(disk: TargetDisk) -> list[TargetPartition]:
    """The EFI system partitions of a disk."""
    guid = TYPE_GUIDS["esp"]
    return [p for p in disk.partitions
            if p.type == "esp" or (p.guid is not None and p.guid.upper() == guid)]  # fmt: skip


def write_boot_loader(
    scheme: Scheme, made: MadeBootLoader, *, scratch: Path, say: Say, warn: Say
) -> None:
    """Put GRUB onto every boot disk; the target must not be mounted any more.

    An EFI system partition without a file system gets a vfat. All is on the disks when this
    returns.
    """
    for disk in scheme.boot_disks():
        if "bios" in made.firmware:
            first, sectors = place_on_disk(disk)
            say(f"Writing GRUB for bios to {disk.device}")
            grub.write_bios_boot(Path(disk.device), made.files, lba=first, sectors=sectors)
            _sync(disk.device)
        if "uefi" not in made.firmware:
            continue
        partitions = system_partitions(disk)
        if not partitions:
            warn(f"{disk.device} has no EFI system partition: it cannot boot on its own by uefi")
        for partition in partitions:
            say(f"Writing GRUB for uefi to {partition.node}")
            write_efi(partition.node, partition.size_bytes, made.files.efi or b"", scratch=scratch)


def write_efi(node: str, size_bytes: int, program: bytes, *, scratch: Path) -> None:
    """Put a program where firmware looks for one on a disk that it does not know."""
    kind = read_facts(node).type
    if not kind:
        serial = zlib.crc32(node.encode())
        run(["mkfs.vfat", "-i", f"{serial:08X}", "-n", "ESP", node], timeout_s=_TIMEOUT_S)
    elif kind != "vfat":
        raise GoldsmithError(f"{node} is an EFI system partition and holds a {kind}, not a vfat")
    tools = Mtools(Stretch(Path(node), 0, size_bytes), EARLIEST_EPOCH_S)
    with tempfile.TemporaryDirectory(prefix="efi-", dir=scratch) as directory:
        file = Path(directory, grub.EFI_PATH.name)
        file.write_bytes(program)
        listed = {name.rstrip("/").lower() for name in tools.list()}
        for parent in reversed(grub.EFI_PATH.parents[:-1]):
            if f"::/{parent}".lower() not in listed:
                tools.run("mmd", f"::/{parent}")
        tools.run("mcopy", "-o", file, f"::/{grub.EFI_PATH}")
    _sync(node)


def _sync(node: str) -> None:
    fd = os.open(node, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
