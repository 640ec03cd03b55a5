"""What stands in the superblock of an array's member, and what of it would differ in every build.

Source: struct mdp_superblock_1 and calc_sb_1_csum of linux/raid/md_p.h and super1.c (mdadm 4.2).
mdadm takes the identifier of each member from /dev/urandom and all times from the clock, and the
kernel counts its changes: none of them can be given, so they are replaced afterwards.
"""

from __future__ import annotations

import os
import struct
import uuid
from dataclasses import dataclass
from typing import Final

from goldsmith.errors import GoldsmithError

SUPERBLOCK_AT: Final = 4096
"""Metadata 1.2 begins 4 KiB into the member."""

_BYTES: Final = 4096
_MAGIC: Final = 0xA92B4EFC
_FIXED_BYTES: Final = 256
_SECTOR_BYTES: Final = 512
_ARRAY_UUID: Final = slice(16, 32)
_CREATED_AT: Final = 64
_LEVEL_AT: Final = 72
_SIZE_AT: Final = 80
_DATA_OFFSET_AT: Final = 128
_DEVICE_UUID: Final = slice(168, 184)
_UPDATED_AT: Final = 192
_EVENTS_AT: Final = 200
_CHECKSUM_AT: Final = 216
_MEMBERS_AT: Final = 220
_SECONDS_MASK: Final = (1 << 40) - 1
# That of an array which was made, started and stopped; members must agree, no more (md(4)).
_EVENTS: Final = 2


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the planner has decided; `size_bytes` of each member is 0 for level 0.

    `events` counts changes of the array: a member that has fewer was lost on the way.
    """

    array_uuid: str
    level: int
    data_offset_bytes: int
    size_bytes: int
    events: int


def read(fd: int, member_at: int) -> Superblock:
    """The superblock of a member that begins at an offset; raises GoldsmithError without one."""
    block = _read(fd, member_at)
    return Superblock(
        str(uuid.UUID(bytes=bytes(block[_ARRAY_UUID]))),
        struct.unpack_from("<i", block, _LEVEL_AT)[0],
        struct.unpack_from("<Q", block, _DATA_OFFSET_AT)[0] * _SECTOR_BYTES,
        struct.unpack_from("<Q", block, _SIZE_AT)[0] * _SECTOR_BYTES,
        struct.unpack_from("<Q", block, _EVENTS_AT)[0],
    )


def settle(fd: int, member_at: int, *, device_uuid: str, epoch_s: int) -> None:
    """Give a member its identifier and times, and as many events as any other new array has."""
    block = _read(fd, member_at)
    block[_DEVICE_UUID] = uuid.UUID(device_uuid).bytes
    for at in (_CREATED_AT, _UPDATED_AT):
        struct.pack_into("<Q", block, at, epoch_s & _SECONDS_MASK)
    struct.pack_into("<Q", block, _EVENTS_AT, _EVENTS)
    struct.pack_into("<I", block, _CHECKSUM_AT, checksum(block))
    os.pwrite(fd, block, member_at + SUPERBLOCK_AT)


def checksum(block: bytes | bytearray) -> int:
    """The checksum of a superblock, whatever stands in its place."""
    (members,) = struct.unpack_from("<I", block, _MEMBERS_AT)
    covered = bytearray(block[: _FIXED_BYTES + 2 * members])
    struct.pack_into("<I", covered, _CHECKSUM_AT, 0)
    covered.extend(bytes(-len(covered) % 4))
    total: int = sum(struct.unpack(f"<{len(covered) // 4}I", covered))
    return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF


def _read(fd: int, member_at: int) -> bytearray:
    block = bytearray(os.pread(fd, _BYTES, member_at + SUPERBLOCK_AT))
    sound = (
        len(block) == _BYTES
        and struct.unpack_from("<I", block)[0] == _MAGIC
        and struct.unpack_from("<I", block, _MEMBERS_AT)[0] <= (_BYTES - _FIXED_BYTES) // 2
        and struct.unpack_from("<I", block, _CHECKSUM_AT)[0] == checksum(block)
    )
    if not sound:
        raise GoldsmithError(f"there is no sound superblock of an array at {member_at} bytes")
    return block
