"""What an image build looks at before it starts: its tree's source, the place of its output."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from goldsmith.builders.image.options import Bootstrap
from goldsmith.errors import GoldsmithError
from goldsmith.packages.unpack import require_archive, require_tree


def require_source(bootstrap: Bootstrap, directory: Path) -> None:
    """Raise PackageError when the archive or directory is absent, or of the wrong kind."""
    if bootstrap.source is None:
        return
    source = directory / bootstrap.source
    if bootstrap.method == "tar":
        require_archive(source)
    else:
        require_tree(source)


def require_writable(directory: Path) -> None:
    """Raise GoldsmithError when no file can be made in a directory, or the directory itself.

    Of a directory that is not there yet the nearest one above it counts. Nothing is left on the
    host, not even by SIGKILL: the file that is made has no name (open(2), O_TMPFILE).
    """
    existing = directory
    while not os.path.lexists(existing):
        existing = existing.parent
    try:
        os.close(os.open(existing, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as e:
        # Not every file system can do it (NFS, and overlays before Linux 6.1).
        unsupported = e.errno in (errno.EOPNOTSUPP, errno.EISDIR)
        if unsupported and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return
        reason = os.strerror(errno.EACCES) if unsupported else e.strerror
        raise GoldsmithError(
            f"cannot write to the output directory {directory}: {existing}: {reason}",
            hint="choose another output_directory",
        ) from e
