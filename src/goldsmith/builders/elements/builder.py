"""The `elements` source: its checks and its plan; it is made in `making`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from goldsmith.builders.elements.disk_preflight import disk_findings
from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.kept_trees import KeptTrees
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.elements.places import make_places
from goldsmith.errors import Diagnostics, MissingToolError, NotRootError, TemplateError
from goldsmith.host.process import get_tool

_TOOLS = ("bash", "chroot", "mount", "nsenter")


class ElementsBuilder:
    """The `elements` source: what `disk-image-create` makes."""

    type_name: ClassVar[str] = "elements"
    options_model: ClassVar[type[Options]] = ElementsOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = ()
    communicates: ClassVar[bool] = False

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, ElementsOptions)
        self.options = options
        self.name = name
        self.recipe = Recipe(options, options.image_name or name)

    @property
    def expected(self) -> ExpectedArtifact:
        """The formats that a disk comes out in."""
        disks = [kind for kind in self.options.types if kind in ("qcow2", "raw")]
        return ExpectedArtifact(tuple(disks), ())

    def check(self) -> Sequence[Finding]:
        """The elements, what they declare, the disk and the outputs, as far as no host decides."""
        # Late: it takes YAML, which a template without elements does not need.
        from goldsmith.builders.elements.checks import findings

        return tuple(findings(self.recipe, Path.cwd()))

    def preflight(self, directory: Path, *, force: bool) -> None:
        """Raise an error for elements that cannot be, and for what this host lacks.

        Whatever would fail after the tree is made fails here: a type that nothing can write, a
        disk that cannot be, a tool that is missing.
        """
        if os.geteuid() != 0:
            raise NotRootError("building from elements")
        findings, sources = Diagnostics(), {}
        recipe = self.recipe
        try:
            findings.extend(disk_findings(recipe, recipe.wishes).found)
        except TemplateError as e:
            findings.extend(e.diagnostics)
            sources = e.sources
        for tool in _TOOLS:
            try:
                get_tool(tool)
            except MissingToolError as e:
                findings.error(str(e), e.hint or "")
        for finding in recipe.outputs(directory).findings():
            findings.error(finding.text)
        findings.raise_if_errors(sources)

    def claims(self, directory: Path) -> Sequence[Path]:
        """The outputs."""
        wanted = self.recipe.outputs(directory)
        return tuple(wanted.path(kind) for kind in wanted.types)

    def plan(self, context: PlanContext) -> BuildPlan:
        """What `build` would do; nothing is changed but the cache's own files."""
        from goldsmith.builders.elements.planning import plan_image

        return plan_image(self.recipe, context)

    def kept_trees(self, context: PlanContext) -> KeptTrees:
        """What is kept of the phases, for a look into the tree."""
        from goldsmith.builders.elements.kept_shell import surroundings_of
        from goldsmith.builders.elements.planning import planned

        recipe, trees = self.recipe, planned(self.recipe, context).kept_trees()
        places = make_places(context.state, recipe.description, context.directory)
        return replace(trees, around=surroundings_of(recipe, places, recipe.disk_variables))

    def build(self, context: BuildContext) -> Artifact:
        """Run the phases that have to; raises GoldsmithError and leaves nothing half made."""
        # Late: a plan, and a build with nothing to do, need none of it.
        from goldsmith.builders.elements.making import make_image

        return make_image(self.recipe, context)
