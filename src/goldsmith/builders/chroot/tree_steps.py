"""The steps of the `chroot` source that make layers: the source's tree, and each provisioner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from goldsmith.builders.chroot.recipe import ChrootRecipe
from goldsmith.builders.chroot.root import MountedImage
from goldsmith.builders.image.tree_steps import KeyedProvision, ProvisionStep
from goldsmith.core.builder import BuildContext
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.step import StepTraits, TreeContext
from goldsmith.disk.filesystems.vfat_files import take_out
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers.keys import StepKey


@dataclass(frozen=True, slots=True)
class SourceTreeStep(StepTraits):
    """Takes the tree of the mounted image, for provisioners to work on."""

    recipe: ChrootRecipe
    directory: Path
    mounted: MountedImage | None = None
    """None while only the key is asked for."""
    content: str | None = None
    """The digest of the mounted tree, where commands on this host may have changed it."""
    name: str = "source"
    network: bool = False
    enters: bool = False
    declared: bool = field(default=True, kw_only=True)

    @property
    def label(self) -> str:
        """Names the source."""
        return f"Taking the tree of {Path(self.recipe.options.source).name}"

    def key(self) -> StepKey | None:
        """The source by its content, and which root of it with what mounted.

        What commands on this host leave counts as it is; raises GoldsmithError before they ran.
        """
        tree = {"source": self.recipe.source_digest(self.directory)}
        if self.recipe.changes_on_host:
            if self.content is None:
                raise GoldsmithError("the commands around the mount have to run first")
            tree = {"tree": self.content}
        return StepKey({"type": "chroot source/1", **tree, **self.recipe.root_inputs()})

    def run(self, context: TreeContext) -> None:
        """Copy all that is mounted, and what vfat holds; raises GoldsmithError."""
        assert self.mounted is not None, "who plans runs nothing"
        argv = ["cp", "--archive", "--sparse=always", "--no-target-directory",
                str(self.mounted.tree), str(context.tree)]  # fmt: skip
        try:
            with full_file_system_named(context.tree):
                run(argv)
        except CommandFailed as e:
            said = "\n".join(e.tail[-5:])
            raise GoldsmithError(f"the files of the image cannot be copied\n{said}") from e
        for point, stretch in self.mounted.offered.items():
            # The image's links were looked at when the others were mounted.
            left_out = take_out(stretch, context.tree / point, epoch_s=context.epoch_s)
            if left_out:
                shown = ", ".join(map(repr, left_out[:5]))
                context.emitter.warn(
                    f"of the vfat at /{point} {len(left_out)} names stay as they are, unseen by "
                    f"provisioners: {shown}"
                )


@dataclass(frozen=True, slots=True)
class KeyedChrootProvision(KeyedProvision):
    """What is known of a provisioner's step, with what it is shown of this host."""

    shown: Mapping[str, str] | None = field(default_factory=dict)

    def key(self) -> StepKey | None:
        """The provisioner's, and what it is shown; None where that is more than files."""
        return _with_shown(KeyedProvision.key(self), self.shown)


@dataclass(frozen=True, slots=True)
class ChrootProvisionStep(ProvisionStep):
    """Runs one provisioner, with what it is shown of this host."""

    shown: Mapping[str, str] | None = field(default_factory=dict)

    def key(self) -> StepKey | None:
        """As of `KeyedChrootProvision`."""
        return _with_shown(KeyedProvision.key(self), self.shown)


def _with_shown(own: StepKey | None, shown: Mapping[str, str] | None) -> StepKey | None:
    if own is None or shown is None:
        return None
    return StepKey({**own.inputs, **{f"config:shown {k}": v for k, v in shown.items()}})


def provision_step(
    shown: Mapping[str, str] | None,
    call: ProvisionerCall,
    number: int,
    build: BuildContext,
    builder_type: str,
) -> ChrootProvisionStep:
    """The step of a provisioner (see `tree_provisioning.StepOfCall`)."""
    return ChrootProvisionStep(call, number, build, builder_type, shown=shown)
