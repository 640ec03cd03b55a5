"""Random names that packages give an image, and where they lie whole in its initramfs.

open-iscsi invents an initiator name whenever it is installed, and its hook copies the file into the
initramfs. So no two builds would have the same one, and each would need an initramfs of its own. An
earlier one can stand for it all the same if the name appears nowhere but in copies of that file:
then these are replaced, and what comes out holds what mkinitramfs would have put there. Source: the
hooks of open-iscsi 2.1; buffer-format.rst of Linux.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from goldsmith.packages import lent_zstd
from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs import CPIO_HEADER_BYTES, compression_of, start_of_main
from goldsmith.packages.initramfs_contents import archive_members, unpacked

PLACES: Final = ("/etc/iscsi/initiatorname.iscsi", "/etc/nvme/hostid", "/etc/nvme/hostnqn")
"""Files of a tree that hold nothing but a name of its own."""
MOST_IDENTITY_BYTES: Final = 4096
_SHORTEST_NAME_BYTES: Final = 16
"""A shorter one could be in any file by chance."""
_MOST_BYTES: Final = 1 << 30
"""Unpacked; a larger initramfs is made anew."""
_GZIP_LEVEL: Final = 6
_PLAIN_HEADER: Final = b"070701"
"""That of members without a sum of their content."""
_SIZE_AT: Final = 54
_NAME_SIZE_AT: Final = 94
_FIELD_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A copy of an identity in the main part of an initramfs."""

    place: str
    """Of the identity, in the tree."""
    at: int
    """Where the member's header begins, in bytes from the beginning of what is unpacked."""


def name_in(content: bytes) -> bytes:
    """What is random in an identity file: the end of its last line; b"" where that is too short."""
    lines = [line for line in content.splitlines() if line.strip()]
    name = lines[-1].rpartition(b"=")[2].strip() if lines else b""
    return name if len(name) >= _SHORTEST_NAME_BYTES else b""


def find_slots(initramfs: Path, identities: Mapping[str, bytes]) -> list[Slot]:
    """Where these identities lie, in their order there.

    `identities` are contents by their place in the tree. Raises PackageError where one cannot be
    replaced: it is not only in whole copies of its file.
    """
    early, main, kind = _read(initramfs)
    by_digest = {hashlib.sha256(content).hexdigest(): place
                 for place, content in identities.items()}  # fmt: skip
    slots, inside = [], []
    for member in archive_members(io.BytesIO(main)):
        place = by_digest.get(member.sha256)
        if place is not None:
            slots.append(Slot(place, member.at))
            start = _data_at(main, member.at)
            inside.append((start, start + member.size_bytes))
            if not main.startswith(_PLAIN_HEADER, member.at):
                raise PackageError(f"the copy of {place} in it has a sum of its own")
    for place, content in identities.items():
        name = name_in(content)
        if name in early or any(
            not any(start <= offset < end for start, end in inside)
            for offset in _offsets(main, name)
        ):
            raise PackageError(f"the name in {place} is in it elsewhere, too")
    if slots and kind not in ("zstd", "gzip", "none"):
        raise PackageError(f"{slots[0].place} is in it, which is compressed by {kind}")
    return slots


def replace_identities(
    source: Path, target: Path, slots: Sequence[Slot], identities: Mapping[str, bytes]
) -> None:
    """Write an initramfs with other identities under a name that is free.

    Raises PackageError for one that is not as `find_slots` has seen it.
    """
    early, main, kind = _read(source)
    parts, at = [], 0
    for slot in slots:
        start = _data_at(main, slot.at)
        header = main[slot.at : start]
        size_bytes = _number(header, _SIZE_AT)
        content = identities[slot.place]
        size = b"%08X" % len(content)
        parts += [main[at : slot.at], header[:_SIZE_AT], size, header[_SIZE_AT + _FIELD_BYTES :],
                  content, b"\0" * (-len(content) % 4)]  # fmt: skip
        at = start + size_bytes + -size_bytes % 4
    main = b"".join([*parts, main[at:]])
    with target.open("xb") as out:
        out.write(early)
        if kind == "zstd":
            lent_zstd.compressor().copy_stream(io.BytesIO(main), out)
        else:
            out.write(gzip.compress(main, _GZIP_LEVEL, mtime=0) if kind == "gzip" else main)


def _read(initramfs: Path) -> tuple[bytes, bytes, str]:
    """The archives before the main part, the main part unpacked, and how it was compressed."""
    try:
        with initramfs.open("rb") as file:
            kind = compression_of(file)
            file.seek(0)
            start = 0 if kind == "none" else start_of_main(file)
            file.seek(0)
            early = file.read(start)
            stream = file if kind == "none" else unpacked(file, kind)
            parts, left_bytes = [], _MOST_BYTES
            while data := stream.read(min(1 << 20, left_bytes + 1)):
                parts.append(data)
                left_bytes -= len(data)
                if left_bytes < 0:
                    raise PackageError(f"{initramfs.name} is larger than {_MOST_BYTES >> 20} MiB")
            return early, b"".join(parts), kind
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError) as e:
        raise PackageError(f"{initramfs.name} cannot be read: {e}") from e


def _data_at(main: bytes, at: int) -> int:
    """Where the content of a member begins whose header is here; raises PackageError."""
    header = main[at : at + CPIO_HEADER_BYTES]
    if len(header) != CPIO_HEADER_BYTES or not header.startswith(b"07070"):
        raise PackageError("it has no member where one was")
    end = at + CPIO_HEADER_BYTES + _number(header, _NAME_SIZE_AT)
    return end + -end % 4


def _number(header: bytes, at: int) -> int:
    return int(header[at : at + _FIELD_BYTES], 16)


def _offsets(text: bytes, name: bytes) -> Iterator[int]:
    found = text.find(name)
    while found >= 0:
        yield found
        found = text.find(name, found + 1)
