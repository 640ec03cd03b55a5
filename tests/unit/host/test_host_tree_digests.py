"""What the digests of uploaded files see, and what they do not."""

from __future__ import annotations

import os

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.host import tree_digests as subject
from goldsmith.host.tree_digests import tree_digests


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc/motd").write_text("hello\n")
    (top / "etc/link").symlink_to("motd")
    (top / "run.sh").write_text("exit 0\n")
    return top


def _changes(top, change):
    before = tree_digests(top)
    change()
    after = tree_digests(top)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda top: (top / "etc/motd").write_text("hullo\n"), {"etc/motd"}),
        (lambda top: (top / "run.sh").chmod(0o755), {"run.sh"}),
        (lambda top: (top / "etc").chmod(0o700), {"etc"}),
        (lambda top: (top / "etc/new").write_text(""), {"etc/new"}),
        (lambda top: (top / "run.sh").unlink(), {"run.sh"}),
        (lambda top: (top / "run.sh").rename(top / "run2.sh"), {"run.sh", "run2.sh"}),
        (lambda top: os.replace(_link(top, "nowhere"), top / "etc/link"), {"etc/link"}),
        (lambda top: os.utime(top / "run.sh", (1, 1)), set()),
    ],
)
@pytest.mark.parametrize("most", [2000, 2])
def test_the_change_of_one_entry_is_seen_where_it_is(top, change, names, most, monkeypatch):
    monkeypatch.setattr(subject, "MOST_SINGLE_FILES", most)
    if most == 2:
        names = {f"{os.path.dirname(name)}/" for name in names}
    assert _changes(top, lambda: change(top)) == names


def _link(top, text):
    path = top.parent / "other"
    path.symlink_to(text)
    return path


def test_the_place_of_the_top_does_not_matter(top, tmp_path):
    before = tree_digests(top)
    moved = tmp_path / "elsewhere" / "deeper"
    moved.parent.mkdir()
    top.rename(moved)
    assert tree_digests(moved) == before


def test_a_single_file_is_the_top(top):
    assert list(tree_digests(top / "run.sh")) == ["."]
    assert tree_digests(top / "etc/link") == tree_digests(top / "etc/motd")


def test_a_fifo_is_refused_and_not_opened(top):
    os.mkfifo(top / "etc/pipe")
    with pytest.raises(GoldsmithError, match="neither a file, a directory nor a link"):
        tree_digests(top)


def test_a_name_that_is_no_utf8_has_a_digest_in_both_forms(top, monkeypatch):
    (top / os.fsdecode(b"caf\xe9")).write_text("x")
    assert os.fsdecode(b"caf\xe9") in tree_digests(top)
    monkeypatch.setattr(subject, "MOST_SINGLE_FILES", 0)
    assert "/" in tree_digests(top)


def test_batches_hold_every_file_once_and_large_files_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "_BATCH_FILES", 3)
    monkeypatch.setattr(subject, "_BATCH_BYTES", 100)
    for number in range(10):
        (tmp_path / f"{number}").write_bytes(b"x" * (200 if number % 4 == 0 else 1))
    entries = [entry for entry in subject._entries(tmp_path) if entry.relative != "."]
    batches = [batch for batch in subject._batches(entries) if batch]
    assert [entry for batch in batches for entry in batch] == entries
    assert max(map(len, batches)) <= 3
    assert all(sum(entry.status.st_size for entry in batch[:-1]) < 100 for batch in batches)
