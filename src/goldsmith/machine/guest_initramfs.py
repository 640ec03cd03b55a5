"""The guest's initramfs: programs of Debian packages with their libraries, modules, our scripts.

The packages are unpacked and chosen from, never installed: no maintainer script runs, and what
nobody needs in a guest (documentation, translations, other drivers) costs no memory and no time.
Uncompressed: the guest would take longer to unpack it than QEMU takes to hand it over.
Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from goldsmith.host.confined import confined
from goldsmith.machine.guest_elf import Elf, is_elf
from goldsmith.machine.guest_init import APPLETS, INIT, RUN_COMMAND, RUN_COMMAND_PATH
from goldsmith.machine.guest_modules import modules_alias, modules_dep, read_modules
from goldsmith.machine.guest_protocol import GuestError

PROGRAMS: Final = (
    "busybox", "dash", "tar", "dd", "sync",
    "mount", "umount", "losetup", "blkid", "blockdev", "findmnt", "lsblk", "mkswap", "partx",
    "sfdisk", "wipefs",
    "lvm", "dmsetup", "mdadm",
    "mke2fs", "e2fsck", "resize2fs", "tune2fs", "dumpe2fs", "debugfs",
    "mkfs.fat", "fsck.fat", "fatlabel",
    "mkfs.xfs", "xfs_repair", "xfs_db", "xfs_io", "xfs_growfs", "xfs_admin",
    "mkfs.btrfs", "btrfs", "btrfstune",
)  # fmt: skip
"""Other names that packages have for them (mkfs.ext4, vgcreate) come along."""

LVM_CONFIGURATION: Final = """\
# There is no udev in a guest: what waits for it waits for ever, or fails.
activation {
    udev_sync = 0
    udev_rules = 0
    monitoring = 0
}
devices {
    obtain_device_list_from_udev = 0
    use_devicesfile = 0
}
# Without it every change warns; what is kept lies in memory.
backup {
    backup = 1
    archive = 0
}
global {
    use_lvmpolld = 0
}
"""

CONFIGURATION: Final[Mapping[str, str]] = {
    "etc/lvm/lvm.conf": LVM_CONFIGURATION,
    "etc/mke2fs.conf": "",
    "etc/passwd": "root:x:0:0:root:/root:/usr/bin/dash\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/fstab": "",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
"""Files of the guest; an empty one is the package's own where it has one."""

_PROGRAM_DIRECTORIES: Final = ("bin", "sbin", "usr/bin", "usr/sbin")
_DIRECTORIES: Final = ("dev", "proc", "sys", "run", "tmp", "mnt", "root", "etc", "var/tmp",
                       "run/lock", "run/lvm", "run/mdadm", APPLETS.lstrip("/"))  # fmt: skip
_LINKS: Final = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
                 "init": "usr/lib/goldsmith/init", "usr/bin/sh": "dash",
                 "usr/sbin/modprobe": "../bin/busybox", "var/run": "../run",
                 "var/lock": "../run/lock"}  # fmt: skip


@dataclass(slots=True)
class Archive:
    """Content of an initramfs by its path without leading slash; directories come by themselves."""

    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def add(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Put a file in."""
        self.files[path] = (mode, content)

    def write(self, stream: BinaryIO) -> None:
        """Write it as a cpio archive of the new ASCII format, the same bytes for the same content.

        The console that the kernel opens for init is in it too.
        """
        directories = set(self.directories)
        for path in (*self.files, *self.links, *self.directories, "dev/console"):
            directories |= {str(parent) for parent in Path(path).parents} - {"."}
        entries: list[tuple[str, int, bytes]] = [
            *((path, stat.S_IFDIR | 0o755, b"") for path in directories),
            *((path, stat.S_IFLNK | 0o777, target.encode()) for path, target in self.links.items()),
            *((path, stat.S_IFREG | mode, data) for path, (mode, data) in self.files.items()),
            ("dev/console", stat.S_IFCHR | 0o600, b""),
        ]
        # A directory's name sorts before those of its content.
        for number, (path, mode, data) in enumerate(sorted(entries), 1):
            device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
            _write_entry(stream, path, (number, mode, *device), data)
        _write_entry(stream, "TRAILER!!!", (0, 0, 0, 0), b"")


def _write_entry(
    stream: BinaryIO, path: str, attributes: tuple[int, int, int, int], data: bytes
) -> None:
    inode, mode, major, minor = attributes
    name = path.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    for part in (head, data):
        stream.write(part)
        stream.write(bytes(-len(part) % 4))


def make_initramfs(
    tree: Path, modules_directory: Path, *, programs: Sequence[str] = PROGRAMS
) -> Archive:
    """Choose an initramfs from a tree of unpacked packages, `modules_directory` among them.

    Raises GuestError for programs, libraries and modules that no package has brought.
    """
    archive = Archive(links=dict(_LINKS), directories=set(_DIRECTORIES))
    found = _add_programs(archive, tree, programs)
    _add_libraries(archive, tree, found)
    modules = read_modules(modules_directory)
    place = f"usr/lib/modules/{modules_directory.name}"
    for module in modules:
        archive.add(f"{place}/{module.path}", module.content)
    archive.add(f"{place}/modules.dep", modules_dep(modules).encode())
    archive.add(f"{place}/modules.alias", modules_alias(modules).encode())
    archive.add("usr/lib/goldsmith/init", INIT.encode(), 0o755)
    archive.add(RUN_COMMAND_PATH.lstrip("/"), RUN_COMMAND.encode(), 0o755)
    for path, text in CONFIGURATION.items():
        theirs = _in_tree(tree, Path(path))
        archive.add(path, text.encode() or (theirs.read_bytes() if theirs.is_file() else b""))
    return archive


def _add_programs(archive: Archive, tree: Path, names: Iterable[str]) -> list[Path]:
    """Put programs in, with their other names; returns their files in the tree."""
    places = [
        Path(folder, name)
        for folder in _PROGRAM_DIRECTORIES
        if (tree / folder).is_dir()
        for name in sorted(os.listdir(tree / folder))
    ]
    chosen: dict[tuple[int, int], str] = {}
    found = []
    for name in names:
        place = next((place for place in places if place.name == name), None)
        if place is None:
            raise GuestError(f"none of the guest's packages has the program {name}")
        file = _in_tree(tree, place)
        target = _merged(place)
        archive.add(target, file.read_bytes(), 0o755)
        chosen[_identity(file)] = target
        found.append(file)
    for place in places:
        file = _in_tree(tree, place)
        same = chosen.get(_identity(file)) if file.exists() else None
        here = _merged(place)
        if same is not None and here != same:
            archive.links[here] = posixpath.relpath(same, posixpath.dirname(here))
    return found


def _merged(place: Path) -> str:
    """The place of a program where /bin is a link to /usr/bin, as Debian's packages assume."""
    return str(place if place.parts[0] == "usr" else Path("usr", place))


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _add_libraries(archive: Archive, tree: Path, programs: Iterable[Path]) -> None:
    """Put in what the programs load: libraries by name, and the loader."""
    directories = [
        Path(base, folder)
        for base in ("lib", "usr/lib")
        for folder in ("", *_multiarch(tree / base))
    ]
    pending = list(programs)
    while pending:
        file = pending.pop()
        content = file.read_bytes()
        if not is_elf(content):  # a script
            continue
        elf = Elf.parse(content, file.name)
        wanted = {name: [folder / name for folder in directories] for name in elf.needed()}
        if loader := elf.interpreter():
            wanted[loader] = [Path(loader.lstrip("/")), Path("usr" + loader)]
        for name, candidates in wanted.items():
            place = next((p for p in candidates if _in_tree(tree, p).is_file()), None)
            if place is None:
                raise GuestError(
                    f"none of the guest's packages has {name}, which {file.name} needs"
                )
            if _merged(place) not in archive.files:
                archive.add(_merged(place), _in_tree(tree, place).read_bytes(), 0o755)
                pending.append(_in_tree(tree, place))


def _in_tree(tree: Path, place: Path) -> Path:
    """Where a file of the tree is, with links followed inside it."""
    return confined(tree, place, follow_last=True)


def _multiarch(directory: Path) -> list[str]:
    """Debian's directories of libraries of one architecture: `x86_64-linux-gnu`."""
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.glob("*-linux-gnu*") if path.is_dir())
