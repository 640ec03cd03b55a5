"""The kernel of the guest without its own decompressor: QEMU starts it where it lies.

A bzImage unpacks itself, which takes a second of emulated time at every start. Unpacked once on
the host, a kernel with a PVH entry point is loaded by QEMU (4.0 and later) as the ELF file it is.
Source: Documentation/x86/boot.rst of Linux (setup header), scripts/Makefile.lib (size_append),
lz4_Frame_format.md (legacy frame), lz4_Block_format.md, arch/x86/platform/pvh/head.S.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from goldsmith.machine.guest_elf import Elf, is_elf
from goldsmith.machine.guest_protocol import GuestError

_LZ4_LEGACY: Final = b"\x02\x21\x4c\x18"
_PVH_ENTRY: Final = 18
"""XEN_ELFNOTE_PHYS32_ENTRY (xen/interface/elfnote.h)."""


def startable_kernel(image: bytes) -> bytes:
    """The kernel in the form that starts fastest: its ELF file, else the image as it is.

    Raises GuestError for what is no x86 kernel image.
    """
    if image[0x202:0x206] != b"HdrS":
        raise GuestError("the kernel package's image has no x86 setup header")
    # Boot protocol 2.08 and later say where the payload is.
    if int.from_bytes(image[0x206:0x208], "little") < 0x0208:
        return image
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1F1] + 1) * 512 + offset
    payload = image[start : start + length]
    unpack = next((f for magic, f in _UNPACKERS if payload.startswith(magic)), None)
    if unpack is None:
        return image
    try:
        # Its last four bytes are the unpacked size, whatever the compression.
        kernel = unpack(payload)
    except (ValueError, EOFError, OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError,
            IndexError) as e:  # fmt: skip
        raise GuestError(f"the kernel package's image cannot be unpacked: {e}") from e
    if is_elf(kernel) and Elf.parse(kernel, "the guest's kernel").has_note(b"Xen", _PVH_ENTRY):
        return kernel
    return image


def unpack_lz4_legacy(data: bytes) -> bytes:
    """Unpack an LZ4 legacy frame; raises ValueError or IndexError when it is damaged.

    The standard library has no LZ4. This takes some seconds for a kernel, once for each guest.
    """
    pieces = []
    at = len(_LZ4_LEGACY)
    # The end is the end of the file; the kernel's appended size is shorter than any block.
    while at + 4 < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if at + size > len(data):
            raise ValueError("an LZ4 block is cut off")
        pieces.append(_unpack_lz4_block(data[at : at + size]))
        at += size
    return b"".join(pieces)


def _unpack_lz4_block(data: bytes) -> bytearray:
    """One block: literals, then a copy of what was written before, over and over."""
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            while (more := data[at]) == 255:
                literals += 255
                at += 1
            literals += more
            at += 1
        out += data[at : at + literals]
        at += literals
        if at >= end:
            break
        distance = data[at] | data[at + 1] << 8
        at += 2
        length = (token & 15) + 4
        if length == 19:
            while (more := data[at]) == 255:
                length += 255
                at += 1
            length += more
            at += 1
        start = len(out) - distance
        if start < 0 or distance == 0:
            raise ValueError("an LZ4 match lies before the beginning")
        if distance >= length:
            out += out[start : start + length]
        else:
            # The copy runs into what it writes: it repeats.
            out += (out[start:] * (length // distance + 1))[:length]
    return out


def _unpack_zstd(payload: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(payload)


_UNPACKERS: Final[tuple[tuple[bytes, Callable[[bytes], bytes]], ...]] = (
    (_LZ4_LEGACY, unpack_lz4_legacy),
    (b"\x28\xb5\x2f\xfd", _unpack_zstd),
    (b"\xfd7zXZ\x00", lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)),
    (b"\x5d\x00\x00", lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)),
    (b"\x1f\x8b", lambda data: zlib.decompressobj(31).decompress(data)),
    (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data)),
)
