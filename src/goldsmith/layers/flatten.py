"""Turns a tall stack of layers into one: an overlay takes only so many lower directories.

The copy is no step. It stands under the id of the stack's topmost layer, whose result it is, so
what was built on the stack is found again on the copy.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host.cancellation import check_cancelled
from goldsmith.layers.overlay import stacked
from goldsmith.layers.plain import copy_tree
from goldsmith.layers.publish import Draft
from goldsmith.layers.records import PLAIN, Record
from goldsmith.layers.store import LayerUnusable, Store

MOST_LOWERS: Final = 32
"""Stacks above this height are flattened; one page of mount options holds some four times more."""


def flatten(lowers: Sequence[Path], draft: Draft, *, merged: Path, scratch: Path) -> None:
    """Copy what a stack (topmost layer first) looks like into the draft's tree.

    `merged` is where it is mounted, in a namespace of our own; `scratch` is made beside it on the
    file system of the layers and removed. `Draft.publish_flat` then makes it part of the store.
    Raises NoSpaceError.
    """
    with stacked(lowers, merged, scratch) as tree:
        copy_tree(tree, draft.tree)
    order_xattrs(draft.tree)


@contextmanager
def shortest_stack(store: Store, records: Sequence[Record]) -> Iterator[list[Path]]:
    """The trees to mount for a stack of layers (bottom first) that are in use, topmost first.

    A tall one ends at the first flat layer from the top that can be used; that is in use too for
    the length of the block. A plain layer needs nothing below it.
    """
    with contextlib.ExitStack() as pins:
        trees: list[Path] = []
        for record in reversed(records):
            tall = len(records) > MOST_LOWERS
            if tall and (flat := store.flattened(record.id)) is not None:
                with contextlib.suppress(LayerUnusable):
                    trees.append(pins.enter_context(store.pin(flat)))
                    break
            trees.append(store.tree(record))
            if record.kind == PLAIN:
                break
        yield trees


def order_xattrs(top: Path) -> None:
    """Write the extended attributes of every file in the order of their names.

    Tools that fill a file system take them in the order in which they are listed, which is that
    of their writing: equal trees would make different images.
    """
    _order(str(top))
    for directory, folders, files in os.walk(top):
        check_cancelled()
        for name in (*folders, *files):
            _order(os.path.join(directory, name))


def _order(path: str) -> None:
    names = os.listxattr(path, follow_symlinks=False)
    if names == sorted(names):
        return
    values = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    for name in names:
        os.removexattr(path, name, follow_symlinks=False)
    for name in sorted(names):
        os.setxattr(path, name, values[name], follow_symlinks=False)
