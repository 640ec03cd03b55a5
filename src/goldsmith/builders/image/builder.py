"""The `image` source: its checks and its plan; it is made in `making`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from goldsmith.builders.image.apt_plan import tool_of, with_answer
from goldsmith.builders.image.cache import (
    Planner,
    expected_method,
    open_cache,
    open_results,
)
from goldsmith.builders.image.options import ImageOptions
from goldsmith.builders.image.preflight import require_guest, require_source, require_writable
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.image.tree_steps import (
    ConfigureStep,
    KeyedProvision,
    base_steps,
)
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.kept_trees import KeptTrees
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.disk.filesystems import host_tools
from goldsmith.disk.formats import check_format
from goldsmith.disk.model import Layout
from goldsmith.disk.shrink import shrinking_tools
from goldsmith.disk.ways import filled_in_guest
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import get_tool
from goldsmith.packages.apt_sources import parse_sources
from goldsmith.packages.bootstrap import bootstrap_tools

if TYPE_CHECKING:
    from goldsmith.builders.image.element_source import ElementSource


class ImageBuilder:
    """The `image` source."""

    type_name: ClassVar[str] = "image"
    options_model: ClassVar[type[Options]] = ImageOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = ()
    communicates: ClassVar[bool] = True

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, ImageOptions)
        self.options = options
        self.name = name
        self.recipe = Recipe(options, options.image_name or name)

    @property
    def expected(self) -> ExpectedArtifact:
        """The formats, and the firmware that it is to boot on."""
        firmware = self.options.firmware
        if self._of_elements:
            firmware = self._source(Path.cwd()).firmware
        formats = self.options.formats if self.options.image_set is None else ()
        return ExpectedArtifact(formats, firmware)

    @property
    def _of_elements(self) -> bool:
        return self.options.bootstrap.method == "elements"

    def _source(
        self, directory: Path, environment: Mapping[str, str] | None = None
    ) -> ElementSource:
        # Late: whoever has no elements needs none of it.
        from goldsmith.builders.image.element_source import ElementSource

        return ElementSource(self.options, self.recipe.image_name, directory, environment or {})

    def check(self) -> Sequence[Finding]:
        """The layout's findings; the sources of the finished image; the elements."""
        if self._of_elements:
            return tuple(self._source(Path.cwd()).findings())
        findings = list(self.options.findings(image_name=self.recipe.image_name))
        text = self.options.bootstrap.apt_sources
        if text is not None:
            try:
                parse_sources(text, "apt_sources")
            except GoldsmithError as e:
                findings.append(Finding(str(e), ("bootstrap", "apt_sources"), e.hint or ""))
        return findings

    def preflight(self, directory: Path, *, force: bool) -> None:
        """What a later step needs is there, and the outputs can be written.

        That is: every tool, the tree's source, a place to write to, and no foreign file in the way.
        """
        if self._of_elements:
            self._source(directory).require_host()
        for tool in self._tools():
            get_tool(tool)
        if self.options.bootstrap.method == "apt":
            for tool in bootstrap_tools(tool_of(self.options.bootstrap)):
                get_tool(tool)
        if not self._of_elements:
            for layout in self._layouts():
                require_guest(layout)
        require_source(self.options.bootstrap, directory)
        require_writable(directory / self.options.output_directory)
        self.recipe.outputs(directory).refuse_foreign_files(force=force)

    def claims(self, directory: Path) -> Sequence[Path]:
        """The images and what describes them."""
        return self.recipe.outputs(directory).all_files

    def _tools(self) -> list[str]:
        bootstrap = {
            "apt": ["apt-config"], "tar": ["tar"], "directory": ["cp"],
            "image": ["blkid", "cp", "qemu-img"],
        }  # fmt: skip
        if self._of_elements:
            return [tool for name in self.options.formats for tool in check_format(name).tools]
        tools = [*bootstrap[self.options.bootstrap.method], "nsenter", "chroot"]
        is_set = self.options.image_set is not None
        for layout in self._layouts():
            in_guest = filled_in_guest(layout)
            kinds = [v.filesystem.type for v in layout.volumes()
                     if v.filesystem is not None and v.name not in in_guest]  # fmt: skip
            tools += host_tools(kinds)
            if is_set:
                tools += [tool for kind in kinds for tool in shrinking_tools(kind)]
        if is_set:
            return tools
        tools.append("sfdisk")
        for name in self.options.formats:
            tools += check_format(name).tools
        return tools

    def _layouts(self) -> list[Layout]:
        """The disks that are filled: one, or one for each image of a set."""
        image_set = self.options.image_set
        return [self.options.layout()] if image_set is None else image_set.layouts()

    def plan(self, context: PlanContext) -> BuildPlan:
        """What `build` would do; nothing is changed but the cache's own files."""
        planner = self._planned(context)
        outputs = self.recipe.outputs(context.directory)
        results = open_results(context.state, planner.cache.store)
        ttl_s = None
        if self._of_elements:
            from goldsmith.builders.image.element_making import result_key

            source = self._source(context.directory, context.environment)
            releases = planner.cache.releases
            key = result_key(source, results, planner.tree_id, self.recipe, context, releases)
            ttl_s = source.recipe.late_ttl_s
        else:
            key = self.recipe.result_key(
                results, planner.tree_id, outputs, context.environment, context.name, context.policy
            )
        plan = planner.finished(results, key, outputs.all_files, ttl_s)
        try:
            outputs.refuse_foreign_files(force=False)
        except GoldsmithError as e:
            return replace(plan, notes=(*plan.notes, f"the build will refuse to start: {e}"))
        return plan

    def kept_trees(self, context: PlanContext) -> KeptTrees:
        """What is kept of the steps of the tree, for a look into it."""
        trees = self._planned(context).kept_trees()
        if not self._of_elements:
            return trees
        from goldsmith.builders.image.element_making import around_hooks

        source = self._source(context.directory, context.environment)
        return replace(trees, around=around_hooks(source, context))

    def _planned(self, context: PlanContext) -> Planner:
        """Ask the cache about every step of the tree."""
        if self._of_elements:
            from goldsmith.builders.image.element_making import plan_elements

            source = self._source(context.directory, context.environment)
            return plan_elements(source, self.type_name, context)
        redactor = context.redactor
        settings = self.recipe.apt_settings(redactor)
        request = self.recipe.request(settings, redactor, context.directory)
        cache = open_cache(
            context.state, context.policy, request, redactor, expected_method(), context.name
        )
        if request is not None:
            request = with_answer(
                request, self.options.bootstrap, context.state, cache.releases, context.policy
            )
        planner = Planner(cache, context, request=request)
        for base in base_steps(self.options.bootstrap, request, context.directory):
            planner.tree_step(base)
        planner.tree_step(ConfigureStep(self.options.hostname))
        for number, call in enumerate(context.provisioners({"PackerRunUUID": "?"}), 1):
            step = KeyedProvision(call, number, context, self.type_name)
            if call.provisioner.changes_tree:
                planner.tree_step(step)
            else:
                planner.local_step(step)
        planner.tree_step(self.recipe.finish_step(context.directory))
        return planner

    def build(self, context: BuildContext) -> Artifact:
        """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
        # Late: a plan, and a build with nothing to do, need none of it.
        if self._of_elements:
            from goldsmith.builders.image.element_making import make_image as make_of_elements

            source = self._source(context.directory, context.environment)
            return make_of_elements(source, self.recipe, self.type_name, context)
        from goldsmith.builders.image.making import make_image

        return make_image(self.recipe, self.type_name, context)
