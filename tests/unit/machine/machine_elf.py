"""Builds small ELF files with the sections that a test wants."""

import struct


def elf(**sections):
    """An ELF file of 64 bits; `__` in a name stands for the leading dot: `__modinfo`."""
    named = {"": b"", **{name.replace("__", ".", 1): data for name, data in sections.items()}}
    names = b"".join(name.encode() + b"\0" for name in (*named, ".shstrtab"))
    named[".shstrtab"] = names
    body, headers, name_at = bytearray(64), [], 0
    for name, data in named.items():
        headers.append(struct.pack("<IIQQQQIIQQ", name_at, 1 if name else 0, 0, 0, len(body),
                                   len(data), 0, 0, 1, 0))  # fmt: skip
        name_at += len(name) + 1
        body += data
    table_at = len(body)
    body[:16] = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    struct.pack_into("<Q", body, 0x28, table_at)
    struct.pack_into("<HHH", body, 0x3A, 64, len(headers), len(headers) - 1)
    return bytes(body) + b"".join(headers)


def program(*needed, interpreter=None):
    """A program or library that needs these libraries."""
    strings, entries = b"\0", b""
    for name in needed:
        entries += struct.pack("<qQ", 1, len(strings))
        strings += name.encode() + b"\0"
    sections = {"__dynamic": entries + struct.pack("<qQ", 0, 0), "__dynstr": strings}
    if interpreter:
        sections["__interp"] = interpreter.encode() + b"\0"
    return elf(**sections)


def module(*facts):
    """A kernel module with these facts: "depends=a,b"."""
    return elf(__modinfo=b"".join(fact.encode() + b"\0" for fact in facts))
