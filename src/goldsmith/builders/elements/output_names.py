"""What the files of an element image are called: by type, while written, and once a newer comes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

EXTENSIONS: Final = {"squashfs": "squash", "docker": "docker.tar"}
"""The endings of types whose files do not end in the type's own name."""

SUMS: Final = ("md5", "sha256")
"""The algorithms of checksums, and the endings of their files."""

_MOST_LINE_BYTES: Final = 8192
"""More than a digest and the longest path (path_resolution(7))."""

SIDE_FILES: Final = (".vmlinuz", ".initrd", ".initramfs", ".kernel", ".iso", "-boot.iso")
"""What follows the name in what elements put beside an image: its kernel, its ramdisk, an ISO."""


def extension(type: str) -> str:
    """The ending of a type's file, without its dot."""
    return EXTENSIONS.get(type, type)


def working_path(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f"{path.name}-new")


def sums_path(path: Path, algorithm: str) -> Path:
    """Where a file's checksum goes."""
    return path.with_name(f"{path.name}.{algorithm}")


def dated(path: Path, type: str, moment_s: float) -> Path:
    """A free name for an older file: its own with the local time in front of the ending."""
    ending = f".{extension(type)}"
    stem = path.name.removesuffix(ending)
    while True:
        shown = time.strftime("%Y.%m.%d-%H.%M.%S", time.localtime(moment_s))
        free = path.with_name(f"{stem}-{shown}{ending}")
        if not os.path.lexists(free):
            return free
        moment_s += 1


def checksum_line(digest: str, name: str) -> str:
    """A line as md5sum and sha256sum write it, which their -c reads (GNU coreutils manual)."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def renamed_line(sums: Path, name: str, renamed: str) -> str | None:
    """The line of a file of checksums for a file that gets another name in its directory.

    None where it has no line of that file.
    """
    try:
        with open(sums, errors="strict") as file:
            line = file.read(_MOST_LINE_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
    digest, _, path = line.rstrip("\n").partition("  ")
    folder, slash, last = path.rpartition("/")
    if last != name or "\\" in line or "\n" in path:
        return None
    return checksum_line(digest, f"{folder}{slash}{renamed}")
