"""What an image build looks at before it starts: its tree's source, the guest, its output."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.core.provisioner import NeedsPackages, ProvisionerCall
from goldsmith.disk.layout import Layout
from goldsmith.disk.ways import needs_guest
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host import user_namespace
from goldsmith.host.confined import confined
from goldsmith.host.mounts import list_mounts
from goldsmith.host.process import get_tool
from goldsmith.host.sparse import mount_point_of
from goldsmith.machine.acceleration import EMULATOR
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.host_apt import package_names
from goldsmith.packages.image_file import require_image
from goldsmith.packages.unpack import require_archive, require_tree

_HOLD_NO_FILES: Final = frozenset({
    "proc", "sysfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "configfs",
    "bpf", "pstore", "efivarfs", "selinuxfs", "fusectl", "binfmt_misc", "mqueue",
})  # fmt: skip
"""File systems of the kernel's own, in which root may write by their modes and can make nothing."""


def require_source(bootstrap: Bootstrap, directory: Path) -> None:
    """Raise PackageError when the archive, directory or image is absent, or of the wrong kind."""
    if bootstrap.source is None:
        return
    source = directory / bootstrap.source
    if bootstrap.method == "tar":
        require_archive(source)
        return
    if bootstrap.method == "image":
        require_image(source)
        return
    require_tree(source)
    if os.geteuid() != 0:
        _require_own(source)


def _require_own(tree: Path) -> None:
    """In a user namespace a file of anybody else would be a file of nobody, and so in the image."""
    foreign = user_namespace.first_foreign(tree.resolve(), user_namespace.id_map())
    if foreign is not None:
        raise GoldsmithError(
            f"without root {tree} cannot be the tree: {foreign} belongs to another user",
            hint="build as root, or give a tar archive of it",
        )


def require_guest(layout: Layout) -> None:
    """Raise HostError when a layout needs the guest and this host has none and cannot make one."""
    if needs_guest(layout):
        from goldsmith.machine.guest_image import require_guest_image

        get_tool(EMULATOR)
        require_guest_image()


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
        is_place = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        if unsupported and is_place and _kind_of(existing) not in _HOLD_NO_FILES:
            return
        reason = os.strerror(errno.EACCES) if unsupported else e.strerror
        raise GoldsmithError(
            f"cannot write to the output directory {directory}: {existing}: {reason}",
            hint="choose another output_directory",
        ) from e


def _kind_of(path: Path) -> str:
    """The type of the file system that a path lies on; "" when the kernel does not tell."""
    point = str(mount_point_of(path))
    return next((m.kind for m in reversed(list_mounts()) if m.path == point), "")


def require_packages(
    calls: Sequence[ProvisionerCall],
    bootstrap: Bootstrap,
    request: AptRequest | None,
    directory: Path,
    scratch: Path,
) -> None:
    """Raise GoldsmithError when a provisioner needs a package that the tree surely will not have.

    Provisioners that come after another one that changes the tree are not looked at: that one may
    bring the package. Nor are archives, which would have to be unpacked.
    """
    changing = (call.provisioner for call in calls if call.provisioner.changes_tree)
    first = next((one for one in changing if not one.reads_only), None)
    if not isinstance(first, NeedsPackages):
        return
    for name in first.needed_packages:
        if _surely_lacks(name, bootstrap, request, directory, scratch):
            raise GoldsmithError(
                f"{first.label}: the tree will have no {name}",
                hint=f'add "{name}" to the packages of the bootstrap',
            )


def _surely_lacks(
    name: str, bootstrap: Bootstrap, request: AptRequest | None, directory: Path, scratch: Path
) -> bool:
    if bootstrap.method == "directory" and bootstrap.source is not None:
        tree = directory / bootstrap.source
        return not os.path.lexists(confined(tree, f"/usr/bin/{name}"))
    if request is None or name in request.all_packages():
        return False
    try:
        names = package_names(request, scratch)
    except Interrupted:
        raise
    except GoldsmithError:
        return False  # the bootstrap will tell what is wrong
    return not any(one == name or one.startswith(f"{name}-") for one in names)
