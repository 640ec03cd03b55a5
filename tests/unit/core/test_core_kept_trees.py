"""Which trees `goldsmith shell` mounts for a moment of a step, and that they stay meanwhile."""

from __future__ import annotations

import pytest

from goldsmith.core.kept_trees import KeptTree, KeptTrees, opened
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey
from goldsmith.layers.prune import Limits, prune
from goldsmith.layers.records import MadeStep
from goldsmith.layers.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


def made(store, name, parent="", failed=False, kind="overlay"):
    step = MadeStep(key=StepKey({"type": name}), parent=parent, kind=kind, step=name, label=name,
                    duration_s=1.0)  # fmt: skip
    with store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / name).write_text(name)
        return draft.keep_failed(step, "it failed") if failed else draft.publish(step)


def opened_at(trees, name, moment):
    return opened(trees.store, trees.records(name, moment))


@pytest.fixture
def trees(store):
    """Three steps, of which the last one failed."""
    one = made(store, "one")
    two = made(store, "two", one.id)
    three = made(store, "three", two.id, failed=True)
    steps = (KeptTree("one", "One", one, None), KeptTree("two", "Two", two, None),
             KeptTree("three", "Three", None, three))  # fmt: skip
    return KeptTrees(store, steps)


@pytest.mark.parametrize(
    ("name", "moment", "expected"),
    [("one", "after", ["one"]), ("two", "before", ["one"]), ("two", "at", ["two", "one"]),
     ("three", "before", ["two", "one"]), ("three", "at", ["three", "two", "one"])],
)  # fmt: skip
def test_the_trees_of_a_moment(trees, name, moment, expected):
    with opened_at(trees, name, moment) as found:
        assert [next(path.iterdir()).name for path in found] == expected


def test_they_are_not_removed_meanwhile(trees, store):
    everything = Limits(older_than_s=0, failed_older_than_s=0)
    with opened_at(trees, "three", "at") as found:
        assert not prune(store, everything, now_s=1e12).removed
        assert all(path.is_dir() for path in found)
    assert len(prune(store, everything, now_s=1e12).removed) == 3


@pytest.mark.parametrize(
    ("name", "moment", "says"),
    [("one", "before", "before one there is no tree"),
     ("three", "after", "nothing is kept of three"), ("tree", "at", "there is no step 'tree'")],
)  # fmt: skip
def test_what_cannot_be_shown(trees, name, moment, says):
    with pytest.raises(GoldsmithError, match=says) as caught, opened_at(trees, name, moment):
        pytest.fail("there is no such tree")
    assert caught.value.hint or moment == "before"


def test_a_whole_tree_needs_nothing_below_it(store):
    one = made(store, "one", kind="plain")
    two = made(store, "two", one.id, kind="plain")
    steps = (KeptTree("one", "One", one, None), KeptTree("two", "Two", two, None))
    with opened_at(KeptTrees(store, steps), "two", "at") as found:
        assert found == [store.tree(two)]


def test_a_tree_that_was_removed_is_told(trees, store):
    prune(store, Limits(older_than_s=0, failed_older_than_s=0), now_s=1e12)
    with pytest.raises(GoldsmithError, match="removed meanwhile"), opened_at(trees, "two", "at"):
        pytest.fail("a removed tree was shown")
