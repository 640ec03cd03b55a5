"""What becomes of a build whose initramfs cannot be made beside it."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goldsmith.builders.image.early_initramfs import made_beside
from goldsmith.core.step import TreeContext
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter, Event, Said
from goldsmith.host.process import Completed
from goldsmith.packages.unpacked.unpacking import STATE_FILE

LATER = "The initramfs is made when the tree is finished: "


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, told: list[str]) -> TreeContext:
    """A laid tree with a generator and a kernel, whose view is itself."""
    tree = tmp_path / "tree"
    package = {"name": "initramfs-tools-core", "info": "initramfs-tools-core", "conffiles": []}
    for path, text in (
        (STATE_FILE.lstrip("/"), json.dumps({"first": [], "rest": [package]})),
        ("boot/vmlinuz-1", ""), ("lib/modules/1/x.ko", ""),
        ("usr/share/initramfs-tools/init", ""), ("var/lib/dpkg/status", ""),
        ("var/lib/dpkg/info/initramfs-tools-core.list", ""),
    ):  # fmt: skip
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)

    def hear(event: Event) -> None:
        if isinstance(event, Said):
            told.append(event.text)

    def run_tool(argv: Any, **_: Any) -> Completed:
        return Completed(tuple(argv), 1, b"", (), 0.0)

    nothing: Any = None
    context = TreeContext(
        emitter=Emitter("image.x", hear), scratch=tmp_path, epoch_s=0, tree=tree,
        communicator=nothing, run_in_tree=nothing, run_tool=run_tool, environment={},
    )  # fmt: skip

    @contextmanager
    def beside(emitter: Emitter) -> Iterator[TreeContext]:
        yield replace(context, emitter=emitter)

    return replace(context, beside=beside)


def nothing_more(tree: Path) -> None:
    raise AssertionError("nobody asks what else will be in the tree")


def test_a_tree_that_cannot_be_read(context: TreeContext, told: list[str]) -> None:
    (context.tree / "etc").write_text("a file where the hooks should lie")
    with made_beside(context, nothing_more):
        told.append("configured")
    assert told[0].startswith(f"{LATER}/etc/initramfs-tools")
    assert told[1:] == ["configured"]


def test_a_full_disk(context: TreeContext, told: list[str]) -> None:
    @contextmanager
    def beside(emitter: Emitter) -> Iterator[TreeContext]:
        raise OSError(errno.ENOSPC, "No space left on device", "upper")
        yield

    with made_beside(replace(context, beside=beside), nothing_more):
        told.append("configured")
    assert len(told) == 2
    assert told[0].startswith(LATER)


def test_a_package_that_fails_is_told_when_the_block_has_ended(
    context: TreeContext, told: list[str]
) -> None:
    with made_beside(context, nothing_more):
        told.append("configured")
    assert told == ["configured", f"{LATER}a package cannot be configured before the others"]


def test_the_error_of_the_block_is_the_one_that_counts(context: TreeContext) -> None:
    with pytest.raises(GoldsmithError, match="of dpkg"), made_beside(context, nothing_more):
        raise GoldsmithError("of dpkg")


def test_not_where_trees_are_copies(context: TreeContext, told: list[str]) -> None:
    with made_beside(replace(context, beside=None), nothing_more):
        pass
    assert told == []
