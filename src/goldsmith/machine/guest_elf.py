"""The little of ELF that making a guest needs: sections, libraries a program loads, module facts.

A host need not have readelf, ldd or kmod, and may not run programs of another architecture.
Source: elf(5), the System V ABI; .modinfo as scripts/mod/modpost.c of Linux writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.machine.guest_protocol import GuestError

_MAGIC: Final = b"\x7fELF\x02\x01"
"""64 bits, little endian: what x86-64 and arm64 have."""

_SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC_ENTRY: Final = struct.Struct("<qQ")
_NOTE_HEADER: Final = struct.Struct("<III")
_NOBITS: Final = 8
_NEEDED: Final = 1
_END: Final = 0


@dataclass(frozen=True, slots=True)
class Elf:
    """The sections of an ELF file, by name."""

    sections: Mapping[str, bytes]

    @classmethod
    def parse(cls, data: bytes, name: str) -> Elf:
        """Read a file's bytes; `name` stands in messages. Raises GuestError for anything else."""
        if not is_elf(data):
            raise GuestError(f"{name} is not an ELF file of 64 bits")
        try:
            return cls(dict(_sections(data)))
        except (struct.error, IndexError, ValueError) as e:
            raise GuestError(f"{name} is damaged: {e}") from e

    def needed(self) -> tuple[str, ...]:
        """The libraries that the dynamic loader loads with it (DT_NEEDED)."""
        dynamic, strings = self.sections.get(".dynamic", b""), self.sections.get(".dynstr", b"")
        found = []
        for tag, value in _DYNAMIC_ENTRY.iter_unpack(dynamic):
            if tag == _END:
                break
            if tag == _NEEDED:
                found.append(_string(strings, value))
        return tuple(found)

    def interpreter(self) -> str | None:
        """The dynamic loader that it asks for, None for a static program or a library."""
        text = self.sections.get(".interp")
        return text.rstrip(b"\0").decode() if text else None

    def module_facts(self) -> tuple[tuple[str, str], ...]:
        """The `key=value` entries of a kernel module, in order; a key may come again."""
        entries = self.sections.get(".modinfo", b"").split(b"\0")
        pairs = (entry.decode(errors="replace").partition("=") for entry in entries if entry)
        return tuple((key, value) for key, _, value in pairs)

    def has_note(self, owner: bytes, kind: int) -> bool:
        """Whether one of its notes is of this owner and kind."""
        return (owner, kind) in _notes(self.sections.get(".notes", b""))


def is_elf(data: bytes) -> bool:
    """Whether a file begins as an ELF file that we can read."""
    return data[: len(_MAGIC)] == _MAGIC


def _sections(data: bytes) -> Iterator[tuple[str, bytes]]:
    (table_at,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [_SECTION_HEADER.unpack_from(data, table_at + i * size) for i in range(count)]
    if not headers:
        return
    names = _content(data, headers[names_index])
    for header in headers:
        yield _string(names, header[0]), _content(data, header)


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    kind, offset, size = header[1], header[4], header[5]
    if kind == _NOBITS:
        return b""
    if offset + size > len(data):
        raise ValueError("a section lies beyond its end")
    return data[offset : offset + size]


def _string(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode(errors="replace")


def _notes(data: bytes) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at + _NOTE_HEADER.size <= len(data):
        name_size, content_size, kind = _NOTE_HEADER.unpack_from(data, at)
        at += _NOTE_HEADER.size
        yield data[at : at + name_size].rstrip(b"\0"), kind
        at += -(-name_size // 4) * 4 + -(-content_size // 4) * 4
