"""A tall stack as one layer: nothing may show, and the stack's id stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from layer_trees import EPOCH_S, change_rich_tree, describe, made, make_rich_tree
from private_namespace import run_privately

from goldsmith.layers.flatten import MOST_LOWERS, flatten, order_xattrs, shortest_stack
from goldsmith.layers.garbage import collect_garbage
from goldsmith.layers.overlay import stacked, step_overlay
from goldsmith.layers.prune import Limits, prune
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root


def add_step(store: Store, stack: list[Record], work: Path, change) -> None:
    """Run a step on the stack and put its layer on top."""
    lowers = [store.tree(record) for record in reversed(stack)]
    with store.draft() as draft:
        with step_overlay(
            lowers, draft.tree, scratch=work / "mount", merged=work / "merged", clamp_to_s=EPOCH_S
        ) as tree:
            change(tree)
        stack.append(draft.publish(made(f"step-{len(stack)}", stack[-1].id if stack else "")))


def flat_record(store: Store, stack: list[Record], work: Path) -> Record:
    with store.draft() as draft:
        lowers = [store.tree(record) for record in reversed(stack)]
        flatten(lowers, draft, merged=work / "merged", scratch=work / "flat")
        return draft.publish_flat(stack[-1].id)


def test_a_flat_layer_equals_its_stack_and_leaks_no_marks(tmp_path: Path):
    store, work = Store.open(tmp_path / "store"), tmp_path / "work"
    work.mkdir()

    def body() -> None:
        stack: list[Record] = []
        for change in (make_rich_tree, change_rich_tree, lambda tree: (tree / "fifo").unlink()):
            add_step(store, stack, work, change)
        lowers = [store.tree(record) for record in reversed(stack)]
        with stacked(lowers, work / "merged", work / "view") as tree:
            seen = describe(tree)
        flat = flat_record(store, stack, work)
        assert describe(store.tree(flat)) == seen
        marks = [name for *_, xattrs, _ in seen.values() for name in xattrs]
        assert "security.capability" in marks
        assert not [name for name in marks if name.startswith("trusted.overlay")]
        sparse = os.stat(store.tree(flat) / "sparse")
        assert sparse.st_blocks * 512 < sparse.st_size
        assert flat.id == flat.key == stack[-1].id
        assert store.flattened(stack[-1].id) == flat
        assert store.find(flat.key) is None
        assert not verify_store(store)

    run_privately(body)


def test_steps_on_a_flat_layer_have_the_ids_of_those_on_the_stack(tmp_path: Path):
    store, work = Store.open(tmp_path / "store"), tmp_path / "work"
    work.mkdir()

    def body() -> None:
        stack: list[Record] = []
        add_step(store, stack, work, make_rich_tree)
        add_step(store, stack, work, change_rich_tree)
        flat = flat_record(store, stack, work)
        results = []
        for lowers in ([store.tree(r) for r in reversed(stack)], [store.tree(flat)]):
            with store.draft() as draft:
                with step_overlay(
                    lowers, draft.tree, scratch=work / "mount", merged=work / "merged",
                    clamp_to_s=EPOCH_S,
                ) as tree:  # fmt: skip
                    (tree / "etc/passwd").unlink()
                    os.rename(tree / "etc/elsewhere/file", tree / "file")
                results.append(draft.publish(made("next", stack[-1].id)))
                store.forget(results[-1])
        assert results[0].content == results[1].content
        assert results[0].id == results[1].id

    run_privately(body)


def test_a_tall_stack_ends_at_its_flat_layer(tmp_path: Path):
    store, work = Store.open(tmp_path / "store"), tmp_path / "work"
    work.mkdir()

    def body() -> None:
        stack: list[Record] = []
        for number in range(MOST_LOWERS + 4):
            add_step(store, stack, work, lambda tree, n=number: (tree / f"file-{n}").touch())
        flat = flat_record(store, stack[:MOST_LOWERS], work)
        with shortest_stack(store, stack) as trees:
            assert trees == [*(store.tree(r) for r in stack[:-5:-1]), store.tree(flat)]
            with stacked(trees, work / "merged", work / "view") as tree:
                assert len(os.listdir(tree)) == MOST_LOWERS + 4
        with shortest_stack(store, stack[:3]) as trees:
            assert trees == [store.tree(record) for record in stack[2::-1]]
        (store.tree(flat) / "file-0").unlink()
        with shortest_stack(store, stack) as trees:
            assert len(trees) == len(stack)
        assert store.flattened(flat.id) is None
        assert collect_garbage(store.directory) == 1

    run_privately(body)


def test_a_plain_layer_needs_nothing_below_it(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    records = []
    for name, kind in (("a", "plain"), ("b", "plain"), ("c", "overlay")):
        with store.draft() as draft:
            draft.tree.mkdir()
            parent = records[-1].id if records else ""
            records.append(draft.publish(made(name, parent, kind=kind)))
    with shortest_stack(store, records) as trees:
        assert trees == [store.tree(records[2]), store.tree(records[1])]


def test_a_flat_layer_in_use_stays_and_goes_with_its_stack(tmp_path: Path):
    store, work = Store.open(tmp_path / "store"), tmp_path / "work"
    work.mkdir()

    def body() -> None:
        stack: list[Record] = []
        for name in "abc":
            add_step(store, stack, work, lambda tree, n=name: (tree / n).touch())
        flat = flat_record(store, stack, work)
        with store.pin(flat):
            pruned = prune(store, Limits(older_than_s=60), now_s=flat.made_s + 61)
            assert [removal.record for removal in pruned.removed] == stack[::-1]
        assert store.flattened(flat.id) == flat
        assert [removal.record for removal in prune(store, Limits()).removed] == [flat]
        assert not list(store.directory.layers.iterdir())

    run_privately(body)


def test_attributes_are_written_in_the_order_of_their_names(tmp_path: Path, monkeypatch):
    values = {name: name.encode() for name in ("user.b", "trusted.x", "user.a")}
    for name, value in values.items():
        os.setxattr(tmp_path, name, value)
    written = []
    real_list, real_set = os.listxattr, os.setxattr

    def listed(path, **options):
        return sorted(real_list(path, **options), reverse=True)

    def noted(path, name, value, **options):
        written.append(name)
        real_set(path, name, value, **options)

    monkeypatch.setattr(os, "listxattr", listed)
    monkeypatch.setattr(os, "setxattr", noted)
    order_xattrs(tmp_path)
    assert written == ["trusted.x", "user.a", "user.b"]
    assert {name: os.getxattr(tmp_path, name) for name in real_list(tmp_path)} == values
