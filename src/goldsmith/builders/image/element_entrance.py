"""Makes the tree in a build directory of elements enterable for provisioners.

They see what they see in every tree: memory at /run, few devices, no hooks. What hooks have mounted
in the tree (the host's archives of APT) is there as it is in their own phases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.builders.elements import bound_mounts
from goldsmith.communicators.chroot import ChrootCommunicator
from goldsmith.core.tree_entrance import TreeAccess
from goldsmith.elements.places import RECORDS, Places
from goldsmith.host import chroot, mounts
from goldsmith.host.namespaces import StepNamespace

TREE: Final = "mnt"
"""Where the image's tree lies in the build directory."""


@dataclass(frozen=True, slots=True)
class ElementTreeEntrance:
    """See `core.tree_entrance.TreeEntrance`; the tree of every step is the build directory."""

    places: Places

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        """Show the build at its fixed place, and mount what programs in its tree expect."""
        mounts.bind(str(tree), str(self.places.build))
        report = chroot.mount_api(tree / TREE, network=network)
        bound_mounts.make_again(tree / RECORDS, tree / TREE)
        return report

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        """Take away what the mounts left in the tree."""
        chroot.remove_placeholders(report)

    def access(
        self, namespace: StepNamespace, tree: Path, environment: Mapping[str, str]
    ) -> TreeAccess:
        """A communicator with the image's tree."""
        communicator = ChrootCommunicator(namespace, tree / TREE, environment)
        return TreeAccess(communicator, communicator.run, namespace.run, namespace.entering)
