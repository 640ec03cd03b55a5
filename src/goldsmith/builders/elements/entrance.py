"""Makes a build directory enterable: hooks see it, and the tree in it, at the same paths always."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldsmith.builders.elements import bound_mounts, resolver
from goldsmith.communicators.chroot import ChrootCommunicator
from goldsmith.core.tree_entrance import TreeAccess
from goldsmith.elements.places import IN_TARGET, RECORDS, Places
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot, mounts
from goldsmith.host.confined import confined, make_directory
from goldsmith.host.namespaces import StepNamespace
from goldsmith.host.process import get_tool


@dataclass(slots=True)
class PhaseEntrance:
    """Shows a build at its fixed place, with what programs in its tree expect to be mounted.

    `image` is the directory of the run that hooks see as TMP_IMAGE_DIR. Who runs a phase in the
    tree says so by `shows_hooks` before the step begins. See `core.tree_entrance.TreeEntrance`.
    """

    places: Places
    image: Path
    shows_hooks: bool = False

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        """Mount; where nothing enters the tree yet there is only the build itself."""
        places = self.places
        self.image.mkdir(exist_ok=True)
        mounts.bind(str(tree), str(places.build))
        mounts.bind(str(self.image), str(places.image))
        # Scripts of packages would write the build host's name into the tree.
        socket.sethostname(chroot.DEFAULT_HOST_NAME)
        mounts.mount("proc", "/proc", "proc")
        if enters:
            mount_api(places.mount)
            bound_mounts.make_again(places.build / RECORDS, places.mount)
            resolver.fill(places.mount)
            if self.shows_hooks:
                show_hooks(places)
        return {"shows hooks": enters and self.shows_hooks, "enters": enters}

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        """Take away what only the phase needed."""
        mount = tree / "mnt"
        if report.get("enters"):
            resolver.empty(mount)
        if report.get("shows hooks"):
            remove_hooks_place(mount)

    def access(
        self, namespace: StepNamespace, tree: Path, environment: Mapping[str, str]
    ) -> TreeAccess:
        """A communicator with the image's tree, and ways to run programs of the host beside it."""
        communicator = ChrootCommunicator(namespace, self.places.mount, environment)
        return TreeAccess(communicator, communicator.run, namespace.run, namespace.entering)


def mount_api(mount: Path) -> None:
    """Mount /proc, the host's /dev, a /dev/pts and a read-only /sys in a tree, as upstream does.

    Runs as the init of a step's namespaces. That /sys cannot be written is how programs know that
    no system runs here.
    """
    for name in ("proc", "sys", "dev"):
        (mount / name).mkdir(exist_ok=True)
        if not mounts.is_directory(str(mount / name)):
            raise GoldsmithError(f"/{name} of the tree is not a directory")
    mounts.mount("proc", str(mount / "proc"), "proc")
    # The host's kernel arguments are not the image's: libkmod would heed its blacklist.
    mounts.bind("/dev/null", str(mount / "proc/cmdline"))
    mounts.bind("/dev", str(mount / "dev"))
    if (mount / "dev/pts").is_dir():
        options = "newinstance,ptmxmode=0666,mode=620,gid=5"
        mounts.mount("devpts", str(mount / "dev/pts"), "devpts", options=options,
                     flags=mounts.MS_NOSUID | mounts.MS_NOEXEC)  # fmt: skip
    mounts.mount("sysfs", str(mount / "sys"), "sysfs", flags=mounts.MS_RDONLY)


def show_hooks(places: Places) -> None:
    """Bind the hooks into the tree, read-only; runs as the init of a step's namespaces."""
    target = make_directory(places.mount, IN_TARGET)
    mounts.bind(str(places.hooks), str(target), read_only=True)


def remove_hooks_place(tree: Path) -> None:
    """Remove the directory of a tree where hooks were shown; one with files in it stays."""
    with contextlib.suppress(OSError):
        confined(tree, IN_TARGET, follow_last=True).rmdir()


def words_outside(namespace: StepNamespace, directory: str, argv: Sequence[str]) -> list[str]:
    """The words that run a program of the host beside the tree, from the caller's directory."""
    return namespace.entering([get_tool("env"), f"--chdir={directory}", *map(os.fspath, argv)])
