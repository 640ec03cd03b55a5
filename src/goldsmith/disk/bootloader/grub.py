"""GRUB's core images, made by the tree's own grub-mkimage and written into the image file.

Both core images hold every module they need and a configuration that finds the file system of
/boot by its UUID and hands over to its grub.cfg, so `update-grub` in the running image works as
ever. Nothing of the build host's GRUB is used: image and modules always match.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.parallel import OnPercent, run_all
from goldsmith.host.process import Completed
from goldsmith.host.sparse import full_file_system_named
from goldsmith.units import format_size

RunInTree = Callable[[Sequence[str]], Completed]
"""Runs an argv list with the tree as its root; raises CommandFailed when it fails."""

SECTOR_BYTES: Final = 512
EFI_PATH: Final = PurePosixPath("EFI/BOOT/BOOTX64.EFI")
"""Where firmware looks on a disk that it has no boot entry for (UEFI 2.10, 3.5.1.1)."""

# What grub-mkconfig's scripts and our own grub.cfg use. Modules lie in no /boot/grub/<platform>:
# `insmod` of what is built in is a no-op.
_COMMON_MODULES: Final = (
    "part_gpt", "part_msdos", "ext2", "xfs", "btrfs", "fat", "search", "search_fs_uuid",
    "search_fs_file", "search_label", "normal", "configfile", "linux", "boot", "chain", "test",
    "true", "regexp", "echo", "cat", "ls", "sleep", "minicmd", "help", "loadenv", "probe",
    "keystatus", "halt", "reboot", "gzio", "xzio", "lzopio", "zstd", "terminal", "serial",
    "gettext", "font", "gfxterm", "gfxterm_background", "png", "all_video", "lvm", "mdraid1x",
)  # fmt: skip
_PLATFORMS: Final = {
    "bios": ("i386-pc", "grub-pc-bin", ("biosdisk", "vbe", "vga", "linux16")),
    "uefi": ("x86_64-efi", "grub-efi-amd64-bin", ("efi_gop", "efi_uga", "efifwsetup")),
}

# grub-core/boot/i386/pc/boot.S and diskboot.S of GRUB 2.06.
_BOOT_CODE_BYTES: Final = 440
_KERNEL_SECTOR_AT: Final = 0x5C
_BOOT_DRIVE_CHECK_AT: Final = 0x66
_BOOT_DRIVE_CHECK: Final = b"\xeb\x05"
_NOPS: Final = b"\x90\x90"
_FIRST_BLOCKLIST_AT: Final = 0x1F4
_CORE_SEGMENT: Final = 0x820


@dataclass(frozen=True, slots=True)
class BootLoader:
    """The files of GRUB for one image; what its firmware does not need is None."""

    boot_img: bytes | None = None
    core_img: bytes | None = None
    efi: bytes | None = None


def packages(firmware: Collection[str]) -> list[str]:
    """The Debian packages that a tree needs to boot on these firmwares.

    The -bin packages only: grub-pc and grub-efi-amd64 conflict with each other, and their scripts
    run grub-install on a disk that is not there. grub2-common has update-grub and the kernel hooks.
    """
    wanted = {_PLATFORMS[word][1] for word in firmware}
    return sorted(wanted | {"grub-common", "grub2-common"}) if wanted else []


def embedded_config(filesystem_uuid: str, *, own_boot: bool) -> str:
    """The configuration inside the core images; `own_boot`: /boot is a file system of its own."""
    directory = "/grub" if own_boot else "/boot/grub"
    return (
        f"search --no-floppy --fs-uuid --set=root {filesystem_uuid}\n"
        f"set prefix=($root){directory}\n"
        "configfile $prefix/grub.cfg\n"
    )


def make_boot_loader(
    tree: Path,
    run_in_tree: RunInTree,
    *,
    firmware: Collection[str],
    filesystem_uuid: str,
    own_boot: bool = False,
) -> BootLoader:
    """Make the core images with the tree's grub-mkimage; `filesystem_uuid` is that of /boot.

    Writes to a directory inside the tree and removes it again.
    """
    _require_grub(tree, firmware)
    with _directory_in(tree) as outside:
        inside = "/" + outside.name
        (outside / "embedded.cfg").write_text(embedded_config(filesystem_uuid, own_boot=own_boot))

        def make(platform: str, modules: Sequence[str], _on_percent: OnPercent) -> bytes:
            run_in_tree(
                ["grub-mkimage", "-O", platform, "-d", f"/usr/lib/grub/{platform}",
                 "-c", f"{inside}/embedded.cfg", "-p", "/grub" if own_boot else "/boot/grub",
                 "-o", f"{inside}/{platform}", *_COMMON_MODULES, *modules]
            )  # fmt: skip
            return (outside / platform).read_bytes()

        made = run_all({
            word: partial(make, platform, modules)
            for word in sorted(firmware)
            for platform, _, modules in [_PLATFORMS[word]]
        })  # fmt: skip
    boot_img = None
    if "bios" in made:
        boot_img = (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    return BootLoader(boot_img, made.get("bios"), made.get("uefi"))


def _require_grub(tree: Path, firmware: Collection[str]) -> None:
    missing = []
    if not os.path.lexists(tree / "usr/bin/grub-mkimage"):
        missing.append("grub-common")
    for word in sorted(firmware):
        platform, package, _ = _PLATFORMS[word]
        if not (tree / "usr/lib/grub" / platform / "kernel.img").exists():
            missing.append(package)
    if missing:
        raise GoldsmithError(
            f"the tree has no GRUB for {' and '.join(sorted(firmware))}: "
            f"{', '.join(missing)} not installed in it",
            hint="add the packages to the bootstrap's list, or write firmware = []",
        )


@contextmanager
def _directory_in(tree: Path) -> Iterator[Path]:
    """A fresh directory at the top of the tree; afterwards the tree is as it was."""
    before = tree.stat()
    directory = Path(tempfile.mkdtemp(prefix=".goldsmith-grub-", dir=tree))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
        os.utime(tree, ns=(before.st_atime_ns, before.st_mtime_ns))


def patch_boot_img(boot_img: bytes, lba: int) -> bytes:
    """The boot code of a master boot record that loads the core image from sector `lba`.

    What grub-bios-setup does: the sector's number, and no check of the boot drive's number.
    Raises GoldsmithError when the file is not a boot.img as we know it.
    """
    check = boot_img[_BOOT_DRIVE_CHECK_AT : _BOOT_DRIVE_CHECK_AT + 2]
    if len(boot_img) != SECTOR_BYTES or check not in (_BOOT_DRIVE_CHECK, _NOPS):
        raise GoldsmithError("GRUB's boot.img has a shape that goldsmith does not know",
                             hint="goldsmith knows GRUB 2.02 to 2.12")  # fmt: skip
    code = bytearray(boot_img[:_BOOT_CODE_BYTES])
    struct.pack_into("<Q", code, _KERNEL_SECTOR_AT, lba)
    code[_BOOT_DRIVE_CHECK_AT : _BOOT_DRIVE_CHECK_AT + 2] = _NOPS
    return bytes(code)


def patch_core_img(core_img: bytes, lba: int) -> bytes:
    """The core image padded to sectors, its first one told where at `lba` the others lie."""
    core = bytearray(core_img)
    core.extend(bytes(-len(core) % SECTOR_BYTES))
    sectors = len(core) // SECTOR_BYTES
    if sectors < 2 or sectors - 1 > 0xFFFF:
        raise GoldsmithError(f"GRUB's core image has {sectors} sectors, which cannot be")
    struct.pack_into("<QHH", core, _FIRST_BLOCKLIST_AT, lba + 1, sectors - 1, _CORE_SEGMENT)
    return bytes(core)


def write_bios_boot(image: Path, loader: BootLoader, *, lba: int, sectors: int) -> None:
    """Write boot code and core image into an image whose bios-boot partition begins at `lba`.

    The partition table beside the boot code stays. Raises LayoutError when the core image is
    larger than the partition.
    """
    if loader.boot_img is None or loader.core_img is None:
        raise GoldsmithError("the boot loader was not made for bios")
    core = patch_core_img(loader.core_img, lba)
    if len(core) > sectors * SECTOR_BYTES:
        raise LayoutError(
            [f"GRUB's core image needs {format_size(len(core))}, the bios-boot partition has "
             f"{format_size(sectors * SECTOR_BYTES)}"],
            hint='write size = "1MiB" for it',
        )  # fmt: skip
    code = patch_boot_img(loader.boot_img, lba)
    with full_file_system_named(image), open(image, "r+b", buffering=0) as stream:
        for data, at in ((code, 0), (core, lba * SECTOR_BYTES)):
            os.pwrite(stream.fileno(), data, at)
