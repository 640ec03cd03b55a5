"""The disk of a machine that boots: any format of image, looked at before QEMU opens it.

A format is given, never guessed: a guest that writes the header of another format into its raw disk
could otherwise name any file of the host. For the same reason an image that leans on other files is
refused, as is one whose content is not of the format that was given.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.disk.container_reader import open_container
from goldsmith.errors import GoldsmithError, UsageError
from goldsmith.host import process
from goldsmith.host.sparse import BLOCK_BYTES, create_sparse, full_file_system_named

DRIVERS: Final[Mapping[str, str]] = {
    "raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhdx": "vhdx", "vpc": "vpc",
    "raw.gz": "raw", "raw.zst": "raw",
}  # fmt: skip
"""QEMU's driver for each format that can be booted; what is packed is unpacked first."""

WRITABLE: Final = ("raw", "qcow2")
"""Formats that a guest may write into directly: QEMU cannot write to a streamOptimized vmdk."""

PACKED: Final = ("raw.gz", "raw.zst")

# docs/interop/qcow2.txt, VMware's Virtual Disk Format 5.0, VirtualBox's VDICore.h, [MS-VHDX] 2.2.1,
# RFC 1952 and RFC 8878. A fixed vpc has its mark at the end of the file.
_MAGICS: Final[tuple[tuple[str, int, bytes], ...]] = (
    ("qcow2", 0, b"QFI\xfb"),
    ("vmdk", 0, b"KDMV"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("vhdx", 0, b"vhdxfile"),
    ("raw.gz", 0, b"\x1f\x8b"),
    ("raw.zst", 0, b"\x28\xb5\x2f\xfd"),
)
_VPC_MAGIC: Final = b"conectix"
_SECTOR_BYTES: Final = 512
_ZEROS: Final = bytes(BLOCK_BYTES)

_QCOW2_BACKING_AT: Final = slice(8, 16)
_QCOW2_INCOMPATIBLE_AT: Final = slice(72, 80)
_QCOW2_DATA_FILE: Final = 1 << 2
_HEAD_BYTES: Final = 64 << 10
_VMDK_PARENT: Final = re.compile(rb"(?mi)^\s*parentCID\s*=\s*(?!ffffffff)[0-9a-f]")

# qemu-img(1), "check": 2 is corruption, 3 leaked clusters (harmless), 63 a format without a check.
_CHECK_FAILED: Final = (1, 2)
_NOT_CHECKED_FOR_CUTS: Final = ("vdi", "vhdx", "vpc")
"""Formats whose check does not see that the end of the file is gone (QEMU 7.2)."""


def check_image(path: Path, format: str) -> None:
    """Raise GoldsmithError for a file that is no sound image of this format, before it is booted.

    Raises UsageError for an unknown format, MissingToolError without qemu-img.
    """
    if format not in DRIVERS:
        raise UsageError(f"a {format} image cannot be booted",
                         hint=f"choose one of {', '.join(DRIVERS)}")  # fmt: skip
    if not path.is_file():
        raise GoldsmithError(f"there is no image {path} to boot")
    try:
        with open(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
            size_bytes = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size_bytes - _SECTOR_BYTES))
            footer = stream.read(_SECTOR_BYTES)
    except OSError as e:
        raise GoldsmithError(f"{path} cannot be read: {e.strerror}") from e
    _check_magic(path, format, head, footer)
    _check_alone(path, format, head)
    if format == "raw":
        _check_whole(path, head, size_bytes)
    elif format not in PACKED:
        _check_sound(path, format)
    if format in _NOT_CHECKED_FOR_CUTS:
        _check_map(path, format, size_bytes)


def _check_magic(path: Path, format: str, head: bytes, footer: bytes) -> None:
    if not head:
        raise GoldsmithError(f"{path} is empty", hint="build or fetch the image again")
    found = next((name for name, at, magic in _MAGICS if head[at:].startswith(magic)), None)
    # A fixed vpc has its mark at its end only; one at the end of a raw disk says nothing.
    if head.startswith(_VPC_MAGIC) or (format == "vpc" and footer.startswith(_VPC_MAGIC)):
        found = "vpc"
    if found == format or (found is None and format == "raw"):
        return
    what = f"it is a {found} image" if found else _unknown_start(head)
    raise GoldsmithError(
        f"{path} is not a {format} image: {what}",
        hint=f"boot it with --format {found} if it is meant to be one" if found
        else "fetch the image again and compare its digest, or say another --format",
    )  # fmt: skip


def _unknown_start(head: bytes) -> str:
    shown = head[:8].hex(" ")
    return f"it begins with the unknown bytes {shown}" if head.strip(b"\0") else "it has no header"


def _check_alone(path: Path, format: str, head: bytes) -> None:
    """Refuse images that name other files of the host."""
    leans = False
    if format == "qcow2":
        is_old = int.from_bytes(head[4:8], "big") < 3
        features = 0 if is_old else int.from_bytes(head[_QCOW2_INCOMPATIBLE_AT], "big")
        leans = any(head[_QCOW2_BACKING_AT]) or bool(features & _QCOW2_DATA_FILE)
    elif format == "vmdk":
        leans = _VMDK_PARENT.search(head) is not None
    if leans:
        raise GoldsmithError(
            f"{path} depends on another file, and an image must not say which files are opened",
            hint=f"qemu-img convert -O {format} makes an image of its own from it",
        )


def _check_sound(path: Path, format: str) -> None:
    """Let qemu-img look at what the format says of itself; leaked clusters do no harm."""
    image = os.path.abspath(path)
    argv = ["qemu-img", "check", "-q", "-f", DRIVERS[format], image]
    done = process.run(argv, check=False)
    if done.status not in _CHECK_FAILED:
        return
    said = [line for line in done.tail if line][:8]
    raise GoldsmithError(
        "\n".join([f"{path} is corrupt, as qemu-img check says:", *said]),
        hint="build or fetch the image again",
    )


def _check_map(path: Path, format: str, size_bytes: int) -> None:
    """Where the format says that data is, the file must have some."""
    argv = ["qemu-img", "map", "--output=json", "-f", DRIVERS[format], os.path.abspath(path)]
    pieces = json.loads(process.run(argv, capture=True).text)
    ends = (p["offset"] + p["length"] for p in pieces if p["data"] and "offset" in p)
    if max(ends, default=0) > size_bytes:
        raise _cut(path)


def _check_whole(path: Path, head: bytes, size_bytes: int) -> None:
    """A raw disk must reach to the end of its last partition (UEFI specification 2.10, 5.3)."""
    if head[_SECTOR_BYTES:].startswith(b"EFI PART"):
        first, count, entry_bytes = struct.unpack_from("<QII", head, _SECTOR_BYTES + 72)
        starts = range(first * _SECTOR_BYTES, len(head) - 128, max(entry_bytes, 128))
        lasts = [struct.unpack_from("<Q", head, at + 40)[0] for at in starts[:count]
                 if any(head[at : at + 16])]  # fmt: skip
        if (max(lasts, default=-1) + 1) * _SECTOR_BYTES > size_bytes:
            raise _cut(path)


def _cut(path: Path) -> GoldsmithError:
    return GoldsmithError(f"{path} is cut: the disk in it is larger than the file",
                          hint="build or fetch the image again")  # fmt: skip


@dataclass(frozen=True, slots=True)
class BootDisk:
    """An image as QEMU opens it: the file (that of the user or an unpacked one) and its driver."""

    path: Path
    driver: str


def open_disk(path: Path, format: str, scratch: Path) -> BootDisk:
    """The disk of an image that `check_image` has passed; packed ones are unpacked to `scratch`.

    Raises CorruptContainer, NoSpaceError.
    """
    if format not in PACKED:
        return BootDisk(Path(os.path.abspath(path)), DRIVERS[format])
    unpacked = scratch / "disk.raw"
    create_sparse(unpacked, 0)
    size_bytes = 0
    with full_file_system_named(unpacked), open(unpacked, "r+b", buffering=0) as stream:
        for piece in open_container(path, size_bytes=None):
            _write_sparse(stream.fileno(), piece, size_bytes)
            size_bytes += len(piece)
        os.ftruncate(stream.fileno(), size_bytes)
    if not size_bytes:
        raise GoldsmithError(f"{path} is empty once it is unpacked")
    with open(unpacked, "rb") as stream:
        _check_whole(path, stream.read(_HEAD_BYTES), size_bytes)
    return BootDisk(unpacked, "raw")


def _write_sparse(fd: int, piece: bytes, at: int) -> None:
    """Write what is not zeros, in whole blocks of the file."""
    start = 0
    view = memoryview(piece)
    while start < len(piece):
        end = min(start + BLOCK_BYTES - (at + start) % BLOCK_BYTES, len(piece))
        if view[start:end] != _ZEROS[: end - start]:
            while start < end:
                start += os.pwrite(fd, view[start:end], at + start)
        start = end


def disk_nodes(
    disk: BootDisk, scratch: Path, *, keep_writes: bool, image: Path, name: str = "disk"
) -> list[dict[str, object]]:
    """The block node `name` of QEMU; without `keep_writes` on an overlay made in `scratch`.

    `image` is the name to use in messages. Raises GoldsmithError when the writes cannot be kept.
    """
    if keep_writes:
        if not os.access(disk.path, os.W_OK):
            raise GoldsmithError(f"{image} cannot be written to", hint="boot it with --snapshot")
        return [{
            "node-name": name, "driver": disk.driver, "discard": "unmap",
            "file": {"driver": "file", "filename": str(disk.path)},
        }]  # fmt: skip
    overlay = scratch / "overlay.qcow2"
    process.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk.path, "-F", disk.driver, overlay],
        hint=f"the image that it cannot read is {image}",
    )
    # What the overlay's header says about its backing file is overruled here: read-only, and of
    # the format that was given.
    return [{
        "node-name": name, "driver": "qcow2", "discard": "unmap", "cache": {"no-flush": True},
        "file": {"driver": "file", "filename": str(overlay)},
        "backing": {
            "driver": disk.driver, "read-only": True,
            "file": {"driver": "file", "filename": str(disk.path), "read-only": True},
        },
    }]  # fmt: skip
