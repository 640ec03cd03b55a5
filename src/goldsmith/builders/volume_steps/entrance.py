"""The way of provisioners into a volume, or into a tree that stands for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goldsmith.builders.volume_steps.extras import ExtraMount
from goldsmith.builders.volume_steps.mounting import (
    MOUNT_TIMEOUT_S,
    OWN_COMMANDS,
    MountCommands,
)
from goldsmith.communicators.chroot import ChrootEntrance
from goldsmith.core.tree_entrance import TreeAccess
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot, mounts
from goldsmith.host.confined import confined, make_directory
from goldsmith.host.namespaces import StepNamespace
from goldsmith.host.process import run
from goldsmith.packages.policy import POLICY_FILE


@dataclass(frozen=True, slots=True)
class VolumeEntrance:
    """Enters a tree by chroot, with further mounts and files of this host shown in it."""

    mounts: Sequence[ExtraMount] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files of this host by the path at which they are seen."""
    policy: Path | None = None
    """A program that forbids services, seen where Debian's packages ask it."""
    commands: MountCommands = OWN_COMMANDS
    """What mounts the further mounts; they end with the namespaces of their provisioner."""

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        """Mount what programs in the tree expect, then what the template names."""
        report = ChrootEntrance().set_up(tree, network=network, enters=enters)
        if not enters:
            return report
        for mount in self.mounts:
            _mount(tree, mount, self.commands)
        files = dict(self.files)
        if self.policy is not None and asks_for_policy(tree):
            files[POLICY_FILE] = self.policy
        shown = [chroot.show_file(tree, path, host) for path, host in files.items()]
        placeholders = [*report.get("placeholders", ()), *(path for path in shown if path)]
        return {**report, "placeholders": placeholders}

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        """Take away what the mounts left in the tree."""
        chroot.remove_placeholders(report)

    def access(
        self, namespace: StepNamespace, tree: Path, environment: Mapping[str, str]
    ) -> TreeAccess:
        """A communicator, and the ways to run programs of the tree, and of the host on it."""
        return ChrootEntrance().access(namespace, tree, environment)


def asks_for_policy(tree: Path) -> bool:
    """Whether packages of a tree ask whether they may start services."""
    return os.path.lexists(confined(tree, "/usr/sbin/invoke-rc.d"))


def _mount(tree: Path, mount: ExtraMount, commands: MountCommands) -> None:
    """Mount at a place that is really in the tree; runs in the namespaces of a step."""
    is_file = mount.kind == "bind" and not os.path.isdir(mount.source)
    place = confined(tree, mount.path, follow_last=True)
    if place != tree / mount.path.strip("/"):
        raise GoldsmithError(f"{mount.path} leads elsewhere in the tree: nothing is mounted there")
    if not is_file:
        make_directory(tree, mount.path)
    if not place.exists() or place.is_dir() == is_file:
        raise GoldsmithError(f"nothing can be mounted at {mount.path} of the tree")
    if commands is not OWN_COMMANDS:
        how = ["--rbind"] if mount.kind == "bind" else ["-t", mount.kind]
        run([*commands.mount, *how, mount.source, str(place)], timeout_s=MOUNT_TIMEOUT_S)
    elif mount.kind == "bind":
        mounts.bind(mount.source, str(place), recursive=True)
    else:
        flags = mounts.MS_NOSUID | mounts.MS_NODEV
        mounts.mount(mount.source, str(place), mount.kind, flags=flags)
