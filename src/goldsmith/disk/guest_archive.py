"""A tree as an archive that the guest unpacks: streamed to a file that becomes a disk of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named

TOOL_TIMEOUT_S: Final = 7200.0


def write_archive(tree: Path, archive: Path, *, epoch_s: int, clamp_mtimes: bool = True) -> None:
    """Write a tree and its top with links, holes, owners, attributes and access lists.

    Times of modification after `epoch_s` become it. Raises NoSpaceError when it does not fit.
    """
    times = [f"--mtime=@{epoch_s}", "--clamp-mtime"] if clamp_mtimes else []
    with full_file_system_named(archive):
        run(
            ["tar", "--create", f"--file={archive.absolute()}", "--force-local",
             f"--directory={tree.absolute()}", "--format=posix", "--sort=name", "--sparse",
             "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", *times, "."],
            timeout_s=TOOL_TIMEOUT_S,
        )  # fmt: skip
