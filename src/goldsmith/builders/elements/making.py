"""Makes an image of elements: the phases of its tree, its disk, the files of both."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.disk import make_disk
from goldsmith.builders.elements.output_writing import being_written
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.builders.elements.tree import built_tree, open_trees, run_tree_phases, tree_steps
from goldsmith.builders.image.cache import (
    IMAGE_LABEL,
    image_step,
    look_up,
    open_results,
    reused,
)
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import NOT_RECORDED, Results
from goldsmith.core.tree_build import TreeBuild
from goldsmith.elements.phase_runner import HookFailed
from goldsmith.elements.places import Places, make_places
from goldsmith.elements.shown_variables import assignments_for
from goldsmith.errors import explain_os_error
from goldsmith.host.signals import check_interrupted

BUILDER_ID: Final = "goldsmith.elements"
_EPOCH: Final = "SOURCE_DATE_EPOCH"


def make_image(recipe: Recipe, context: BuildContext) -> Artifact:
    """Run the phases that have to; raises GoldsmithError and leaves nothing half made."""
    context.work.mkdir(mode=0o700)
    context.emitter.redactor.add(recipe.secrets)
    description, setup = recipe.description, recipe.setup
    places = make_places(context.state, description, context.directory)
    with open_trees(context, description, setup, places) as trees:
        run_tree_phases(
            trees, description, setup, places, more=recipe.disk_variables,
            terminal=recipe.options.terminal,
        )  # fmt: skip
        trees.tell_unknown_refreshes()
        trees.require_no_secrets()
        making = _Making(recipe, trees, places, replace(context, epoch_s=trees.epoch_s))
        return making.image(open_results(context.state, trees.cache.store))


@dataclass(frozen=True, slots=True)
class _Making:
    """One build of an image."""

    recipe: Recipe
    trees: TreeBuild
    places: Places
    context: BuildContext

    def image(self, results: Results) -> Artifact:
        """Make the disk and the files, unless they stand already."""
        started_s = time.monotonic()
        recipe, context = self.recipe, self.context
        cache = self.trees.cache
        key = recipe.result_key(
            results, self.trees.tree_id, self.places, context.environment.get(_EPOCH, ""),
            cache.releases,
        )  # fmt: skip
        found, reason = look_up(cache, results, key, recipe.late_ttl_s)
        if found is not None:
            with context.emitter.running(
                "image", IMAGE_LABEL, key=key, cache="hit", reason=reason
            ):  # fmt: skip
                return reused(found)
        with context.emitter.running(
            "image", IMAGE_LABEL, takes_long=True, key=key, cache="miss", reason=reason
        ):  # fmt: skip
            files = self._write()
        artifact = self._artifact(files)
        if key is not None:
            try:
                results.keep(
                    key, artifact.to_wire(), files, step=image_step(context.name),
                    duration_s=time.monotonic() - started_s,
                )  # fmt: skip
            except OSError as e:
                # The image is in place, whatever becomes of the record.
                context.emitter.warn(f"{NOT_RECORDED}: {explain_os_error(e)}")
        return artifact

    def _write(self) -> tuple[Path, ...]:
        """Make the disk and everything that comes of it; returns the files in place."""
        context, recipe = self.context, self.recipe
        wanted = recipe.outputs(context.directory)
        with being_written(wanted, context.run, context.emitter, epoch_s=context.epoch_s) as out:
            with built_tree(
                self.trees, recipe.description, recipe.setup, self.places,
                more=recipe.disk_variables,
            ) as built, self._telling_of_the_tree():  # fmt: skip
                raw = make_disk(
                    built, recipe.description, recipe.setup, self.places, recipe.wishes,
                    emitter=context.emitter, scratch=context.work, epoch_s=context.epoch_s,
                    on_final_tree=out.write_tree_outputs, terminal=recipe.options.terminal,
                )  # fmt: skip
            if wanted.makes_disk:
                out.write_disk_outputs(raw.path)
            check_interrupted()
            context.commit()
            return out.publish()

    @contextmanager
    def _telling_of_the_tree(self) -> Iterator[None]:
        """Where a hook fails on the disk, that is thrown away: the tree before it can be seen."""
        try:
            yield
        except HookFailed:
            recipe, context = self.recipe, self.context
            steps = tree_steps(recipe.description, recipe.setup, self.places)
            if context.policy.use and self.trees.tree_id is not None:
                given = assignments_for(context.template, recipe.description.environment)
                context.emitter.say(
                    f"The tree as it was before its disk is kept: {given}goldsmith shell "
                    f"-only={context.emitter.build} -after={steps[-1].name} "
                    f"{shlex.quote(context.template)}"
                )
            raise

    def _artifact(self, files: tuple[Path, ...]) -> Artifact:
        directory, name = self.context.directory, self.recipe.image_name
        shown = ", ".join(os.path.relpath(path, directory) for path in files)
        wanted = self.recipe.outputs(directory)
        images = {kind: str(wanted.path(kind)) for kind in wanted.disk_types}
        return Artifact(
            builder_id=BUILDER_ID, id=name, string=f"Image '{name}': {shown}",
            files=tuple(map(str, files)), state={"images": images, "firmware": []}, native=True,
        )  # fmt: skip
