"""What is put right in a finished tree: its resolver, /tmp, logs, and a cache of times.

Source: `specs/diskimage-builder.md`, A2 step 12 and A11.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined
from goldsmith.host.file_flags import is_immutable

RESOLVER: Final = "/etc/resolv.conf"
ORIGINAL_RESOLVER: Final = "/etc/resolv.conf.ORIG"
"""What the tree had before the build, or what elements want it to have."""
_LINKER_CACHE: Final = "/var/cache/ldconfig/aux-cache"
"""ldconfig makes it anew where it is missing; it holds inodes and times of this build's files."""


def tidy(tree: Path) -> None:
    """Put a finished tree right; links of the tree are followed inside it only."""
    restore_resolver(tree)
    empty_tmp(tree)
    truncate_logs(tree)
    confined(tree, _LINKER_CACHE).unlink(missing_ok=True)


def restore_resolver(tree: Path) -> None:
    """Put the original resolv.conf back, unless the tree has made it a link or immutable."""
    own, original = confined(tree, RESOLVER), confined(tree, ORIGINAL_RESOLVER)
    if own.is_symlink() or is_immutable(own):
        original.unlink(missing_ok=True)
        return
    if own.is_file():
        own.unlink()
    if original.is_symlink() or original.is_file():
        original.rename(own)


def empty_tmp(tree: Path) -> None:
    """Remove all that is in /tmp."""
    directory = confined(tree, "tmp")
    if not _is_directory(directory):
        return
    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def truncate_logs(tree: Path) -> None:
    """Empty every file of /var/log, and remove the `*.log` files of root's home."""
    for path in _files(confined(tree, "/var/log")):
        os.truncate(path, 0)
    for path in _files(confined(tree, "/root")):
        if path.endswith(".log"):
            os.unlink(path)


def _files(directory: Path) -> Iterator[str]:
    """The plain files below a directory; links are not followed."""
    if not _is_directory(directory):
        return
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
