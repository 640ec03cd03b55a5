"""One initramfs for an image: `update-initramfs` is a stub while phases run, and made up for once.

Upstream makes it twice in one run of APT (the kernel's own script, and dpkg's trigger), by gzip on
one processor. The stub is in place from the bootstrap on where goldsmith made the tree, else from
the first phase in the tree; the real program is back before the phases in the final file system.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from goldsmith.builders.image.kept_initramfs import make_initramfs
from goldsmith.core.step import StepTraits, TreeContext
from goldsmith.layers.keys import StepKey
from goldsmith.packages.initramfs import divert_update_initramfs

_TREE = "mnt"


def divert(context: TreeContext) -> None:
    """Put the stub in place, if the image's tree has dpkg; called as `pre-install.d` begins."""
    divert_update_initramfs(context.tree / _TREE, context.run_in_tree)


@dataclass(frozen=True, slots=True)
class InitramfsStep(StepTraits):
    """Makes the initramfs of every kernel, after the last phase in the tree.

    It is taken from an earlier build where nothing that goes into it has changed, whatever else
    hooks have done to the tree.
    """

    name: str = "initramfs"
    label: str = "Making the initramfs"
    network: bool = False
    enters: bool = True
    declared: bool = field(default=True, kw_only=True)

    def key(self) -> StepKey | None:
        """Only what is in the tree counts."""
        return StepKey({"type": "elements initramfs/1"})

    def run(self, context: TreeContext) -> None:
        """Make it; raises GoldsmithError with what update-initramfs said."""
        inside = replace(context, tree=context.tree / _TREE)
        make_initramfs(inside, lends_zstd=True)
