"""The layers of one build: which ids they get, when they are published, what is given back."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from goldsmith.core import layer_stack
from goldsmith.core.layer_stack import LayerStack
from goldsmith.core.step_cache import Answer, Question
from goldsmith.errors import NoSpaceError
from goldsmith.layers.keys import StepKey
from goldsmith.layers.method import OVERLAY, PLAIN
from goldsmith.layers.publish import Draft
from goldsmith.layers.records import MadeStep
from goldsmith.layers.store import Store

MISS = Answer(None, "never built")


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def stack(store, tmp_path):
    with LayerStack(store, OVERLAY, tmp_path) as stack:
        yield stack


def push(stack, name, answer=MISS, held=None):
    """Put a new layer on top, as a step that ran does."""
    key = StepKey({"type": name})
    draft = stack.new_draft()
    draft.tree.mkdir()
    (draft.tree / name).write_text(name)

    def describe(parent):
        return MadeStep(key=key, parent=parent, kind=stack.method.name, step=name, label=name,
                        duration_s=1.0)  # fmt: skip

    question = Question(None, key, f"recipe-{name}")
    stack.push_made(draft, question, answer, describe, held or ExitStack())
    return draft


def test_layers_are_published_on_each_other(store, stack, tmp_path):
    assert stack.top_id == stack.known_top_id == ""
    first, second = push(stack, "one"), push(stack, "two")
    assert stack.lowers() == [second.tree, first.tree]
    assert stack.recipe == "recipe-two"
    top = stack.top_id
    records = {record.step: record for record in store.records()}
    assert records["two"].id == top
    assert records["two"].parent == records["one"].id
    with LayerStack(store, OVERLAY, tmp_path) as again:
        for record in (records["one"], records["two"]):
            again.push_kept(record, "recipe", verify=True)
        assert again.top_id == again.known_top_id == top
        assert len(again.lowers()) == 2


def test_a_whole_tree_hides_those_below(store, tmp_path):
    with LayerStack(store, PLAIN, tmp_path) as stack:
        push(stack, "one")
        second = push(stack, "two")
        assert stack.lowers() == [second.tree]


def test_nothing_on_a_passing_layer_is_found_again(store, stack):
    draft = stack.new_draft()
    draft.tree.mkdir()
    stack.push_passing(draft, "chance")
    assert stack.top_id is None
    push(stack, "above")
    assert stack.top_id is None
    assert store.records() == []


def test_what_is_not_published_is_removed_at_the_end(store, tmp_path):
    with LayerStack(store, OVERLAY, tmp_path) as stack:
        draft = stack.new_draft()
        draft.tree.mkdir()
        stack.push_passing(draft, "chance")
        kept = push(stack, "above")
        assert draft.tree.is_dir()
    assert os.listdir(store.directory.layers) == []
    assert not kept.tree.exists()


def test_the_lock_on_a_key_is_held_until_its_result_is_there(store, stack):
    order = []
    held = ExitStack()
    held.callback(lambda: order.append(len(store.records())))
    push(stack, "one", held=held)
    assert stack.top_id
    assert order == [1]


def test_a_result_for_which_there_is_no_room_is_not_kept(store, stack, monkeypatch):
    def full(self, made, *, instead_of=None):
        raise NoSpaceError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "publish", full)
        push(stack, "one")
        assert stack.top_id is None
    assert stack.take_warnings() == ["the result of 'one' is not kept: the disk is full"]
    assert stack.take_warnings() == []


def test_a_build_that_was_slower_with_another_result_hides_its_own(store, stack, tmp_path):
    """Another build has published another tree under the same key meanwhile."""
    with LayerStack(store, OVERLAY, tmp_path) as other:
        key = StepKey({"type": "one"})
        with store.draft() as draft:
            draft.tree.mkdir()
            (draft.tree / "other").write_text("")
            draft.publish(MadeStep(key=key, parent="", step="one", label="one", duration_s=1.0))
        push(other, "one")
        assert other.top_id is None


def test_a_result_takes_the_place_of_one_that_is_too_old(store, tmp_path):
    for text in ("old", "new"):
        with LayerStack(store, OVERLAY, tmp_path) as stack:
            old = store.find(StepKey({"type": "one"}).on(""))
            push(stack, "one", Answer(None, "expired", old))
            assert stack.top_id, text
    assert len(store.records()) == 1


def test_tall_stacks_are_flattened_piece_by_piece(store, stack, monkeypatch):
    pieces = []

    def flatten(lowers, draft, *, merged, scratch):
        pieces.append(len(lowers))
        draft.tree.mkdir()

    monkeypatch.setattr(layer_stack, "MOST_LOWERS", 4)
    monkeypatch.setattr(layer_stack, "_MOST_AT_ONCE", 6)
    monkeypatch.setattr(layer_stack, "flatten", flatten)
    for number in range(15):
        push(stack, f"step-{number:02}")
    top = stack.top_id
    assert len(stack.lowers()) <= 4
    assert max(pieces) <= 6
    assert stack.top_id == top
    assert len(store.flat_records()) == len(pieces)
    assert pieces == [6, 6, 5]
    # The next ones find what was flattened.
    assert store.flattened(top) is not None
