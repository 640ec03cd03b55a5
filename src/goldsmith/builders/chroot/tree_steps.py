"""The steps of the `chroot` source that make layers: the source's tree, and each provisioner."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.builders.chroot.recipe import ChrootRecipe
from goldsmith.builders.chroot.root import MountedImage
from goldsmith.builders.image.tree_steps import KeyedProvision, ProvisionStep
from goldsmith.core.builder import BuildContext
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.step import StepTraits, TreeContext
from goldsmith.disk.filesystems.vfat_files import take_out
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.confined import confined
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers.keys import StepKey

_CANNOT_MAKE: Final = re.compile(
    r"cp: cannot create special file '([^']+)': Operation not permitted"
)


@dataclass(frozen=True, slots=True)
class SourceTreeStep(StepTraits):
    """Takes the tree of the mounted image, for provisioners to work on."""

    recipe: ChrootRecipe
    directory: Path
    mounted: MountedImage | None = None
    """None while only the key is asked for."""
    content: str | None = None
    """The digest of the mounted tree, where commands on this host may have changed it."""
    digest: str | None = None
    """That of the source, taken before it was copied; None while only the key is asked for."""
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
        None where this host could not mount all of it: another one may.
        """
        if self.mounted is not None and self.mounted.failed:
            return None
        tree = {"source": self.digest or self.recipe.source_digest(self.directory)}
        if self.recipe.changes_on_host:
            if self.content is None:
                raise GoldsmithError("the commands around the mount have to run first")
            tree = {"tree": self.content}
        return StepKey({"type": "chroot source/2", **tree, **self.recipe.root_inputs()})

    def run(self, context: TreeContext) -> None:
        """Copy all that is mounted, and what vfat holds; raises GoldsmithError."""
        assert self.mounted is not None, "who plans runs nothing"
        self._copy(self.mounted.tree, context)
        for point, stretch in self.mounted.offered.items():
            place = _emptied(context.tree, point)
            left_out = take_out(stretch, place, epoch_s=context.epoch_s)
            if left_out:
                shown = ", ".join(map(repr, left_out[:5]))
                context.emitter.warn(
                    f"of the vfat at /{point} {len(left_out)} names stay as they are, unseen by "
                    f"provisioners: {shown}"
                )

    def _copy(self, source: Path, context: TreeContext) -> None:
        argv = ["cp", "--archive", "--sparse=always", "--no-target-directory",
                str(source), str(context.tree)]  # fmt: skip
        said: list[str] = []
        try:
            with full_file_system_named(context.tree):
                run(argv, on_line=lambda _, line: said.append(line))
        except CommandFailed as e:
            if e.status != 1 or not _are_whiteouts(said, source, context.tree):
                told = "\n".join(e.tail[-5:])
                raise GoldsmithError(f"the files of the image cannot be copied\n{told}") from e
            context.emitter.warn(
                f"{len(said)} whiteouts of overlays in the image stay as they are, unseen by "
                "provisioners"
            )


def _are_whiteouts(said: Sequence[str], source: Path, tree: Path) -> bool:
    """Whether `cp` complains of nothing but the marks that an overlay takes for its own."""
    prefix = f"{tree}/"
    for line in said:
        found = _CANNOT_MAKE.fullmatch(line)
        if found is None or not found.group(1).startswith(prefix):
            return False
        # Names that are quoted in another way than this are not found, which is told as an error.
        place = source / found.group(1).removeprefix(prefix)
        if not os.path.lexists(place):
            return False
        status = os.lstat(place)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != 0:
            return False
    return bool(said)


def _emptied(tree: Path, point: str) -> Path:
    """A place without what lies under the mount point in the file system that holds it.

    Nobody sees that in the image; a link in it would lead what is put there out of the tree.
    """
    place = confined(tree, point, follow_last=True)
    if place != tree / point or not place.is_dir():
        raise GoldsmithError(f"/{point} of the image is no directory any more, or a link")
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    return place


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

    recipe: ChrootRecipe = field(kw_only=True)

    def key(self) -> StepKey | None:
        """As of `KeyedChrootProvision`, with the files of this host as they are by now."""
        return _with_shown(KeyedProvision.key(self), self.recipe.shown_inputs())


def _with_shown(own: StepKey | None, shown: Mapping[str, str] | None) -> StepKey | None:
    if own is None or shown is None:
        return None
    return StepKey({**own.inputs, **{f"config:shown {k}": v for k, v in shown.items()}})


def provision_step(
    recipe: ChrootRecipe,
    call: ProvisionerCall,
    number: int,
    build: BuildContext,
    builder_type: str,
) -> ChrootProvisionStep:
    """The step of a provisioner (see `tree_provisioning.StepOfCall`)."""
    return ChrootProvisionStep(call, number, build, builder_type, recipe=recipe)
