"""zstd for an initramfs, outside of its tree.

initramfs-tools wants zstd and only suggests it: without it mkinitramfs falls back to gzip, on one
processor and three times as long. With it, zstd takes as long as everything else in mkinitramfs,
as its level is 9 where nothing says another. So what is to be compressed is only marked, and the
host compresses it afterwards, on all processors. While the initramfs is made, a stand-in for zstd
does that in a tree without it. A tree's own zstd stays in its place, as hooks may call it or copy
it into the initramfs: there mkinitramfs has a line of ours, where it is known to the letter. No
package is added, and nothing of it stays. Source: mkinitramfs of initramfs-tools 0.142; the
kernel's Documentation/driver-api/early-userspace/buffer-format.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined, read_confined
from goldsmith.packages.lent_file import lent_file

if TYPE_CHECKING:
    import zstandard

COMPRESSION: Final = "zstd"
_PROGRAM: Final = "/usr/bin/zstd"
"""mkinitramfs has a PATH of its own, and this is its first directory."""
_PLACES: Final = (_PROGRAM, "/sbin/zstd", "/bin/zstd")
MARK: Final = b"goldsmth"
"""As long as what tells the compression of an archive, and none of those."""
_CPIO: Final = b"07070"
_STAND_IN: Final = b"""#!/bin/sh
# goldsmith: stands in for zstd while the initramfs is made; the host compresses what comes out
for word; do
    case $word in
    -d | --decompress) exit 1 ;;
    esac
done
printf %s goldsmth
exec cat "$word"
"""
_MKINITRAMFS: Final = "/usr/sbin/mkinitramfs"
_MOST_BYTES: Final = 1 << 20
_PACKING: Final = b'\n$compress -c "${__TMPMAINCPIO}" ||\n'
_MARKING: Final = b"""
# goldsmith: the host compresses what comes out
case $compress in
zstd\\ *) printf %s goldsmth && cat "${__TMPMAINCPIO}" ;;
*) $compress -c "${__TMPMAINCPIO}" ;;
esac ||
"""
_KERNEL_OPTION: Final = b"\nCONFIG_RD_ZSTD=y\n"
_LEVEL: Final = 3
"""A third of the time of mkinitramfs's own 9, and still smaller than gzip makes it."""
_COPIED_BYTES: Final = 1 << 20


def has_own(tree: Path) -> bool:
    """Whether the tree has a zstd of its own, where mkinitramfs finds it first."""
    place = confined(tree, _PROGRAM)
    return place.is_file() and not place.is_symlink()


def can_lend(tree: Path, kernels: Sequence[str]) -> bool:
    """Whether the initramfs can be marked instead of compressed by zstd.

    That is in a tree whose mkinitramfs is known, or that has no zstd; and if every kernel can read
    what zstd makes.
    """
    lacks = not has_own(tree)
    if lacks and any(os.path.lexists(confined(tree, place)) for place in _PLACES):
        return False
    if not lacks and _marking(tree) is None:
        return False
    for kernel in kernels:
        config = read_confined(tree, f"/boot/config-{kernel}")
        if config is None or _KERNEL_OPTION not in b"\n" + config:
            return False
        # mkinitramfs decompresses such modules, which the stand-in cannot.
        modules = confined(tree, f"/lib/modules/{kernel}", follow_last=True)
        if lacks and any(modules.rglob("*.ko.zst")):
            return False
    return bool(kernels)


@contextmanager
def lent(tree: Path) -> Iterator[None]:
    """Have the initramfs marked for the length of a block, where `can_lend` says so."""
    marking = _marking(tree) if has_own(tree) else None
    if marking is None:
        place, content = confined(tree, _PROGRAM), _STAND_IN
    else:
        place, content = confined(tree, _MKINITRAMFS), marking
    with lent_file(place, content):
        yield


def _marking(tree: Path) -> bytes | None:
    """The tree's mkinitramfs with the line of ours; None for one that is not known."""
    try:
        place = confined(tree, _MKINITRAMFS)
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return None
        text = place.read_bytes()
    except OSError:
        return None
    return text.replace(_PACKING, _MARKING) if text.count(_PACKING) == 1 else None


def packer() -> str:
    """What decides, besides the content, which bytes `compressor` makes."""
    import zstandard

    return f"zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))} level {_LEVEL}"


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
            head = source.read(len(MARK) + len(_CPIO))
            if not head.startswith(MARK):
                raise GoldsmithError(
                    f"mkinitramfs has not used zstd for {path.name}, which is what COMPRESS says",
                    hint="a file in /usr/share/initramfs-tools/conf-hooks.d may say otherwise",
                )
            if not head.endswith(_CPIO):
                raise GoldsmithError(f"mkinitramfs has put no archive into {path.name}")
            source.seek(0)
            _copy(source, target, start)
            source.seek(start + len(MARK))
            unmarked = cast("BinaryIO", _Unmarked(source, path.name))
            compressor().copy_stream(unmarked, target)
        shutil.copystat(path, temporary)
        os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(slots=True)
class _Unmarked:
    """Reads what a hook has put nothing of the stand-in into; raises GoldsmithError."""

    source: BinaryIO
    name: str
    _end: bytes = b""

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        seen = self._end + data[: len(MARK)]
        if MARK in data or MARK in seen:
            raise GoldsmithError(
                f"a hook of initramfs-tools has put zstd, or what zstd made, into {self.name}, but "
                "the tree has no zstd",
                hint="add the package zstd to the image",
            )
        self._end = (self._end + data)[-len(MARK) :]
        return data


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (block := source.read(min(size_bytes, _COPIED_BYTES))):
        target.write(block)
        size_bytes -= len(block)
