"""Makes an image of elements: their phases, provisioners on the tree, the disk and its hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from goldsmith.builders.elements.cache_turns import cache_turn
from goldsmith.builders.elements.disk import RawDisk, make_disk
from goldsmith.builders.elements.disk_wishes import disk_variables
from goldsmith.builders.elements.tree import built_tree, open_cache, open_trees, run_tree_phases
from goldsmith.builders.elements.tree import tree_steps as phase_steps
from goldsmith.builders.image.cache import Planner, expected_method, open_results
from goldsmith.builders.image.element_entrance import TREE, ElementTreeEntrance
from goldsmith.builders.image.element_source import ElementSource
from goldsmith.builders.image.image_files import ImageFiles, MadeDisk, describe_tree
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.image.tree_steps import KeyedProvision, ProvisionStep
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.plan import PlanContext
from goldsmith.core.results import Results
from goldsmith.core.step import StepContext, StepTraits, TreeContext, TreeStep
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.formats import move_raw
from goldsmith.elements.places import Places, make_places
from goldsmith.elements.setup import Setup
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.packages.identity import set_hostname
from goldsmith.packages.release_files import ReleaseState


@dataclass(frozen=True, slots=True)
class HostNameStep(StepTraits):
    """Names the machine, before the provisioners."""

    hostname: str
    name: str = "configure"
    network: bool = False
    enters: bool = True
    declared: bool = field(default=True, kw_only=True)

    @property
    def label(self) -> str:
        """What it is called."""
        return f"Naming the machine {self.hostname}"

    def key(self) -> StepKey | None:
        """The name."""
        return StepKey({"type": "elements hostname/1", "hostname": self.hostname})

    def run(self, context: TreeContext) -> None:
        """Write it."""
        set_hostname(context.tree / TREE, self.hostname)


@dataclass(frozen=True, slots=True)
class ProvisionInTurn(ProvisionStep):
    """Runs one provisioner, in a tree that may show parts of an image cache which builds share."""

    places: Places = field(kw_only=True)
    setup: Setup = field(kw_only=True)

    def run(self, context: TreeContext) -> None:
        """Provision as soon as no other build is in its tree with the same image cache."""
        with cache_turn(self.places, self.setup, context.emitter):
            ProvisionStep.run(self, context)


def configure_steps(source: ElementSource) -> list[TreeStep]:
    """What is done to the tree between the phases and the provisioners."""
    hostname = source.options.hostname
    return [] if hostname is None else [HostNameStep(hostname)]


def result_key(
    source: ElementSource,
    results: Results,
    tree_id: str | None,
    recipe: Recipe,
    context: BuildContext | PlanContext,
    releases: Mapping[str, ReleaseState],
) -> str | None:
    """What identifies the files: what it is of all images, and what the last phases depend on."""
    elements, wishes = source.recipe, source.wishes
    places = make_places(context.state, elements.description, context.directory)
    outputs = recipe.outputs(context.directory)
    key = recipe.result_key(
        results, tree_id, outputs, context.environment, context.name, context.policy
    )
    if key is None:
        return None
    places = make_places(context.state, elements.description, context.directory)
    return results.key({
        "type": "image of elements/2", "image": key,
        **elements.late_inputs(places, wishes, releases),
        "disk": wishes.config.text, "sizes": canonical(dict(wishes.variables)),
    })  # fmt: skip


def around_hooks(
    source: ElementSource, context: PlanContext
) -> Callable[[str], dict[str, Any] | None]:
    """What surrounds the hooks of each phase, for a shell in its tree."""
    from goldsmith.builders.elements.kept_shell import surroundings_of

    places = make_places(context.state, source.recipe.description, context.directory)
    return surroundings_of(source.recipe, places, disk_variables(source.wishes))


def plan_elements(source: ElementSource, builder_type: str, context: PlanContext) -> Planner:
    """Ask the cache about every phase and provisioner."""
    elements = source.recipe
    context.redactor.add(elements.secrets)
    places = make_places(context.state, elements.description, context.directory)
    cache = open_cache(
        context.state, context.policy, elements.description, elements.setup, places,
        redactor=context.redactor, method=expected_method(), build=context.name,
    )  # fmt: skip
    planner = Planner(cache, context, inside=TREE)
    more = disk_variables(source.wishes)
    for step in phase_steps(elements.description, elements.setup, places, more=more):
        planner.tree_step(step)
    for configure in configure_steps(source):
        planner.tree_step(configure)
    for number, call in enumerate(context.provisioners({"PackerRunUUID": "?"}), 1):
        provision = KeyedProvision(call, number, context, builder_type)
        if call.provisioner.changes_tree:
            planner.tree_step(provision)
        else:
            planner.local_step(provision)
    return planner


def make_image(
    source: ElementSource, recipe: Recipe, builder_type: str, context: BuildContext
) -> Artifact:
    """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
    context.work.mkdir(mode=0o700)
    context = replace(context, policy=recipe.policy(context.policy))
    elements = source.recipe
    context.emitter.redactor.add(elements.secrets)
    places = make_places(context.state, elements.description, context.directory)
    with open_trees(context, elements.description, elements.setup, places) as trees:
        context = replace(context, epoch_s=trees.epoch_s)
        step_of_call = functools.partial(ProvisionInTurn, places=places, setup=elements.setup)
        provisioning = TreeProvisioning(builder_type, trees, context, step_of_call)
        making = _Making(source, recipe, provisioning, trees, places, context)
        making.tree()
        return making.image(open_results(context.state, trees.cache.store))


@dataclass(frozen=True, slots=True)
class _Making:
    """One build of an image."""

    source: ElementSource
    recipe: Recipe
    provisioning: TreeProvisioning
    trees: TreeBuild
    places: Places
    context: BuildContext

    def tree(self) -> None:
        """Run the phases that make the tree, then the provisioners."""
        elements, trees = self.source.recipe, self.trees
        run_tree_phases(
            trees, elements.description, elements.setup, self.places,
            more=disk_variables(self.source.wishes),
        )  # fmt: skip
        phases, trees.entrance = trees.entrance, ElementTreeEntrance(self.places)
        for step in configure_steps(self.source):
            trees.run(step)
        self.provisioning.provision()
        trees.entrance = phases
        trees.tell_unknown_refreshes()
        trees.require_no_secrets()

    def image(self, results: Results) -> Artifact:
        """Make the disk and its files, unless they stand already."""
        context = self.context
        releases = self.trees.cache.releases
        key = result_key(self.source, results, self.trees.tree_id, self.recipe, context, releases)
        files = ImageFiles(
            self.recipe, self.provisioning, self.trees, context, self.source.firmware,
            self._make_disk, self.source.recipe.late_ttl_s,
        )  # fmt: skip
        return files.make(results, key)

    def _make_disk(self, raw: Path, reason: str) -> MadeDisk:
        step = ElementDiskStep(self.source, self.trees, self.places, raw)
        return self.provisioning.run(step, reason=reason)


@dataclass(frozen=True, slots=True)
class ElementDiskStep:
    """Fills the disk and runs the phases in the final file systems."""

    source: ElementSource
    trees: TreeBuild
    places: Places
    image: Path
    name: str = "assemble"
    label: str = "Assembling the disk"

    def run(self, context: StepContext) -> MadeDisk:
        """Write the raw image; raises LayoutError, HookFailed."""
        elements, wishes = self.source.recipe, self.source.wishes
        described: dict[str, Any] = {}

        def describe(tree: Path) -> None:
            described.update(describe_tree(tree))

        with built_tree(
            self.trees, elements.description, elements.setup, self.places,
            more=disk_variables(wishes),
        ) as built:  # fmt: skip
            made: RawDisk = make_disk(
                built, elements.description, elements.setup, self.places, wishes,
                emitter=context.emitter, scratch=context.scratch, epoch_s=context.epoch_s,
                on_final_tree=describe, seed=self.source.identity.seed,
            )  # fmt: skip
        move_raw(made.path, self.image)
        return MadeDisk(made.assembled, described)
