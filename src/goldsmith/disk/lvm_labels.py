"""The volume group that a physical volume says it belongs to, read without LVM's programs.

Source: the label and the text metadata as LVM2 2.03 writes them (lib/format_text/layout.h): a label
in one of the first four sectors leads to areas with a header, which leads to the text.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SECTOR_BYTES: Final = 512
_LABEL_SECTORS: Final = 4
_LABEL: Final = b"LABELONE"
_TYPE: Final = b"LVM2 001"
_TYPE_AT: Final = 24
_HEADER_AT: Final = 20
_UUID_AND_SIZE_BYTES: Final = 40
_AREA: Final = struct.Struct("<QQ")
_LARGEST_AREAS: Final = 16
_MAGIC: Final = (4, b" LVM2 x[5A%r0N*>")
_TEXT_AT: Final = 40
_TEXT: Final = struct.Struct("<QQII")
_IGNORED: Final = 1
_LARGEST_TEXT_BYTES: Final = 16 << 20
_MEMBER: Final = re.compile(r'id = "([A-Za-z0-9-]{38})"')
_GROUP: Final = re.compile(r"\s*([A-Za-z0-9+_.-]+)\s*\{")


@dataclass(frozen=True, slots=True)
class GroupOnDisk:
    """A volume group by its metadata: `members` are the identifiers of its physical volumes."""

    name: str
    members: frozenset[str]


def read_group(fd: int, begin_bytes: int) -> GroupOnDisk | None:
    """The group of the physical volume at an offset.

    None where there is no copy of the metadata that can be read, or no group yet. OSError goes
    through.
    """
    try:
        return _read_group(fd, begin_bytes)
    except (OverflowError, struct.error):
        return None  # an area that is said to lie beyond any disk, or where this one ends


def _read_group(fd: int, begin_bytes: int) -> GroupOnDisk | None:
    start = os.pread(fd, _LABEL_SECTORS * _SECTOR_BYTES, begin_bytes)
    for at in range(0, len(start), _SECTOR_BYTES):
        label = start[at : at + _SECTOR_BYTES]
        if label.startswith(_LABEL) and label[_TYPE_AT : _TYPE_AT + 8] == _TYPE:
            header = int.from_bytes(label[_HEADER_AT : _HEADER_AT + 4], "little")
            for area in _metadata_areas(label[header:]):
                text = _text(fd, begin_bytes, *area)
                if (found := _parse(text)) is not None:
                    return found
    return None


def _metadata_areas(header: bytes) -> Iterator[tuple[int, int]]:
    """Offsets and sizes of the second list of areas: the first is that of the data."""
    lists_ended = 0
    for number in range(_LARGEST_AREAS):
        at = _UUID_AND_SIZE_BYTES + number * _AREA.size
        if at + _AREA.size > len(header):
            return
        offset, size = _AREA.unpack_from(header, at)
        if not offset:
            lists_ended += 1
            if lists_ended == 2:
                return
        elif lists_ended == 1:
            yield offset, size


def _text(fd: int, begin_bytes: int, area_at: int, area_bytes: int) -> str:
    """The newest text of an area, which goes on at the area's start where it meets its end."""
    header = os.pread(fd, _SECTOR_BYTES, begin_bytes + area_at)
    at, magic = _MAGIC
    if header[at : at + len(magic)] != magic:
        return ""
    offset, size, _, flags = _TEXT.unpack_from(header, _TEXT_AT)
    if flags & _IGNORED or not size or offset >= area_bytes:
        return ""
    size = min(size, _LARGEST_TEXT_BYTES)
    first = min(size, area_bytes - offset)
    text = os.pread(fd, first, begin_bytes + area_at + offset)
    if size > first:
        text += os.pread(fd, size - first, begin_bytes + area_at + _SECTOR_BYTES)
    return text.decode(errors="replace")


def _parse(text: str) -> GroupOnDisk | None:
    name = _GROUP.match(text)
    if name is None:
        return None
    _, _, volumes = text.partition("physical_volumes {")
    return GroupOnDisk(
        name[1], frozenset(_MEMBER.findall(volumes.partition("logical_volumes {")[0]))
    )
