"""zstd for an initramfs, outside of its tree.

initramfs-tools wants zstd and only suggests it: without it mkinitramfs falls back to gzip, on one
processor and three times as long. With it, zstd takes as long as everything else in mkinitramfs,
as its level is 9 where nothing says another. So while the initramfs is made, a stand-in for zstd
lies in the tree, which hands on what it is given, marked; the host compresses it afterwards, on all
processors. No package is added, and nothing of it stays. Source: mkinitramfs of initramfs-tools
0.142; the kernel's Documentation/driver-api/early-userspace/buffer-format.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined, read_confined
from goldsmith.host.process import write_program

if TYPE_CHECKING:
    import zstandard

COMPRESSION: Final = "zstd"
_PROGRAM: Final = "/usr/bin/zstd"
"""mkinitramfs has a PATH of its own, and this is its first directory."""
_PLACES: Final = (_PROGRAM, "/sbin/zstd", "/bin/zstd")
MARK: Final = b"goldsmth"
"""As long as what tells the compression of an archive, and none of those."""
_STAND_IN: Final = """#!/bin/sh
# goldsmith: stands in for zstd while the initramfs is made; the host compresses what comes out
for word; do
    case $word in
    -d | --decompress) {decompress} ;;
    esac
done
printf %s {mark}
exec cat "$word"
"""
_ASIDE: Final = ".goldsmith"
_KERNEL_OPTION: Final = b"\nCONFIG_RD_ZSTD=y\n"
_LEVEL: Final = 3
"""A third of the time of mkinitramfs's own 9, and still smaller than gzip makes it."""
_COPIED_BYTES: Final = 1 << 20


def has_own(tree: Path) -> bool:
    """Whether the tree has a zstd of its own, where mkinitramfs finds it first."""
    place = confined(tree, _PROGRAM)
    return place.is_file() and not place.is_symlink()


def can_lend(tree: Path, kernels: Sequence[str]) -> bool:
    """Whether a stand-in can take the place of the tree's zstd or is lent to a tree that has none.

    And every kernel can read what zstd makes.
    """
    lacks = not has_own(tree)
    if lacks and any(os.path.lexists(confined(tree, place)) for place in _PLACES):
        return False
    for kernel in kernels:
        config = read_confined(tree, f"/boot/config-{kernel}")
        if config is None or _KERNEL_OPTION not in b"\n" + config:
            return False
        # mkinitramfs decompresses such modules, which the stand-in alone cannot.
        modules = confined(tree, f"/lib/modules/{kernel}", follow_last=True)
        if lacks and any(modules.rglob("*.ko.zst")):
            return False
    return bool(kernels)


@contextmanager
def lent(tree: Path) -> Iterator[None]:
    """Put the stand-in in place for the length of a block.

    Afterwards the tree's own zstd is back, if it has one, and their directory has its time.
    """
    place = confined(tree, _PROGRAM)
    directory = place.parent.stat()
    aside = place.with_name(place.name + _ASIDE)
    has = has_own(tree)
    decompress = f'exec {_PROGRAM}{_ASIDE} "$@"' if has else "exit 1"
    text = _STAND_IN.format(decompress=decompress, mark=MARK.decode())
    if has:
        os.rename(place, aside)
    try:
        write_program(place, text.encode(), 0o755)
        yield
    finally:
        if has:
            os.rename(aside, place)
        else:
            place.unlink(missing_ok=True)
        os.utime(place.parent, ns=(directory.st_atime_ns, directory.st_mtime_ns))


def compressor() -> zstandard.ZstdCompressor:
    """What compresses an initramfs: by a level of ours, on all processors, always alike."""
    import zstandard

    return zstandard.ZstdCompressor(
        level=_LEVEL, threads=max(1, os.cpu_count() or 1), write_checksum=True
    )


def compress_marked(path: Path, skip_early: Callable[[BinaryIO], int]) -> None:
    """Compress the part of an initramfs that the stand-in has marked; raises GoldsmithError.

    `skip_early` says where that begins: archives before it stay as they are. The bytes do not
    depend on how many processors there are.
    """
    temporary = path.with_name(f".{path.name}.goldsmith")
    status = path.stat()
    try:
        with path.open("rb") as source, temporary.open("xb") as target:
            start = skip_early(source)
            source.seek(start)
            if source.read(len(MARK)) != MARK:
                raise GoldsmithError(f"mkinitramfs has not used zstd for {path.name}")
            source.seek(0)
            _copy(source, target, start)
            source.seek(start + len(MARK))
            compressor().copy_stream(source, target)
        shutil.copystat(path, temporary)
        os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (block := source.read(min(size_bytes, _COPIED_BYTES))):
        target.write(block)
        size_bytes -= len(block)
