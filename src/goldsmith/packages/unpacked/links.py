"""Files of the store in trees: links where nobody can write to them, else copies."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Links:
    """Leave to link files to the store: nobody may write into the tree afterwards.

    Nor date its files anew but those after `until_s` (seconds since 1970), which are copied.
    """

    until_s: int
    contents: dict[tuple[int, int, int], str] = field(default_factory=dict)
    """Gets the SHA-256 of each linked file by its device, inode number and change time (ns)."""


def give(source: str, target: str, sha256: str, links: Links | None) -> None:
    """Lay a file that is dated as it should be: a link where that is allowed, else a copy.

    `sha256` is that of its content, "" where nobody has looked.
    """
    if links is not None and os.stat(source).st_mtime <= links.until_s:
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            status = os.lstat(target)
            if sha256:
                inode = (status.st_dev, status.st_ino, status.st_ctime_ns)
                links.contents[inode] = sha256
            return
    shutil.copy2(source, target)
