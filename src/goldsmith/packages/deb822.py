"""Paragraphs of fields: the syntax of dpkg's status file and of APT's `.sources` files.

Source: deb822(5).
"""

from __future__ import annotations

from collections.abc import Iterator


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Every paragraph as field name (lower case) to value; lines of a value are joined by newlines.

    Comments are left out. A continuation line loses its first blank, and ` .` is an empty line.
    Raises ValueError with the line's number for a line that is no field.
    """
    fields: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if not name:
                raise ValueError(f"line {number}: a continuation line without a field")
            more = line[1:].rstrip()
            fields[name] += "\n" + ("" if more.strip() == "." else more)
        else:
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if not colon or not name:
                raise ValueError(f"line {number}: not a field: {line}")
            fields[name] = value.strip()
    if fields:
        yield fields
