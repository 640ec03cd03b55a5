"""Kernels taken out of their self-extracting images."""

import bz2
import gzip
import lzma
import struct

import pytest
import zstandard
from machine_elf import elf

from goldsmith.machine.guest_kernel import startable_kernel, unpack_lz4_legacy
from goldsmith.machine.guest_protocol import GuestError

PVH_NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + bytes(8)
KERNEL = elf(__notes=PVH_NOTE, __text=b"kernel " * 100)

# Made by lz4 1.9.4 with -l -9: matches that overlap themselves, long lengths, long literals.
LZ4_CONTENT = b"golden image " * 40 + bytes(range(256)) + b"a" * 700 + b"end of it"
LZ4_FRAME = (
    bytes.fromhex("02214c1824010000df676f6c64656e20696d616765200d00ffe9fff200")
    + bytes(range(1, 256))
    + bytes.fromhex("610100ffffaa90656e64206f66206974")
)


def image(payload, content=KERNEL, protocol=0x20F):
    setup = bytearray(2 * 512)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    payload += struct.pack("<I", len(content))
    struct.pack_into("<II", setup, 0x248, 16, len(payload))
    return bytes(setup) + bytes(16) + payload + b"what follows it"


@pytest.mark.parametrize(
    "pack",
    [zstandard.ZstdCompressor().compress, lzma.compress, gzip.compress, bz2.compress,
     lambda data: lzma.compress(data, lzma.FORMAT_ALONE)],
)  # fmt: skip
def test_a_kernel_is_unpacked(pack):
    assert startable_kernel(image(pack(KERNEL))) == KERNEL


def literals(data):
    """A block of LZ4 in which nothing repeats."""
    rest = len(data) - 15
    return bytes([0xF0]) + b"\xff" * (rest // 255) + bytes([rest % 255]) + data


def test_a_kernel_is_unpacked_from_lz4():
    block = literals(KERNEL)
    frame = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block
    assert startable_kernel(image(frame)) == KERNEL


def test_what_qemu_cannot_start_directly_stays_as_it_is():
    plain = elf(__notes=PVH_NOTE.replace(b"Xen", b"Xyz"))
    for kept in (
        image(gzip.compress(plain), plain),
        image(gzip.compress(b"no ELF"), b"no ELF"),
        image(b"unknown" + KERNEL),
        image(gzip.compress(KERNEL), protocol=0x207),
    ):
        assert startable_kernel(kept) == kept


def test_no_kernel_and_a_damaged_one_are_errors():
    with pytest.raises(GuestError, match="no x86 setup header"):
        startable_kernel(b"MZ" + bytes(2000))
    with pytest.raises(GuestError, match="cannot be unpacked"):
        startable_kernel(image(b"\x1f\x8b" + bytes(50)))


def test_lz4_as_its_own_program_writes_it():
    assert unpack_lz4_legacy(LZ4_FRAME) == LZ4_CONTENT
    two = LZ4_FRAME + LZ4_FRAME[4:]
    assert unpack_lz4_legacy(two) == LZ4_CONTENT * 2


@pytest.mark.parametrize(
    "block",
    ["0000", "10610500", "00ff", "1f610100ff", "1f61000000"],
    ids=["no distance", "before the beginning", "cut in a distance", "cut in a length", "zero"],
)
def test_damaged_lz4_is_an_error(block):
    data = bytes.fromhex(block)
    with pytest.raises((ValueError, IndexError)):
        unpack_lz4_legacy(LZ4_FRAME[:4] + struct.pack("<I", len(data)) + data + bytes(4))
    with pytest.raises(ValueError, match="cut off"):
        unpack_lz4_legacy(LZ4_FRAME[:-1])
