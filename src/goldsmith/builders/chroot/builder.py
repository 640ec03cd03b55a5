"""The `chroot` source: its checks and its plan; the image is made in `making`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from goldsmith.builders.chroot.options import ChrootOptions
from goldsmith.builders.chroot.recipe import ChrootRecipe
from goldsmith.builders.chroot.root import named_root, require_writable_root
from goldsmith.builders.chroot.tree_steps import KeyedChrootProvision, SourceTreeStep
from goldsmith.builders.image.cache import Planner, expected_method, open_cache, open_results
from goldsmith.builders.image.preflight import require_writable
from goldsmith.builders.volume_steps.extras import require_copied
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.kept_trees import KeptTrees
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.disk.formats import check_format
from goldsmith.errors import GoldsmithError, NotRootError
from goldsmith.host.process import get_tool
from goldsmith.packages.image_file import image_format, read_partitions, require_image

_TOOLS = ("blkid", "chroot", "cp", "mcopy", "mount", "nsenter", "partx", "sfdisk")


class ChrootBuilder:
    """Provisions a disk image that there is, and writes it as a new one; it takes root."""

    type_name: ClassVar[str] = "chroot"
    options_model: ClassVar[type[Options]] = ChrootOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = ()
    communicates: ClassVar[bool] = True

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, ChrootOptions)
        self.options = options
        self.name = name
        self.recipe = ChrootRecipe(options, options.image_name or name)

    @property
    def expected(self) -> ExpectedArtifact:
        """The formats, and the firmware that the source boots on."""
        return ExpectedArtifact(self.options.formats, self.options.firmware)

    def check(self) -> Sequence[Finding]:
        """Options that belong together; no file is looked at."""
        return list(self.options.findings())

    def preflight(self, directory: Path, *, force: bool) -> None:
        """The source is there, its root too where that can be seen, and outputs can be written."""
        if os.geteuid() != 0:
            raise NotRootError("mounting the file systems of an image (the source chroot)")
        source = self.recipe.source(directory)
        require_image(source)
        kind = image_format(source)
        tools = [*_TOOLS, *(() if kind == "raw" else ("qemu-img",))]
        for name in self.options.formats:
            tools += check_format(name).tools
        for tool in tools:
            get_tool(tool)
        if kind == "raw" and not self.options.pre_mount_commands:
            partitions = read_partitions(source, source)
            root = named_root(source, partitions, self.options)
            if root is not None:
                require_writable_root(root, source)
        for name in self.options.copy_files:
            require_copied(name)
        require_writable(directory / self.options.output_directory)
        outputs = self.recipe.outputs(directory)
        for path in outputs.images.values():
            if os.path.realpath(path) == os.path.realpath(source):
                raise GoldsmithError(
                    f"{path} is the source, and would be written over",
                    hint="choose another image_name or output_directory",
                )
        outputs.refuse_foreign_files(force=force)

    def claims(self, directory: Path) -> Sequence[Path]:
        """The images and their manifest."""
        outputs = self.recipe.outputs(directory)
        return (*outputs.images.values(), outputs.manifest)

    def plan(self, context: PlanContext) -> BuildPlan:
        """What `build` would do; nothing is changed but the cache's own files."""
        planner = self._planned(context)
        outputs = self.recipe.outputs(context.directory)
        results = open_results(context.state, planner.cache.store)
        key = None
        if planner.tree_id is not None:
            key = self.recipe.result_key(
                results, planner.tree_id, self.recipe.source_digest(context.directory), outputs,
                context.environment, context.name,
            )  # fmt: skip
        plan = planner.finished(results, key, (*outputs.images.values(), outputs.manifest))
        try:
            outputs.refuse_foreign_files(force=False)
        except GoldsmithError as e:
            return replace(plan, notes=(*plan.notes, f"the build will refuse to start: {e}"))
        return plan

    def kept_trees(self, context: PlanContext) -> KeptTrees:
        """What is kept of the steps of the tree, for a look into it."""
        return self._planned(context).kept_trees()

    def _planned(self, context: PlanContext) -> Planner:
        """Ask the cache about every step of the tree."""
        cache = open_cache(
            context.state, context.policy, None, context.redactor, expected_method(), context.name
        )
        planner = Planner(cache, context)
        planner.tree_step(SourceTreeStep(self.recipe, context.directory))
        try:
            shown = self.recipe.shown_inputs()
        except OSError:
            shown = None
        for number, call in enumerate(context.provisioners({"PackerRunUUID": "?"}), 1):
            step = KeyedChrootProvision(call, number, context, self.type_name, shown=shown)
            if call.provisioner.changes_tree:
                planner.tree_step(step)
            else:
                planner.local_step(step)
        return planner

    def build(self, context: BuildContext) -> Artifact:
        """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
        # Late: a plan, and a build with nothing to do, need none of it.
        from goldsmith.builders.chroot.making import change_image

        return change_image(self.recipe, self.type_name, context)
