"""The store: what is published is found, checked, mounted again and equal; damage is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from layer_trees import EPOCH_S, change_rich_tree, describe, made, make_rich_tree
from private_namespace import run_privately

from goldsmith.errors import HostError
from goldsmith.host import kernel
from goldsmith.layers import content, record_files
from goldsmith.layers.garbage import collect_garbage
from goldsmith.layers.keys import layer_id
from goldsmith.layers.overlay import stacked, step_overlay
from goldsmith.layers.records import PLAIN, Record
from goldsmith.layers.store import LayerUnusable, Store
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def published(store: Store, name: str = "step", parent: str = "", text: str = "text") -> Record:
    with store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / "file").write_text(text)
        os.utime(draft.tree / "file", (EPOCH_S, EPOCH_S))
        os.utime(draft.tree, (EPOCH_S, EPOCH_S))
        return draft.publish(made(name, parent))


def two_rich_layers(store: Store, work: Path) -> tuple[Record, Record, object]:
    """A layer with everything, and one that a step has made on it; what the step left."""
    with store.draft() as base:
        base.tree.mkdir()
        make_rich_tree(base.tree)
        first = base.publish(made("base"))
        with store.draft() as draft:
            with step_overlay(
                [base.tree], draft.tree, scratch=work / "mount", merged=work / "merged",
                clamp_to_s=EPOCH_S,
            ) as tree:  # fmt: skip
                change_rich_tree(tree)
            second = draft.publish(made("change", first.id))
            with stacked([draft.tree, base.tree], work / "merged", work / "view") as tree:
                return first, second, describe(tree)


def test_everything_that_a_step_leaves_is_kept_and_mounted_again(store: Store, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()

    def body() -> None:
        first, second, left = two_rich_layers(store, work)
        plain = tmp_path / "plain"
        plain.mkdir()
        make_rich_tree(plain)
        change_rich_tree(plain)
        again = Store.open(store.directory.path)
        with again.pin(again.find(first.key), verify=True) as lower:
            with again.pin(again.find(second.key), verify=True) as upper:
                with stacked([upper, lower], work / "merged", work / "view") as tree:
                    kept = describe(tree)
        assert kept == left

        def untimed(found):
            return {path: (*entry[:4], *entry[5:]) for path, entry in found.items()}

        assert untimed(kept) == untimed(describe(plain))
        assert not verify_store(again)

    run_privately(body)


def test_equal_steps_on_equal_trees_have_one_id(tmp_path: Path):
    def body() -> list[tuple[str, str]]:
        ids = []
        for name in ("one", "other"):
            store, work = Store.open(tmp_path / name / "store"), tmp_path / name / "work"
            work.mkdir()
            first, second, _ = two_rich_layers(store, work)
            ids.append((first.id, second.id))
        return ids

    one, other = run_privately(body)
    assert one == other


def test_an_id_says_what_a_difference_lies_on(store: Store):
    below = [published(store, name, text=name) for name in "ab"]
    above = [published(store, "child", record.id) for record in below]
    assert above[0].content == above[1].content
    assert len({record.id for record in (*below, *above)}) == 4
    assert above[0].id == layer_id(below[0].id, above[0].content)


def test_a_parent_made_again_with_equal_content_keeps_its_children(store: Store):
    parent = published(store, "parent")
    child = published(store, "child", parent.id)
    store.forget(parent)
    assert store.find(parent.key) is None
    assert published(store, "parent").id == parent.id
    assert store.find(made("child", parent.id).key.on(parent.id)) == child


def test_a_plain_tree_is_kept_too(store: Store):
    with store.draft() as draft:
        draft.tree.mkdir()
        make_rich_tree(draft.tree)
        before = describe(draft.tree)
        record = draft.publish(made("whole", "0" * 64, kind=PLAIN))
    with store.draft() as draft:
        draft.tree.mkdir()
        make_rich_tree(draft.tree)
        assert draft.publish(made("whole", "1" * 64, kind=PLAIN)).id == record.id
    with store.pin(record, verify=True) as tree:
        assert describe(tree) == before


def test_holes_do_not_change_a_digest(tmp_path: Path):
    digests = []
    for name, sparse in (("one", True), ("other", False)):
        top = tmp_path / name
        top.mkdir()
        with (top / "file").open("wb") as file:
            if sparse:
                file.truncate(6 << 20)
            else:
                file.write(bytes(6 << 20))
            file.seek(2 << 20)
            file.write(b"data")
        os.utime(top / "file", (EPOCH_S, EPOCH_S))
        os.utime(top, (EPOCH_S, EPOCH_S))
        digests.append(content.describe(top).content)
    assert os.stat(tmp_path / "one/file").st_blocks < os.stat(tmp_path / "other/file").st_blocks
    assert digests[0] == digests[1]


DIFFERENCES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "etc/passwd").write_text("root:y:0:0\n"),
    "mode": lambda top: (top / "etc/passwd").chmod(0o600),
    "owner": lambda top: os.chown(top / "etc/passwd", 9, 6),
    "group": lambda top: os.chown(top / "etc/passwd", 5, 9),
    "added": lambda top: (top / "new").write_text(""),
    "removed": lambda top: (top / "fifo").unlink(),
    "link text": lambda top: ((top / "link").unlink(), (top / "link").symlink_to("etc/\tpasswX")),
    "user xattr": lambda top: os.setxattr(top / "etc/deep/setuid", "user.a", b"9"),
    "capability": lambda top: os.removexattr(top / "etc/deep/setuid", "security.capability"),
    "acl": lambda top: os.removexattr(top / "etc", "system.posix_acl_default"),
    "opaque": lambda top: os.setxattr(top / "opaque", "trusted.overlay.opaque", b"y"),
    "redirect": lambda top: os.setxattr(top / "moved", "trusted.overlay.redirect", b"/x"),
    "device": lambda top: ((top / "disk").unlink(), os.mknod(top / "disk", 0o60660, 0x701)),
    "whiteout": lambda top: ((top / "null").unlink(), os.mknod(top / "null", 0o20666, 0)),
    "hard link": lambda top: (
        (top / "etc/again").unlink(), shutil.copy2(top / "etc/passwd", top / "etc/again"),
        os.chown(top / "etc/again", 5, 6),
    ),
    "size": lambda top: os.truncate(top / "sparse", 6 << 20),
    "root": lambda top: top.chmod(0o755),
    "mtime": lambda top: os.utime(top / "etc/passwd", (5, 5)),
}  # fmt: skip


def keep_times(top: Path, change: Callable[[Path], object]) -> None:
    """Change a tree and put every modification time back, as one who wants to hide it."""
    before = {path: os.lstat(path).st_mtime_ns for path in (top, *top.rglob("*"))}
    change(top)
    for path in (*top.rglob("*"), top):
        if path in before and not path.is_symlink():
            os.utime(path, ns=(before[path], before[path]))


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_every_difference_changes_the_id_and_is_found_in_a_kept_layer(store: Store, kind: str):
    ids = set()
    for change in (lambda top: None, DIFFERENCES[kind]):
        with store.draft() as draft:
            draft.tree.mkdir()
            make_rich_tree(draft.tree)
            change(draft.tree) if kind == "mtime" else keep_times(draft.tree, change)
            ids.add(content.describe(draft.tree).content)
    assert len(ids) == 2

    with store.draft() as draft:
        draft.tree.mkdir()
        make_rich_tree(draft.tree)
        record = draft.publish(made("rich"))
    tree = store.tree(record)
    DIFFERENCES[kind](tree) if kind == "mtime" else keep_times(tree, DIFFERENCES[kind])
    assert verify_store(store)
    with pytest.raises(LayerUnusable) as caught, store.pin(record):
        pytest.fail("a damaged layer was handed out")
    assert caught.value.problems
    assert store.find(record.key) is None
    assert collect_garbage(store.directory) == 1
    assert not verify_store(store)


def test_private_marks_of_the_overlay_do_not_change_a_digest(tmp_path: Path):
    (tmp_path / "dir").mkdir()
    before = content.describe(tmp_path).content
    for name in ("origin", "impure", "nlink", "uuid", "upper"):
        os.setxattr(tmp_path / "dir", f"trusted.overlay.{name}", b"x")
    assert content.describe(tmp_path).content == before
    os.setxattr(tmp_path / "dir", "trusted.overlay.opaque", b"y")
    assert content.describe(tmp_path).content != before


def test_a_copied_store_is_read_once_and_then_trusted(store: Store, tmp_path: Path, monkeypatch):
    with store.draft() as draft:
        draft.tree.mkdir()
        make_rich_tree(draft.tree)
        record = draft.publish(made("rich"))
    moved = tmp_path / "moved"
    subprocess.run(["cp", "-a", store.directory.path, moved], check=True)
    copy = Store.open(moved)
    with copy.pin(record):
        pass

    def unread(*_: object) -> None:
        raise AssertionError("contents are read although nothing was touched")

    monkeypatch.setattr("goldsmith.layers.comparison.measure", unread)
    with copy.pin(record):
        pass


def test_content_that_changed_below_its_times_is_found_only_by_reading(store: Store, monkeypatch):
    record = published(store)
    # What a disk does that rots: nothing but the bytes is different.
    path = store.tree(record) / "file"
    path.write_text("texT")
    os.utime(path, (EPOCH_S, EPOCH_S))
    listing = store.directory.layers / record.layer / "listing"
    status = os.stat(path)
    lines = listing.read_bytes().split(b"\n")
    index = next(i for i, line in enumerate(lines) if line.startswith(b"file\t"))
    columns = lines[index].split(b"\t")
    columns[-2:] = [b"%d" % status.st_ctime_ns, b"%d" % status.st_ino]
    lines[index] = b"\t".join(columns)
    listing.write_bytes(b"\n".join(lines))
    with store.pin(record):
        pass
    with pytest.raises(LayerUnusable, match="file: its content differs"):
        store.pin(record, verify=True).__enter__()


@pytest.mark.parametrize(
    "damage",
    [
        lambda layer: (layer / "listing").unlink(),
        lambda layer: (layer / "listing").write_bytes(b"no listing"),
        lambda layer: (layer / "listing").write_bytes(
            (layer / "listing").read_bytes().replace(b"f 644", b"f 600")),
        lambda layer: shutil.rmtree(layer / "tree"),
        shutil.rmtree,
    ],
)  # fmt: skip
def test_what_is_lost_around_a_tree_makes_a_miss(store: Store, damage: Callable[[Path], object]):
    record = published(store)
    damage(store.directory.layers / record.layer)
    assert [problem.record for problem in verify_store(store)] == [record]
    told: list[LayerUnusable] = []
    with store.hit(record.key, on_damage=told.append) as found:
        assert found is None
    assert store.find(record.key) is None


def test_damage_is_told_and_the_step_made_again_is_found(store: Store):
    record = published(store)
    (store.tree(record) / "file").write_text("tampered")
    told: list[LayerUnusable] = []
    with store.hit(record.key, on_damage=told.append) as found:
        assert found is None
    assert [error.record for error in told] == [record]
    assert "size 4 became 8" in str(told[0])
    again = published(store)
    with store.hit(record.key, verify=True) as found:
        assert found == again


def test_records_that_are_none_are_passed_over_and_told(store: Store):
    record = published(store)
    path = record_files.path_of(store.directory, record)
    (store.directory.keys / "foreign.json").write_bytes(b"{}")
    path.with_name("0" * 64 + ".json").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:100])
    assert store.find(record.key) is None
    assert store.find("0" * 64) is None
    assert len(verify_store(store)) == 3


def test_steps_are_found_by_their_inputs_alone(store: Store):
    record = published(store, "step", "1" * 64)
    assert store.has_own(record.own)
    assert not store.has_own(made("other").key.digest)
    published(store, "other")
    assert store.has_own(made("other").key.digest)
    store.forget(record)
    assert not store.has_own(record.own)


def test_a_draft_that_is_not_published_goes(store: Store):
    with pytest.raises(KeyError), store.draft() as draft:
        draft.tree.mkdir()
        raise KeyError
    assert not list(store.directory.layers.iterdir())


def test_what_was_published_first_is_taken(store: Store):
    first = published(store, text="first")
    second = published(store, text="second")
    assert second == first
    assert [path.name for path in store.directory.layers.iterdir()] == [first.layer]


def test_a_result_that_was_found_too_old_is_replaced(store: Store):
    old = published(store, text="old")
    with store.draft() as draft:
        draft.tree.mkdir()
        new = draft.publish(made(), instead_of=old)
    assert store.find(old.key) == new != old
    with pytest.raises(LayerUnusable), store.pin(old):
        pytest.fail("a replaced layer was handed out")
    assert collect_garbage(store.directory) == 1
    with store.pin(new):
        pass


def test_the_tree_of_a_failed_step_is_no_hit_and_goes_when_it_succeeds(store: Store):
    for text in ("first", "second"):
        with store.draft() as draft:
            draft.tree.mkdir()
            (draft.tree / text).touch()
            failed = draft.keep_failed(made(), "exit status 1")
    assert store.find(failed.key) is None
    assert not store.has_own(failed.own)
    assert store.find_failed(failed.key) == failed
    with store.pin(failed) as tree:
        assert os.listdir(tree) == ["second"]
    assert collect_garbage(store.directory) == 1
    good = published(store)
    assert store.find_failed(failed.key) is None
    assert collect_garbage(store.directory) == 1
    assert store.find(good.key) == good


def test_secrets_are_hashed_with_what_only_the_store_has(store: Store, tmp_path: Path):
    assert store.keyed(b"x") == Store.open(store.directory.path).keyed(b"x")
    assert store.keyed(b"x") != Store.open(tmp_path / "other").keyed(b"x")
    assert (store.directory.path / "secret").stat().st_mode & 0o777 == 0o600


def refused(path: Path) -> str:
    with pytest.raises(HostError) as caught:
        Store.open(path)
    assert caught.value.hint
    return str(caught.value)


def test_stores_that_others_can_change_are_refused(tmp_path: Path):
    path = tmp_path / "store"
    Store.open(path)
    path.chmod(0o770)
    assert "can be written by other users" in refused(path)
    path.chmod(0o755)
    Store.open(path)
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "keys").chmod(0o777)
    assert "can be written by other users" in refused(path)
    (path / "keys").chmod(0o700)
    os.chown(path, 1234, 0)
    assert "belongs to the user 1234" in refused(path)
    os.chown(path, 0, 0)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert "no directory" in refused(link)
    (path / "layers").rmdir()
    (path / "layers").symlink_to(tmp_path)
    assert "no directory" in refused(path)


def test_directories_that_are_no_store_or_another_versions_are_refused(tmp_path: Path):
    path = tmp_path / "store"
    path.mkdir()
    (path / "photos").mkdir()
    assert "is no store" in refused(path)
    (path / "photos").rmdir()
    Store.open(path)
    (path / "version").write_text("2\n")
    assert "format '2'" in refused(path)
    (tmp_path / "file").touch()
    assert "file" in refused(tmp_path / "file" / "store")


def test_a_torn_secret_is_refused(store: Store):
    store.keyed(b"")
    (store.directory.path / "secret").write_bytes(b"short")
    with pytest.raises(HostError):
        store.keyed(b"")


def test_all_that_a_record_speaks_of_is_on_the_disk_before_it(store: Store, monkeypatch):
    events: list[str] = []
    real_fsync, real_replace, real_sync = os.fsync, os.replace, kernel.syncfs

    def name_of(path: object) -> str:
        name = os.path.basename(os.fspath(path))  # type: ignore[call-overload]
        return "temporary" if name.startswith(".writing-") else name.removesuffix(".json")

    def fsync(fd: int) -> None:
        events.append(f"fsync {name_of(os.readlink(f'/proc/self/fd/{fd}'))}")
        real_fsync(fd)

    def replace(source: Path, target: Path) -> None:
        events.append(f"rename to {name_of(target)}")
        real_replace(source, target)

    def syncfs(fd: int) -> None:
        events.append("syncfs")
        real_sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(kernel, "syncfs", syncfs)
    record = published(store)
    assert events == [
        "fsync temporary", "rename to listing", f"fsync {record.layer}", "syncfs",
        "fsync temporary", f"rename to {record.key}", "fsync keys",
    ]  # fmt: skip


def test_being_a_lower_layer_does_not_touch_a_layer(store: Store, tmp_path: Path, monkeypatch):
    def body() -> None:
        first, second, _ = two_rich_layers(store, tmp_path)
        monkeypatch.setattr("goldsmith.layers.comparison.measure", None)
        for record in (first, second):
            with store.pin(record):
                pass

    run_privately(body)


def test_a_result_whose_tree_was_not_needed_was_used_too(store: Store):
    record = published(store)
    os.utime(record_files.path_of(store.directory, record), (5, 5))
    found = store.find(record.key)
    assert found is not None and found.last_used_s == 5
    store.touch(found)
    again = store.find(record.key)
    assert again is not None and again.last_used_s >= record.made_s - 1
