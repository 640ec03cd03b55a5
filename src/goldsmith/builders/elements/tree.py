"""From elements to a finished tree: the phases root.d to post-root.d, each one a kept step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from goldsmith.builders.elements import resolver
from goldsmith.builders.elements.break_shell import BreakShell
from goldsmith.builders.elements.entrance import PhaseEntrance
from goldsmith.builders.elements.phase_steps import (
    TREE_STEPS,
    HookSurroundings,
    PackagesStep,
    PhaseStep,
)
from goldsmith.builders.image.making import dated
from goldsmith.core.builder import BuildContext
from goldsmith.core.caching import CachePolicy
from goldsmith.core.step import TreeStep
from goldsmith.core.step_cache import StepCache
from goldsmith.core.tree_build import TreeBuild
from goldsmith.elements import environment as snippets
from goldsmith.elements import hook_directory
from goldsmith.elements.apt_releases import apt_sources
from goldsmith.elements.description import Description
from goldsmith.elements.hook_environment import hook_environment
from goldsmith.elements.phases import Place, phase_named
from goldsmith.elements.places import RECORDS, Places
from goldsmith.elements.setup import Setup
from goldsmith.elements.shown_variables import assignments_for
from goldsmith.host.journal import remove_tree
from goldsmith.host.process import find_tool
from goldsmith.layers.method import choose_method
from goldsmith.layers.store import Store
from goldsmith.packages.apt_settings import AptSettings, read_apt_settings
from goldsmith.packages.release_files import ReleaseState, release_digests
from goldsmith.redact import Redactor


@dataclass(frozen=True, slots=True)
class BuiltTree:
    """A finished tree, mounted: what is changed in it is thrown away."""

    build: Path
    """The build directory: TMP_BUILD_DIR of hooks is another name of it."""
    tree: Path
    """The image's tree."""
    hooks: Path
    """The hooks directory, with the elements' files in it."""
    environment: dict[str, str]
    """That of hooks on the host."""


def open_trees(
    context: BuildContext, description: Description, setup: Setup, places: Places
) -> TreeBuild:
    """The build of an image's tree, without any step yet; `context.work` must exist.

    Looks up the Release files of the image's APT sources, where elements say beforehand which.
    """
    method = choose_method(context.work)
    cache = open_cache(
        context.state, context.policy, description, setup, places,
        redactor=context.emitter.redactor, method=method.name, build=context.name,
    )  # fmt: skip
    clock, context = context, dated(context, cache.releases)
    return TreeBuild(
        directory=context.work, method=method, emitter=context.emitter, cache=cache,
        entrance=PhaseEntrance(places, context.work / "image"), environment=context.environment,
        epoch_s=context.epoch_s, ask=context.ask, on_error=context.on_error,
        template=context.template,
        assignments=assignments_for(context.template, description.environment),
        epoch_is_given=context is not clock or "SOURCE_DATE_EPOCH" in context.environment,
    )  # fmt: skip


def open_cache(
    state: Path,
    policy: CachePolicy,
    description: Description,
    setup: Setup,
    places: Places,
    *,
    redactor: Redactor,
    method: str,
    build: str,
) -> StepCache:
    """The store of this user with the Release files of the image's APT sources as they are now.

    Of a repository that does not answer nothing is known: there the age of a result decides.
    """
    if description.offline:
        policy = replace(policy, offline=True, any_age=True)
    given = hook_environment(description, setup, places)
    sources = apt_sources(
        setup, snippets.sourced_from_elements(setup.hooks, given), places.directory
    )

    def look() -> Mapping[str, ReleaseState]:
        if not sources:
            return {}
        settings = read_apt_settings() if find_tool("apt-config") else AptSettings()
        states = release_digests(
            sources, settings, cache=state / "releases", offline=policy.offline
        )
        return {name: state for name, state in states.items() if state.digest is not None}

    return StepCache(
        Store.open(state / "store"), policy, look(), method, redactor, look_again=look, build=build
    )


def tree_steps(
    description: Description,
    setup: Setup,
    places: Places,
    *,
    more: Mapping[str, str] | None = None,
) -> list[TreeStep]:
    """The steps of a tree, as `plan` asks the cache about them; `more` is for hooks to see."""
    return HookSurroundings(description, setup, places, more or {}).steps()


def run_tree_phases(
    trees: TreeBuild,
    description: Description,
    setup: Setup,
    places: Places,
    *,
    more: Mapping[str, str] | None = None,
    through: str = TREE_STEPS[-1],
    terminal: str = "",
) -> None:
    """Run the phases up to one; raises StepFailed. `trees` must be entered by a PhaseEntrance.

    `more` is for hooks to see: what is known of the disk. `terminal` is the path of the user's, for
    shells at breaks.
    """
    open_shell = BreakShell(trees.emitter, terminal, description.environment)
    around = HookSurroundings(description, setup, places, more or {})
    planned = {step.name: step for step in around.steps(open_shell)}
    for name in TREE_STEPS[: TREE_STEPS.index(through) + 1]:
        step = planned.get(name)
        if step is None and _made_by_hooks(trees, name):
            step = around.phase_step(phase_named(name), open_shell)
        if step is not None:
            _run(trees, step)


@contextmanager
def built_tree(
    trees: TreeBuild,
    description: Description,
    setup: Setup,
    places: Places,
    *,
    more: Mapping[str, str] | None = None,
) -> Iterator[BuiltTree]:
    """The tree as the phases have left it, with the hooks of all elements, for a last look or use.

    It is mounted at a path of the run; resolv.conf has the host's name servers.
    """
    with trees.view() as build:
        tree, hooks = build / "mnt", build / "hooks"
        phase = phase_named("finalise.d")
        generated = hook_directory.generated_for(phase, setup, description.install_type)
        hook_directory.write(setup.hooks, hooks, generated, build / RECORDS)
        remove_tree(tree / "lost+found")
        resolver.fill(tree)
        environment = hook_environment(description, setup, places, **(more or {}))
        yield BuiltTree(build, tree, hooks, environment)


def _run(trees: TreeBuild, step: TreeStep) -> None:
    entrance = trees.entrance
    assert isinstance(entrance, PhaseEntrance), "the phases need what it mounts"
    in_tree = isinstance(step, PhaseStep) and step.phase.place is Place.IN_TREE
    entrance.shows_hooks = in_tree or isinstance(step, PackagesStep)
    trees.run(step)


def _made_by_hooks(trees: TreeBuild, name: str) -> bool:
    """Whether an earlier phase has made hooks for a later one that no element has any of."""
    return any((layer / "hooks" / name).is_dir() for layer in trees.stack.lowers())
