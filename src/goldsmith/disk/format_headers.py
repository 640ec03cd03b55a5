"""What qemu-img puts into its files by chance and by the clock, replaced by what is in the image.

Every identifier becomes one that is derived from the digest of the raw image: equal images give
equal files, and two images never share an identifier (VirtualBox refuses the second of two disks
with one UUID). Only fields that the formats' specifications describe are written, with their
checksums.
"""

from __future__ import annotations

import os
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from goldsmith.disk.filesystems.crc32c import crc32c
from goldsmith.errors import GoldsmithError
from goldsmith.host.sparse import punch_hole

_NAMESPACE: Final = uuid.UUID("5a3a4f2e-7f0c-5c5b-9b0e-2f7b8c1d6e90")
"""The namespace of identifiers of image files; it never changes."""

_SECTOR_BYTES: Final = 512


class _Unexpected(GoldsmithError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"qemu-img wrote {what}, which this version of goldsmith does not know",
            hint="report it with the output of `qemu-img --version`",
        )


def _identifier(content_sha256: str, kind: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"{kind}:{content_sha256}")


def stamp(path: Path, format: str, content_sha256: str, epoch_s: int) -> None:
    """Give a file that qemu-img wrote its identifiers and time; formats without any stay as is.

    Raises GoldsmithError when the file is not laid out as its format demands.
    """
    setter = _STAMPS.get(format)
    if setter is not None:
        with open(path, "r+b", buffering=0) as stream:
            setter(stream.fileno(), content_sha256, epoch_s)
            os.fsync(stream.fileno())


def _stamp_vmdk(fd: int, content_sha256: str, epoch_s: int) -> None:
    """The descriptor's content id, and the name of its extent: the file's own, and temporary.

    Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extent Header", "The Disk
    DescriptorFile". A reader of a file with an embedded descriptor does not look for the name.
    """
    magic, _, _, _, _, at, count = struct.unpack("<4sIIQQQQ", _read(fd, 44, 0))
    if magic != b"KDMV" or not 0 < count <= 2048:
        raise _Unexpected("a vmdk without a descriptor")
    room = count * _SECTOR_BYTES
    text = _read(fd, room, at * _SECTOR_BYTES).rstrip(b"\0")
    # ffffffff means "none"; the top bit stays clear.
    content_id = int(content_sha256[:8], 16) & 0x7FFFFFFF or 1
    text, ids = re.subn(rb"(?m)^CID=[0-9a-f]+$", b"CID=%08x" % content_id, text)
    text, extents = re.subn(rb'(?m)^(RW \d+ SPARSE) "[^"\n]*"', rb'\1 "disk.vmdk"', text)
    if (ids, extents) != (1, 1) or len(text) > room:
        raise _Unexpected("a vmdk descriptor of another form")
    _write(fd, text.ljust(room, b"\0"), at * _SECTOR_BYTES)


def _stamp_vdi(fd: int, content_sha256: str, epoch_s: int) -> None:
    """The UUIDs of the image and of its last snapshot, in VDI's preheader of version 1.1."""
    if _read(fd, 8, 0x40) != struct.pack("<II", 0xBEDA107F, 0x00010001):
        raise _Unexpected("a vdi of another version")
    for at, kind in ((0x188, "vdi"), (0x198, "vdi-snapshot")):
        _write(fd, _identifier(content_sha256, kind).bytes_le, at)


_VHDX_HEADERS: Final = (64 << 10, 128 << 10)
_VHDX_REGIONS: Final = 192 << 10
_VHDX_METADATA: Final = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_VHDX_PAGE_83: Final = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")


def _stamp_vhdx(fd: int, content_sha256: str, epoch_s: int) -> None:
    """Both headers, the log, and the disk's own identifier. Source: [MS-VHDX], 2.2 to 2.6."""
    headers = {}
    for at in _VHDX_HEADERS:
        header = bytearray(_read(fd, 4096, at))
        signature, _, sequence = struct.unpack_from("<4sIQ", header)
        if signature != b"head":
            raise _Unexpected("a vhdx without headers")
        headers[sequence, at] = header
    # The header with the higher number counts; qemu-img begins at a random one.
    for number, ((_, at), header) in enumerate(sorted(headers.items()), 1):
        log_id, log_bytes, log_at = struct.unpack_from("<16s4xIQ", header, 48)
        if any(log_id):
            raise _Unexpected("a vhdx with entries in its log")
        written, content = (_identifier(content_sha256, f"vhdx-{k}") for k in ("file", "data"))
        struct.pack_into("<IQ16s16s", header, 4, 0, number, written.bytes_le, content.bytes_le)
        struct.pack_into("<I", header, 4, crc32c(bytes(header)) ^ 0xFFFFFFFF)
        _write(fd, header, at)
        # Entries that were carried out stay, under an identifier made by chance.
        if not punch_hole(fd, log_at, log_bytes):
            _write(fd, bytes(log_bytes), log_at)
    _write(fd, _identifier(content_sha256, "vhdx-disk").bytes_le, _find_page_83(fd))


def _find_page_83(fd: int) -> int:
    """Where the disk's identifier (SCSI page 83) lies: region table, metadata table, item."""
    regions = _read(fd, 64 << 10, _VHDX_REGIONS)
    for number in range(min(struct.unpack_from("<I", regions, 8)[0], 2047)):
        name, region_at = struct.unpack_from("<16sQ", regions, 16 + 32 * number)
        if name != _VHDX_METADATA.bytes_le:
            continue
        table = _read(fd, 64 << 10, region_at)
        for item in range(min(struct.unpack_from("<H", table, 10)[0], 2047)):
            name, item_at = struct.unpack_from("<16sI", table, 32 + 32 * item)
            if name == _VHDX_PAGE_83.bytes_le:
                return int(region_at + item_at)
    raise _Unexpected("a vhdx without an identifier of the disk")


_VHD_EPOCH_S: Final = 946_684_800
"""2000-01-01, from which VHD counts."""
_VHD_FIXED: Final = 2
_VHD_DYNAMIC: Final = 3


def _stamp_vpc(fd: int, content_sha256: str, epoch_s: int) -> None:
    """The footer's time and UUID. Source: Microsoft, Virtual Hard Disk Image Format, 1.0."""
    at = os.fstat(fd).st_size - _SECTOR_BYTES
    footer = bytearray(_read(fd, _SECTOR_BYTES, at))
    kind = struct.unpack_from(">I", footer, 60)[0]
    if footer[:8] != b"conectix" or kind not in (_VHD_FIXED, _VHD_DYNAMIC):
        raise _Unexpected("a vhd that is neither fixed nor dynamic")
    struct.pack_into(">I", footer, 24, min(max(epoch_s - _VHD_EPOCH_S, 0), 0xFFFFFFFF))
    struct.pack_into(">I16s", footer, 64, 0, _identifier(content_sha256, "vpc").bytes)
    struct.pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
    _write(fd, footer, at)
    if kind == _VHD_DYNAMIC:
        # Such a file begins with a copy of its footer.
        _write(fd, footer, 0)


def _read(fd: int, count: int, at: int) -> bytes:
    data = os.pread(fd, count, at) if at >= 0 else b""
    if len(data) != count:
        raise _Unexpected("a file that ends too early")
    return data


def _write(fd: int, data: bytes | bytearray, at: int) -> None:
    if os.pwrite(fd, data, at) != len(data):
        raise OSError(28, os.strerror(28))


_STAMPS: Final[Mapping[str, Callable[[int, str, int], None]]] = {
    "vmdk": _stamp_vmdk,
    "vdi": _stamp_vdi,
    "vhdx": _stamp_vhdx,
    "vpc": _stamp_vpc,
}
NEEDS_CONTENT: Final = frozenset(_STAMPS)
"""The formats whose files carry identifiers."""
