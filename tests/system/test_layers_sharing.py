"""Several builds on one store, killed builds, and a disk that is full."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest
from forked_children import count_lines, die_at_line, start, wait
from layer_trees import made
from private_namespace import run_privately

from goldsmith.errors import Interrupted, NoSpaceError
from goldsmith.host import mounts
from goldsmith.host.cancellation import Cancellation
from goldsmith.layers.garbage import collect_garbage
from goldsmith.layers.prune import Limits, prune
from goldsmith.layers.records import Record
from goldsmith.layers.store import LayerUnusable, Store
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root

ROOM = os.sep + os.path.join("goldsmith", "layers") + os.sep


def build_one(store: Store, name: str, parent: str = "", size_bytes: int = 10) -> Record:
    """What a builder does for a step: look, wait, look again, make, publish."""
    key = made(name, parent).key.on(parent)
    with store.hit(key) as found:
        if found is not None:
            return found
    with store.making(key), store.hit(key) as found:
        if found is not None:
            return found
        with store.draft() as draft:
            draft.tree.mkdir()
            for number in range(4):
                (draft.tree / f"file-{number}").write_bytes(b"%d" % number * size_bytes)
            os.link(draft.tree / "file-0", draft.tree / "linked")
            return draft.publish(made(name, parent))


def assert_nothing_is_left(store: Store) -> None:
    """Every record is good, and garbage collection leaves layers and locks that are named only."""
    assert not verify_store(store)
    collect_garbage(store.directory)
    assert not verify_store(store)
    named = {record.layer for record in store.records()}
    assert {path.name for path in store.directory.layers.iterdir()} == named
    assert os.listdir(store.directory.locks) == ["registry"]
    for place in store.directory.records:
        assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_builds_that_need_one_result_make_it_once(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    log = tmp_path / "log"

    def body() -> None:
        mine = Store.open(tmp_path / "store")
        for number in range(3):
            before = len(os.listdir(mine.directory.keys))
            record = build_one(mine, f"step-{number}")
            with log.open("a") as out:
                out.write(f"{number} {record.layer}\n")
            assert len(os.listdir(mine.directory.keys)) >= before

    children = [start(body) for _ in range(4)]
    assert [wait(pid) for pid in children] == [0] * 4
    lines = log.read_text().splitlines()
    assert len(lines) == 12
    assert len(set(lines)) == 3
    assert_nothing_is_left(store)


def test_waiting_is_told_and_ends_with_the_one_who_makes(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    order: list[str] = []
    inside, told = threading.Event(), threading.Event()

    def maker() -> None:
        with store.making("a" * 64):
            inside.set()
            told.wait()
            order.append("made")

    thread = threading.Thread(target=maker)
    thread.start()
    inside.wait()
    with store.making("a" * 64, on_wait=lambda waited_s: told.set()):
        order.append("waited")
    thread.join()
    assert told.is_set()
    assert order == ["made", "waited"]


def test_waiting_can_be_cancelled(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    cancellation = Cancellation()
    with store.making("a" * 64), cancellation.installed(), pytest.raises(Interrupted):
        with store.making("a" * 64, on_wait=lambda waited_s: cancellation.cancel("SIGINT")):
            pytest.fail("two make one result")
    cancellation.close()
    with store.making("a" * 64):
        pass


def test_a_lock_on_a_key_ends_with_a_killed_process(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    reader, writer = os.pipe()

    def body() -> None:
        with store.making("a" * 64), store.draft() as draft:
            draft.tree.mkdir()
            os.write(writer, b"x")
            signal.pause()

    pid = start(body)
    os.read(reader, 1)
    collected = collect_garbage(store.directory)
    os.kill(pid, signal.SIGKILL)
    assert wait(pid) == -signal.SIGKILL
    assert collected == 0
    with store.making("a" * 64, on_wait=lambda waited_s: pytest.fail("still locked")):
        pass
    assert collect_garbage(store.directory) == 1
    os.close(reader)
    os.close(writer)


def test_a_published_draft_is_in_use_to_the_end_of_its_block(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    everything = Limits(older_than_s=0)
    with store.draft() as draft:
        draft.tree.mkdir()
        record = draft.publish(made())
        with store.pin(record):
            pass
        pruned = prune(store, everything, now_s=record.made_s + 1)
        assert (pruned.removed, pruned.in_use) == ((), (record,))
        assert draft.tree.is_dir()
    assert [r.record for r in prune(store, everything, now_s=record.made_s + 1).removed] == [record]


def kill_at(path: Path, line: int) -> bool:
    """A build that is killed before some line of the store's code; then another one goes on.

    Returns whether it was killed, and had not reached its end.
    """

    def body() -> None:
        die_at_line(line, ROOM)
        build_one(Store.open(path), "base")

    status = wait(start(body))
    assert status in (0, -signal.SIGKILL)
    store = Store.open(path)
    assert not verify_store(store)
    base = build_one(store, "base")
    with store.pin(base, verify=True) as tree:
        assert sorted(os.listdir(tree))[:2] == ["file-0", "file-1"]
    assert_nothing_is_left(store)
    assert [record.key for record in store.records()] == [base.key]
    return status != 0


def kill_at_lines(tmp_path: Path, count: int) -> None:
    """Kill a build at lines that are spread over all that it runs, on a disk in memory."""

    def body() -> None:
        place = tmp_path / "memory"
        place.mkdir()
        with mounts.mounted("tmpfs", place, "tmpfs", options="size=64m"):
            lines = count_lines(lambda: build_one(Store.open(place / "0"), "base"), ROOM)
            assert lines > count
            numbers = range(1, count + 1)
            killed = [kill_at(place / str(n), n * lines // count) for n in numbers]
            assert sum(killed) > count * 0.9

    run_privately(body)


def test_a_build_may_be_killed_at_any_line(tmp_path: Path):
    kill_at_lines(tmp_path, 60)


@pytest.mark.nightly
def test_a_build_may_be_killed_at_any_of_many_lines(tmp_path: Path):
    kill_at_lines(tmp_path, 400)


def kill_two_builds(tmp_path: Path, rounds: int) -> None:
    """Two builds and one who prunes on one store; one of them is killed again and again."""

    def build(path: Path, seed: int) -> None:
        store, chance = Store.open(path), random.Random(seed)
        parent = ""
        for step in range(8):
            record = build_one(store, f"step-{step}", parent, chance.choice([10, 5000]))
            with store.hit(record.key) as found:
                if found is None:
                    continue  # it was pruned meanwhile
                assert sorted(os.listdir(store.tree(found)))[0] == "file-0"
                parent = found.id

    def clean(path: Path, seed: int) -> None:
        for _ in range(3):
            collect_garbage(Store.open(path).directory)
            prune(Store.open(path), Limits(most_bytes=seed * 1000 % 40_000))

    def body() -> None:
        place = tmp_path / "memory"
        place.mkdir()
        chance = random.Random(1)
        with mounts.mounted("tmpfs", place, "tmpfs", options="size=64m"):
            store = Store.open(place / "store")
            for number in range(rounds):
                bodies = [
                    lambda n=number: build(place / "store", n),
                    lambda n=number: build(place / "store", n + 1),
                    lambda n=number: clean(place / "store", n),
                ]
                children = [start(one) for one in bodies]
                victim = chance.choice(children)
                pause = threading.Event()
                pause.wait(chance.uniform(0, 0.06))
                os.kill(victim, signal.SIGKILL)
                statuses = {pid: wait(pid) for pid in children}
                assert statuses.pop(victim) in (0, -signal.SIGKILL)
                assert set(statuses.values()) == {0}
                assert not verify_store(store)
            assert_nothing_is_left(store)

    run_privately(body)


def test_builds_and_pruning_on_one_store_survive_each_others_death(tmp_path: Path):
    kill_two_builds(tmp_path, 30)


@pytest.mark.nightly
def test_builds_and_pruning_on_one_store_survive_200_deaths(tmp_path: Path):
    kill_two_builds(tmp_path, 200)


def test_a_full_disk_is_told_and_leaves_the_store_as_it_was(tmp_path: Path):
    def body() -> None:
        place = tmp_path / "small"
        place.mkdir()
        with mounts.mounted("tmpfs", place, "tmpfs", options="size=1m"):
            store = Store.open(place / "store")
            base = build_one(store, "base")
            filler = place / "filler"
            with store.draft() as draft:
                draft.tree.mkdir()
                (draft.tree / "file").write_text("text")
                with filler.open("wb") as out, pytest.raises(OSError, match="No space"):
                    while True:
                        os.write(out.fileno(), bytes(4096))
                with pytest.raises(NoSpaceError) as caught:
                    draft.publish(made("next", base.id))
                assert str(place) in str(caught.value)
                assert caught.value.hint
                with pytest.raises(NoSpaceError):
                    draft.publish(made("next", base.id))
                assert not list(place.rglob(".writing-*"))
                assert [record.key for record in store.records()] == [base.key]
                assert not verify_store(store)
                filler.unlink()
                assert store.find(draft.publish(made("next", base.id)).key) is not None
            assert not verify_store(store)
            assert_nothing_is_left(store)

    run_privately(body)


def test_a_full_disk_at_each_moment_leaves_the_store_as_it_was(tmp_path: Path):
    def body() -> None:
        place = tmp_path / "small"
        place.mkdir()
        failures = 0
        for free_pages in range(16):
            with mounts.mounted("tmpfs", place, "tmpfs", options="size=1m"):
                store = Store.open(place / "store")
                build_one(store, "base")
                fill(place / "filler", free_pages)
                try:
                    build_one(store, "next")
                except NoSpaceError:
                    failures += 1
                except OSError as e:
                    assert "No space" in str(e)  # the tree itself did not fit
                (place / "filler").unlink()
                assert not verify_store(store)
                build_one(store, "next")
                assert len(store.records()) == 2
                assert_nothing_is_left(store)
        assert failures

    run_privately(body)


def fill(path: Path, free_pages: int) -> None:
    """Leave so many pages of the file system that holds `path`."""
    free_bytes = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(bytes(max(0, free_bytes - free_pages * 4096)))


def test_a_layer_that_was_removed_is_not_handed_out(tmp_path: Path):
    store = Store.open(tmp_path / "store")
    record = build_one(store, "base")
    assert prune(store, Limits(older_than_s=0), now_s=record.made_s + 1).removed
    with pytest.raises(LayerUnusable) as caught, store.pin(record):
        pytest.fail("a removed layer was handed out")
    assert not caught.value.problems
    with store.hit(record.key) as found:
        assert found is None
