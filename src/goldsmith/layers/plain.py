"""A tree on top of another without an overlay: a copy of it that a step then changes.

For user namespaces, where the kernel refuses what makes an overlay as good as a directory, and for
file systems that cannot hold one. A result holds the whole tree. Blocks are shared where the file
system can do that; owners, attributes (capabilities and ACLs among them), hard links, holes and
times are kept. Source: cp(1) of coreutils 9.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from goldsmith.errors import CommandFailed
from goldsmith.host import mounts
from goldsmith.host.journal import remove_tree
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named
from goldsmith.layers.overlay import clamp_times


@contextmanager
def step_copy(
    lowers: Sequence[Path], upper: Path, *, scratch: Path, merged: Path, clamp_to_s: int | None
) -> Iterator[Path]:
    """Show a copy of the tree in `lowers` (one, or none for an empty tree) at `merged`.

    `upper` is made and holds the whole changed tree afterwards; of a block that fails nothing
    stays. Nothing is needed of `scratch`. On a clean end times after `clamp_to_s` (seconds since
    1970) are set to it. Raises NoSpaceError.
    """
    if len(lowers) > 1:
        raise ValueError("a plain tree stands on one other tree, which is whole")
    merged.mkdir(exist_ok=True)
    try:
        if lowers:
            copy_tree(lowers[0], upper)
        else:
            upper.mkdir(mode=0o755)
        with mounts.bound(upper, merged):
            yield merged
    except BaseException:
        # What cannot be removed goes with the run directory.
        with contextlib.suppress(CommandFailed):
            remove_tree(upper)
        raise
    if clamp_to_s is not None:
        clamp_times(upper, clamp_to_s)


@contextmanager
def view_of_copy(lowers: Sequence[Path], merged: Path, scratch: Path) -> Iterator[Path]:
    """Show a tree whose changes are thrown away; `scratch` is made and removed."""
    scratch.mkdir(mode=0o700)
    with step_copy(
        lowers, scratch / "upper", scratch=scratch, merged=merged, clamp_to_s=None
    ) as tree:
        yield tree
    remove_tree(scratch)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree to a new directory, with everything that cp(1) can keep; raises NoSpaceError."""
    argv = ["cp", "--archive", "--reflink=auto", "--sparse=auto", "--no-target-directory",
            str(source), str(target)]  # fmt: skip
    with full_file_system_named(target):
        run(argv)
