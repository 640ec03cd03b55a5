"""The first start's configuration: on a small partition of its own, or as a seed in the root.

cloud-init takes a config drive by its label, whatever the file system: an ext2 is written without
a mount, a loop device or a driver, and holds names as they are; a vfat where the scheme says so.
Nothing here writes an iso9660: that is for media that nobody can write to, which a partition isn't.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.deploy.cloud_texts import CONFIG_DRIVE_FILES, SEED_FILES
from goldsmith.deploy.scheme import ConfigDriveData, Deployment
from goldsmith.disk.filesystems import vfat
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.errors import CommandFailed, GoldsmithError, explain_os_error
from goldsmith.host.confined import make_directory, write_confined
from goldsmith.host.process import run
from goldsmith.host.sparse import is_full_message

LABEL: Final = "config-2"
SEED_DIRECTORY: Final = "/var/lib/cloud/seed/nocloud"
_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 600.0


def place_config_drive(
    deployment: Deployment, *, scratch: Path, say: Callable[[str], None]
) -> None:
    """Write the config drive onto its partition; it is on the disk when this returns.

    Does nothing for a deployment without configuration, or with a seed. Raises GoldsmithError
    where there is no partition for it, or it does not fit.
    """
    data, file = deployment.config_drive, deployment.config_drive_file
    if deployment.seed or (data is None and file is None):
        return
    scheme = deployment.scheme
    node = scheme.config_drive_node()
    if node is None:
        raise GoldsmithError(
            "the scheme has no partition for the config drive",
            hint="mark one with config_drive, or ask for a NoCloud seed",
        )
    say(f"Writing the config drive to {node}")
    if data is None:
        copy_config_drive(Path(file or ""), node)
        return
    filesystem = scheme.by_node(node)
    kind = "vfat" if filesystem is not None and filesystem.type == "vfat" else "ext2"
    make_config_drive(data, Path(node), kind, scratch=scratch)


def make_config_drive(
    data: ConfigDriveData, target: Path, filesystem: str = "ext2", *, scratch: Path
) -> None:
    """Make a config drive in a device or in a file that has its size already."""
    with tempfile.TemporaryDirectory(prefix="config-drive-", dir=scratch) as name:
        tree = Path(name)
        tree.chmod(0o755)
        for path, text in CONFIG_DRIVE_FILES.items():
            write_confined(tree, path, text(data).encode(), mode=0o600)
        if filesystem == "vfat":
            _make_vfat(tree, target)
        else:
            _make_ext2(tree, target)
    fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_ext2(tree: Path, target: Path) -> None:
    argv = ["mkfs.ext2", "-q", "-F", "-b", "4096", "-L", LABEL, "-E", "root_owner=0:0",
            "-d", str(tree), str(target)]  # fmt: skip
    try:
        run(argv, timeout_s=_TIMEOUT_S)
    except CommandFailed as e:
        if any(is_full_message(line) or "too small" in line for line in e.tail):
            raise GoldsmithError(f"the config drive does not fit in {target}",
                                 hint="give its partition 20 MiB") from e  # fmt: skip
        raise


def _make_vfat(tree: Path, target: Path) -> None:
    size_bytes = _size_bytes(target) // 4096 * 4096
    files: dict[PurePosixPath, Path | None] = {
        PurePosixPath(path): tree / path for path in CONFIG_DRIVE_FILES
    }
    content = b"".join((tree / path).read_bytes() for path in CONFIG_DRIVE_FILES)
    spec = vfat.Vfat(zlib.crc32(content), LABEL)
    vfat.make(Stretch(target, 0, size_bytes), spec, files, epoch_s=vfat.EARLIEST_EPOCH_S)


def copy_config_drive(file: Path, node: str) -> None:
    """Copy a ready image of a config drive; raises GoldsmithError when it does not fit."""
    try:
        with open(file, "rb") as reading, open(node, "r+b", buffering=0) as writing:
            size_bytes, room_bytes = _size_bytes(file), _size_bytes(Path(node))
            if size_bytes > room_bytes:
                raise GoldsmithError(f"{file} has {size_bytes} bytes, {node} has {room_bytes}")
            while chunk := reading.read(_CHUNK_BYTES):
                view = memoryview(chunk)
                while view:
                    view = view[writing.write(view) :]
            os.fsync(writing.fileno())
    except OSError as e:
        raise explain_os_error(e) from e


def _size_bytes(path: Path) -> int:
    with open(path, "rb") as stream:
        return stream.seek(0, os.SEEK_END)


def write_seed(data: ConfigDriveData, chroot: Path) -> None:
    """Write the NoCloud seed into the mounted target; only root may read it."""
    make_directory(chroot, SEED_DIRECTORY)
    for name, text in SEED_FILES.items():
        write_confined(chroot, f"{SEED_DIRECTORY}/{name}", text(data).encode(), mode=0o600)
