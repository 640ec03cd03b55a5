"""What a build of elements would do: the cache is asked about every phase, as the build will."""

from __future__ import annotations

from goldsmith.builders.elements.recipe import Recipe
from goldsmith.builders.elements.tree import open_cache, tree_steps
from goldsmith.builders.image.cache import Planner, expected_method, open_results
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.elements.places import make_places


def planned(recipe: Recipe, context: PlanContext) -> Planner:
    """Ask about every phase of the tree."""
    context.redactor.add(recipe.secrets)
    description, setup = recipe.description, recipe.setup
    places = make_places(context.state, description, context.directory)
    cache = open_cache(
        context.state, context.policy, description, setup, places,
        redactor=context.redactor, method=expected_method(), build=context.name,
    )  # fmt: skip
    planner = Planner(cache, context, inside="mnt")
    for step in tree_steps(description, setup, places, more=recipe.disk_variables):
        planner.tree_step(step)
    return planner


def plan_image(recipe: Recipe, context: PlanContext) -> BuildPlan:
    """The whole plan; the image stands if its files are as they were made of this tree."""
    planner = planned(recipe, context)
    results = open_results(context.state, planner.cache.store)
    epoch = context.environment.get("SOURCE_DATE_EPOCH", "")
    places = make_places(context.state, recipe.description, context.directory)
    key = recipe.result_key(results, planner.tree_id, places, epoch, planner.cache.releases)
    wanted = recipe.outputs(context.directory)
    return planner.finished(
        results, key, [wanted.path(kind) for kind in wanted.types], recipe.late_ttl_s
    )
