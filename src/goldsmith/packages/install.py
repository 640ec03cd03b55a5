"""Installs packages in a tree that has APT: everything beyond the base system.

As a step of its own, so that another list of packages does not begin at nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed
from goldsmith.host.confined import confined, remove_confined, write_confined
from goldsmith.packages import initramfs, policy
from goldsmith.packages.apt_errors import package_error
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.bootstrap import bootstrap_tool
from goldsmith.packages.ssh_host_keys import PRIVATE_KEYS

WITHOUT_APT: Final = frozenset({"essential", "required"})
"""The variants whose base system cannot install anything by itself."""

_OPTIONS: Final = (
    "--yes",
    "-oAPT::Install-Recommends=false",
    # Nobody answers; a changed conffile of a fresh tree is that of the package.
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    "-oDpkg::Use-Pty=false",
)


def is_separate(request: AptRequest) -> bool:
    """Whether the packages of a request can be installed in a base system that is made before.

    Not where that has no APT, where a repository lies on this host, out of the tree's reach, and
    with debootstrap, which needs APT of this host for everything.
    """
    return (
        bool(request.all_packages())
        and (request.tool or bootstrap_tool()) == "mmdebstrap"
        and request.variant not in WITHOUT_APT
        and not any(source.is_local for source in request.sources)
    )


def install_packages(tree: Path, packages: Sequence[str], run_in_tree: initramfs.RunInTree) -> None:
    """Install packages from the sources of the tree, whose lists are as they were read last.

    No service starts, no initramfs and no SSH host key is made; `configure` may come later.
    Raises PackageError with APT's own message.
    """
    policy.forbid_services(tree)
    initramfs.divert_update_initramfs(tree, run_in_tree)
    with _no_ssh_keys(tree):
        try:
            run_in_tree(["apt-get", *_OPTIONS, "install", "--", *packages])
        except CommandFailed as e:
            raise package_error(list(e.tail)) from e


@contextmanager
def _no_ssh_keys(tree: Path) -> Iterator[None]:
    """Keep openssh-server from making keys: it makes none that is there already."""
    placed = [path for path in PRIVATE_KEYS if not confined(tree, path).exists()]
    for path in placed:
        write_confined(tree, path, b"")
    try:
        yield
    finally:
        for path in placed:
            remove_confined(tree, path)
        folder = confined(tree, "/etc/ssh")
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
