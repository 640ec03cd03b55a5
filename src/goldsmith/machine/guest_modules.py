"""Kernel modules for the guest: those that are wanted, what they depend on, and modprobe's tables.

A host need not have kmod: dependencies and aliases are read from the modules themselves. The
tables are those of modules.dep(5), which the guest's modprobe and, through it, the kernel use to
load a driver when something asks for it: loading all of them would take seconds.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from goldsmith.machine.guest_elf import Elf
from goldsmith.machine.guest_protocol import GuestError

WANTED_MODULES: Final = (
    "virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtiofs", "loop", "overlay",
    "dm_mod", "dm_raid", "dm_snapshot", "raid0", "raid1", "raid10", "raid456",
    "ext4", "vfat", "isofs", "xfs", "btrfs", "squashfs",
    # The code page and character set that vfat and isofs mount with unless told otherwise.
    "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8",
)  # fmt: skip

ASKED_FOR_BY_NAME: Final = (
    "crc32c_generic", "crc32c_intel", "crc32c_cryptoapi", "xxhash_generic", "blake2b_generic",
    "sha256_generic",
)  # fmt: skip
"""Checksums that file systems ask the kernel's crypto layer for; which there are depends on it."""

_FILE: Final = re.compile(r"(.+)\.ko(?:\.(?:xz|zst|gz))?")


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module: `path` is relative to the directory of its kernel's modules, without .xz."""

    name: str
    path: str
    content: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def read_modules(
    directory: Path,
    wanted: Iterable[str] = WANTED_MODULES,
    optional: Collection[str] = ASKED_FOR_BY_NAME,
) -> list[Module]:
    """The wanted modules of a kernel (`lib/modules/VERSION`) with all that they depend on.

    What is built into the kernel is left out; of `optional` only what there is comes along.
    Sorted by name. Raises GuestError for modules that the kernel has not.
    """
    files = {name: path for path in directory.rglob("*.ko*") if (name := _module_name(path.name))}
    builtin_list = directory / "modules.builtin"
    lines = builtin_list.read_text().splitlines() if builtin_list.is_file() else []
    builtin = {_module_name(line.rpartition("/")[2]) for line in lines}
    pending = [*wanted, *(name for name in optional if name in files)]
    found: dict[str, Module] = {}
    while pending:
        name = pending.pop().replace("-", "_")
        if name in found or (name in builtin and name not in files):
            continue
        if name not in files:
            raise GuestError(f"the guest's kernel {directory.name} has no module {name}")
        found[name] = _read(name, files[name], directory)
        pending += found[name].depends
    return [found[name] for name in sorted(found)]


def _module_name(file_name: str) -> str:
    """`dm_mod` of `dm-mod.ko.xz`, "" for other files."""
    match = _FILE.fullmatch(file_name)
    return match.group(1).replace("-", "_") if match else ""


def _read(name: str, path: Path, directory: Path) -> Module:
    packed = path.read_bytes()
    try:
        content = _unpacked(packed, path.suffix)
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError) as e:
        raise GuestError(f"{path.name} of the guest's kernel cannot be unpacked: {e}") from e
    facts = Elf.parse(content, path.name).module_facts()
    depends = next((value for key, value in facts if key == "depends"), "")
    relative = str(path.relative_to(directory))
    return Module(
        name=name,
        path=relative.removesuffix(path.suffix) if path.suffix != ".ko" else relative,
        content=content,
        depends=tuple(word.replace("-", "_") for word in depends.split(",") if word),
        aliases=tuple(value for key, value in facts if key == "alias"),
    )


def _unpacked(data: bytes, suffix: str) -> bytes:
    match suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        case ".gz":
            return zlib.decompress(data, 31)
        case _:
            return data


def load_order(name: str, modules: Mapping[str, Module]) -> list[str]:
    """What `name` depends on, directly or not: each after all those that it depends on itself."""
    order: list[str] = []

    def visit(current: str) -> None:
        for needed in modules[current].depends:
            if needed in modules and needed not in order:
                visit(needed)
                order.append(needed)

    visit(name)
    return order


def modules_dep(modules: Iterable[Module]) -> str:
    """The file modules.dep: what must be loaded first stands last."""
    by_name = {module.name: module for module in modules}
    lines = []
    for module in by_name.values():
        needed = (by_name[name].path for name in reversed(load_order(module.name, by_name)))
        lines.append(f"{module.path}:" + "".join(f" {path}" for path in needed))
    return "".join(f"{line}\n" for line in lines)


def modules_alias(modules: Iterable[Module]) -> str:
    """The file modules.alias: patterns of what a module serves."""
    return "".join(f"alias {alias} {m.name}\n" for m in modules for alias in m.aliases)
