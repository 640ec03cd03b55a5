"""What surrounds a phase's hooks, for a shell in a kept tree: there they can be run by hand.

The command says it in plain data, and the worker that holds the tree makes it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from goldsmith.builders.elements.entrance import PhaseEntrance
from goldsmith.builders.elements.phase_steps import HookSurroundings
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.core.tree_entrance import TreeAccess, entered
from goldsmith.elements import environment as snippets
from goldsmith.elements import hook_directory
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.hook_environment import in_tree, working_directory
from goldsmith.elements.hooks import HookFile, Hooks
from goldsmith.elements.phases import Place, Tree, phase_named
from goldsmith.elements.places import IN_TARGET, RECORDS, Places
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot
from goldsmith.host.process import get_tool

_BESIDE = phase_named("post-root.d")
_SHELLS: Final = ("bin/bash", "usr/bin/bash")


def surroundings_of(
    recipe: Recipe, places: Places, more: Mapping[str, str]
) -> Callable[[str], dict[str, Any] | None]:
    """What surrounds the hooks of a step, by its name; `more` is what they are told of the disk."""
    return partial(around_step, HookSurroundings(recipe.description, recipe.setup, places, more))


def around_step(around: HookSurroundings, step: str) -> dict[str, Any] | None:
    """What surrounds the hooks of a step, as plain data; None for a step that has none."""
    try:
        phase = phase_named("install.d" if step == "packages" else step)
    except ElementError:
        return None
    beside = phase if phase.place is Place.OUTSIDE else _BESIDE
    places, setup = around.places, around.setup
    generated = hook_directory.generated_for(phase, setup, around.description.install_type)
    return {
        "places": [str(place) for place in (places.build, places.image, places.cache, places.locks,
                                            places.directory)],
        "empty": phase.tree is Tree.EMPTY,
        "inside": in_tree(around.environment(phase)), "outside": around.environment(beside),
        "files": [[file.element, str(file.source), place]
                  for place, file in setup.hooks.files.items()],
        "directories": list(setup.hooks.directories),
        "generated": {name: content.decode("latin-1") for name, content in generated.items()},
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class HookShell:
    """Where a shell runs as hooks do."""

    access: TreeAccess
    words: Callable[[Sequence[str]], list[str]]
    """The words that run a program where the hooks run, to be entered by `access`."""
    environment: Mapping[str, str]
    warning: str = ""
    """Why the variables of snippets are missing."""


@contextmanager
def hook_shell(
    around: Mapping[str, Any], build: Path, image: Path, *, outside: bool
) -> Iterator[HookShell]:
    """Show a kept build, which may be changed, as hooks see it: in its tree, or `outside` of it.

    `image` is made and stands for TMP_IMAGE_DIR. Raises GoldsmithError for a tree without bash.
    Must be called from the main thread of a worker.
    """
    if not outside and not any(os.path.lexists(build / "mnt" / place) for place in _SHELLS):
        raise GoldsmithError("the tree has no bash",
                             hint="-outside opens a shell beside it, on this host")  # fmt: skip
    places = Places(*map(Path, around["places"]))
    files = {place: HookFile(element, Path(source), place)
             for element, source, place in around["files"]}  # fmt: skip
    hooks = Hooks(files, tuple(around["directories"]))
    generated = {name: text.encode("latin-1") for name, text in around["generated"].items()}
    # After an error they are there; after a phase that went well they were taken away.
    hook_directory.write(hooks, build / "hooks", generated, build / RECORDS)
    enters = not (outside and around["empty"])
    entrance = PhaseEntrance(places, image, shows_hooks=enters)
    with entered(entrance, build, {}, network=True, enters=enters) as access:

        def words(argv: Sequence[str]) -> list[str]:
            if not outside:
                return chroot.chroot_argv(places.mount, argv)
            return [get_tool("env"), f"--chdir={working_directory(places)}", *argv]

        given = around["outside" if outside else "inside"]
        seen_at = str(places.hooks) if outside else IN_TARGET
        try:
            environment = snippets.sourced(
                build / "hooks", given, words=lambda argv: access.words_into(words(argv)),
                seen_at=seen_at,
            )  # fmt: skip
            warning = ""
        except ElementError as e:
            environment, warning = given, str(e)
        yield HookShell(access, words, environment, warning)
