"""What goes when a store is made smaller, what stays, and what the store takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from layer_trees import made

from goldsmith.layers import prune as prune_module
from goldsmith.layers import record_files
from goldsmith.layers.prune import Limits, Pruned, prune
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store
from goldsmith.layers.usage import usage
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root

HOUR_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def publish(store: Store, name: str, parent: Record | None = None, kib: int = 4) -> Record:
    with store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / name).write_bytes(os.urandom(kib << 10))
        return draft.publish(made(name, parent.id if parent else ""))


def chain(store: Store) -> dict[str, Record]:
    """base - middle - top, and side on base."""
    base = publish(store, "base", kib=400)
    middle = publish(store, "middle", base, kib=200)
    return {"base": base, "middle": middle, "top": publish(store, "top", middle, kib=100),
            "side": publish(store, "side", base, kib=50)}  # fmt: skip


def used(store: Store, record: Record, hours_ago: float, now_s: float) -> None:
    """Let a layer have been used last so long ago."""
    when_s = now_s - hours_ago * HOUR_S
    os.utime(record_files.path_of(store.directory, record), (when_s, when_s))


def names(pruned: Pruned) -> list[str]:
    return [removal.record.label for removal in pruned.removed]


def kept(store: Store) -> set[str]:
    return {record.label for record in store.records()}


def test_without_limits_nothing_goes(store: Store):
    chain(store)
    assert prune(store, Limits()) == Pruned((), (), (), 0)
    assert kept(store) == {"base", "middle", "top", "side"}


def test_what_was_not_used_goes_and_its_results_before_it(store: Store):
    layers = chain(store)
    now_s = layers["side"].made_s
    for name, hours in (("base", 9), ("middle", 8), ("top", 7), ("side", 6)):
        used(store, layers[name], hours, now_s)
    pruned = prune(store, Limits(unused_for_s=6.5 * HOUR_S), now_s=now_s)
    assert names(pruned) == ["top", "middle"]
    assert kept(store) == {"base", "side"}
    assert pruned.freed_bytes == layers["top"].size_bytes + layers["middle"].size_bytes
    assert not verify_store(store)


def test_a_parent_stays_while_a_result_on_it_stays(store: Store):
    layers = chain(store)
    now_s = layers["side"].made_s
    used(store, layers["base"], 100, now_s)
    used(store, layers["middle"], 100, now_s)
    assert not prune(store, Limits(unused_for_s=HOUR_S), now_s=now_s).removed


def test_what_is_too_old_goes(store: Store):
    layers = chain(store)
    pruned = prune(store, Limits(older_than_s=60), now_s=layers["side"].made_s + 61)
    assert set(names(pruned)) == set(layers)
    assert names(pruned)[-1] == "base"
    assert not list(store.directory.layers.iterdir())


def test_a_dry_run_tells_the_same_and_does_nothing(store: Store):
    layers = chain(store)
    now_s = layers["side"].made_s + 61
    told = prune(store, Limits(older_than_s=60), now_s=now_s, dry_run=True)
    assert kept(store) == set(layers)
    assert prune(store, Limits(older_than_s=60), now_s=now_s).removed == told.removed


def test_the_least_recently_used_go_until_the_rest_fits(store: Store):
    layers = chain(store)
    now_s = layers["side"].made_s
    for name, hours in (("base", 9), ("middle", 8), ("top", 7), ("side", 1)):
        used(store, layers[name], hours, now_s)
    total_bytes = sum(record.size_bytes for record in layers.values())
    pruned = prune(store, Limits(most_bytes=total_bytes - 1), now_s=now_s)
    assert names(pruned) == ["top"]
    pruned = prune(store, Limits(most_bytes=layers["base"].size_bytes), now_s=now_s)
    assert names(pruned) == ["side", "middle"] or names(pruned) == ["middle", "side"]
    assert kept(store) == {"base"}
    assert names(prune(store, Limits(most_bytes=0), now_s=now_s)) == ["base"]


def test_what_is_in_use_stays_with_all_that_it_stands_on(store: Store):
    layers = chain(store)
    now_s = layers["side"].made_s + 61
    with store.pin(layers["middle"]):
        for dry_run in (True, False):
            pruned = prune(store, Limits(older_than_s=60), now_s=now_s, dry_run=dry_run)
            assert sorted(names(pruned)) == ["side", "top"]
            assert pruned.in_use == (layers["middle"],)
        assert kept(store) == {"base", "middle"}
        assert not prune(store, Limits(most_bytes=0), now_s=now_s).removed
    assert names(prune(store, Limits(most_bytes=0), now_s=now_s)) == ["middle", "base"]


def test_a_layer_that_comes_into_use_after_the_choice_stays(store: Store, monkeypatch):
    layers = chain(store)
    now_s = layers["side"].made_s + 61
    monkeypatch.setattr("goldsmith.layers.prune._is_used", lambda *_: False)
    with store.pin(layers["top"]):
        pruned = prune(store, Limits(older_than_s=60), now_s=now_s)
    assert names(pruned) == ["side"]
    assert {record.label for record in pruned.in_use} == {"top", "middle", "base"}
    assert kept(store) == {"base", "middle", "top"}
    assert not verify_store(store)


def test_a_result_that_is_published_after_the_choice_keeps_its_parent(store: Store, monkeypatch):
    layers = chain(store)
    choose = prune_module._leaves_first

    def published_meanwhile(records):
        order = choose(records)
        publish(store, "late", layers["side"])
        return order

    monkeypatch.setattr(prune_module, "_leaves_first", published_meanwhile)
    pruned = prune(store, Limits(older_than_s=60), now_s=layers["side"].made_s + 61)
    assert names(pruned) == ["top", "middle"]
    assert kept(store) == {"base", "side", "late"}


def test_results_whose_parent_has_gone_are_orphans(store: Store):
    layers = chain(store)
    store.forget(layers["middle"])
    assert not prune(store, Limits(orphans=False)).removed
    pruned = prune(store, Limits())
    assert names(pruned) == ["top"]
    assert kept(store) == {"base", "side"}


def test_trees_of_failed_steps_go_by_their_age(store: Store):
    base = publish(store, "base")
    with store.draft() as draft:
        draft.tree.mkdir()
        failed = draft.keep_failed(made("broken", base.id), "exit status 1")
    young = Limits(failed_older_than_s=60)
    assert not prune(store, young, now_s=failed.made_s + 59).removed
    assert names(prune(store, young, now_s=failed.made_s + 60)) == ["broken"]
    assert store.failed_records() == []
    assert kept(store) == {"base"}


def test_a_failed_tree_keeps_what_it_stands_on(store: Store):
    base = publish(store, "base")
    with store.draft() as draft:
        draft.tree.mkdir()
        draft.keep_failed(made("broken", base.id), "exit status 1")
    used(store, base, 5, base.made_s)
    assert not prune(store, Limits(unused_for_s=HOUR_S), now_s=base.made_s).removed


def test_files_that_are_no_records_go_and_those_of_later_versions_stay(store: Store):
    record = publish(store, "base")
    path = record_files.path_of(store.directory, record)
    later = path.read_bytes().replace(b'"format": 1', b'"format": 2')
    path.write_bytes(later)
    (store.directory.keys / "torn.json").write_bytes(later[:50])
    pruned = prune(store, Limits())
    assert [torn.name for torn in pruned.unreadable] == ["torn.json"]
    assert os.listdir(store.directory.keys) == [path.name]
    assert store.tree(record).is_dir()


def test_usage_is_what_du_says(store: Store):
    layers = chain(store)
    with store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / "file").write_bytes(bytes(30_000))
        os.link(draft.tree / "file", draft.tree / "again")
        measured = usage(store)
        # B: blocks of 512 bytes; du counts a file with two names once, too.
        argv = ["du", "-s", "-B512", store.directory.path]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        assert measured.total_bytes == int(said.split()[0]) * 512
        assert 30_000 < measured.garbage_bytes < 60_000
    assert set(measured.layer_bytes) > {record.layer for record in layers.values()}
    assert measured.layer_bytes[layers["base"].layer] >= layers["base"].size_bytes >= 400 << 10
