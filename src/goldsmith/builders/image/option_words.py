"""Words that disks and image sets of the `image` source have in common, each with its check."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator

from goldsmith.disk.model import Headroom
from goldsmith.units import UnitError, parse_file_size_bytes


def _is_mount_option(option: str) -> str:
    # fstab(5): blanks separate fields, commas options, and "#" begins a comment.
    if not option or not option.isprintable() or set(option) & set(" ,#"):
        raise ValueError(f"{option!r} is not one mount option: no blanks, commas and #")
    return option


MountOption = Annotated[str, AfterValidator(_is_mount_option)]


def read_size_bytes(text: str) -> int:
    """The bytes of a size of a file; raises ValueError with the remedy."""
    try:
        return parse_file_size_bytes(text)
    except UnitError as e:
        raise ValueError(f"{e}; {e.hint}" if e.hint else str(e)) from e


def read_headroom(text: str) -> Headroom:
    """The free space that "500MiB" or "20%" means, "" what is usual; raises ValueError."""
    if not text:
        return Headroom()
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", text.strip()):
        return Headroom(Fraction(match.group(1)) / 100, 0)
    return Headroom(Fraction(0), read_size_bytes(text))
