"""The phases of an image, in their order, and where the hooks of each one run.

Source: `specs/diskimage-builder.md`, A2 and A3.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.elements.catalog import ElementError


class Place(enum.Enum):
    """Where hooks run: on the host beside the tree, or in the tree."""

    OUTSIDE = "outside"
    IN_TREE = "in the tree"


class Tree(enum.Enum):
    """What the tree is while a phase runs."""

    EMPTY = "empty"
    DIRECTORY = "a directory"
    FINAL = "the final file system"


@dataclass(frozen=True, slots=True)
class Phase:
    """A directory of hooks that run one after the other."""

    name: str
    place: Place
    tree: Tree
    names_target_root: bool = False
    """Whether hooks see TARGET_ROOT."""


PHASES: Final = (
    Phase("root.d", Place.OUTSIDE, Tree.EMPTY, names_target_root=True),
    Phase("extra-data.d", Place.OUTSIDE, Tree.DIRECTORY),
    Phase("pre-install.d", Place.IN_TREE, Tree.DIRECTORY),
    Phase("install.d", Place.IN_TREE, Tree.DIRECTORY),
    Phase("post-install.d", Place.IN_TREE, Tree.DIRECTORY),
    Phase("post-root.d", Place.OUTSIDE, Tree.DIRECTORY),
    Phase("block-device.d", Place.OUTSIDE, Tree.DIRECTORY),
    Phase("pre-finalise.d", Place.OUTSIDE, Tree.FINAL),
    Phase("finalise.d", Place.IN_TREE, Tree.FINAL),
    Phase("cleanup.d", Place.OUTSIDE, Tree.FINAL, names_target_root=True),
)
"""All phases of `disk-image-create`, first to last."""

_BY_NAME: Final = {phase.name: phase for phase in PHASES}


def phase_named(name: str) -> Phase:
    """The phase of this name, with or without its `.d`; raises ElementError for another word."""
    found = _BY_NAME.get(name) or _BY_NAME.get(f"{name}.d")
    if found is None:
        raise ElementError(f"there is no phase {name}", hint=f"one of: {', '.join(_BY_NAME)}")
    return found


@dataclass(frozen=True, slots=True)
class Breaks:
    """Where the variable `break` asks for a shell: `before-PHASE`, `after-PHASE`, `after-error`."""

    words: frozenset[str]
    command: tuple[str, ...] = ()
    """The words of the variable `break_cmd`, which stands for bash; () is bash itself."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Breaks:
        """Read both variables; raises ElementError for what would never take effect."""
        text = environment.get("break", "")
        words = [word.strip() for word in text.split(",") if word.strip()]
        known = {f"{when}-{phase.name[:-2]}" for phase in PHASES for when in ("before", "after")}
        for word in words:
            if word.removesuffix(".d") not in {*known, "after-error"}:
                raise ElementError(
                    f"break={word}: there is no such place",
                    hint="before-PHASE, after-PHASE or after-error; phases: "
                    + ", ".join(phase.name[:-2] for phase in PHASES),
                )
        command = _command(environment.get("break_cmd", "")) if words else ()
        return cls(frozenset(word.removesuffix(".d") for word in words), command)

    def at(self, when: str, phase: Phase) -> bool:
        """Whether a shell is wanted `before` or `after` this phase."""
        return f"{when}-{phase.name[:-2]}" in self.words

    @property
    def after_error(self) -> bool:
        """Whether a shell is wanted where a hook failed."""
        return "after-error" in self.words


def _command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as e:
        raise ElementError(
            f"break_cmd={text}: {e}", hint="write it as a shell's words: a quote has its other one"
        ) from e
