"""The package store: what goes in and comes out is what its name says."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from goldsmith.packages.package_offers import indexed_archives
from goldsmith.packages.package_store import Archive, PackageStore, Pruned, parse_uris, prune


def archive_of(content: bytes, name: str = "a_1_all.deb") -> Archive:
    return Archive(name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives"


def put(folder: Path, content: bytes, name: str = "a_1_all.deb") -> Archive:
    (folder / name).write_bytes(content)
    return archive_of(content, name)


def test_lent_is_the_file_itself_for_as_long_as_the_borrower_has_it(
    store: PackageStore, folder: Path, tmp_path: Path
) -> None:
    archive = put(folder, b"package")
    (tmp_path / "other").mkdir()
    assert not store.lend(archive, tmp_path / "other")
    assert store.take(folder / archive.name, archive)
    os.utime(store.path(archive.sha256), (1, 1))
    assert store.lend(archive, tmp_path / "other")
    # It counts as used now.
    assert store.path(archive.sha256).stat().st_mtime > 1
    store.path(archive.sha256).unlink()
    assert (tmp_path / "other/a_1_all.deb").read_bytes() == b"package"


def test_what_was_changed_is_neither_lent_nor_kept(
    store: PackageStore, folder: Path, tmp_path: Path
) -> None:
    archive = put(folder, b"package")
    assert store.take(folder / archive.name, archive)
    store.path(archive.sha256).write_bytes(b"changed")
    assert not store.lend(archive, tmp_path)
    assert not store.has(archive) and not store.touch(archive)


def test_another_file_system_gets_a_copy(
    store: PackageStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    archive = put(folder, b"package")
    assert store.take(folder / archive.name, archive)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(os, "link", link)
    assert store.lend(archive, tmp_path / "other")
    assert (tmp_path / "other/a_1_all.deb").stat().st_nlink == 1


def test_taken_and_given(store: PackageStore, folder: Path, tmp_path: Path) -> None:
    archive = put(folder, b"package")
    assert not store.has(archive)
    assert store.missing_bytes([archive]) == 7
    assert store.take(folder / archive.name, archive)
    assert store.has(archive)
    assert store.missing_bytes([archive]) == 0
    assert store.digests() == {archive.sha256}
    assert (store.directory / archive.sha256).stat().st_mode & 0o7777 == 0o600
    assert store.directory.stat().st_mode & 0o7777 == 0o700
    (tmp_path / "other").mkdir()
    assert store.give(archive, tmp_path / "other")
    given = tmp_path / "other/a_1_all.deb"
    assert given.read_bytes() == b"package"
    assert given.stat().st_mode & 0o7777 == 0o644
    # A copy: what is done with it does not reach the store.
    assert given.stat().st_nlink == 1
    given.write_bytes(b"changed")
    assert store.path(archive.sha256).read_bytes() == b"package"
    # What lies there already is left.
    assert not store.give(archive, tmp_path / "other")
    assert os.listdir(tmp_path / "other") == ["a_1_all.deb"]


def test_what_is_not_the_archive_is_not_taken(store: PackageStore, folder: Path) -> None:
    archive = archive_of(b"package")
    (folder / archive.name).write_bytes(b"packagE")
    assert not store.take(folder / archive.name, archive)
    (folder / archive.name).write_bytes(b"package and more")
    assert not store.take(folder / archive.name, archive)
    (folder / "link.deb").symlink_to("/etc/passwd")
    assert not store.take(folder / "link.deb", archive)
    os.mkfifo(folder / "fifo.deb")
    assert not store.take(folder / "fifo.deb", archive)
    assert not store.take(folder / "none.deb", archive)
    assert store.digests() == frozenset()
    assert os.listdir(store.directory / "partial") == []


def test_a_damaged_file_is_not_given_but_removed(store: PackageStore, folder: Path) -> None:
    archive = put(folder, b"package")
    store.take(folder / archive.name, archive)
    (folder / archive.name).unlink()
    store.path(archive.sha256).write_bytes(b"pACKAGE")
    assert not store.give(archive, folder)
    assert os.listdir(folder) == []
    assert store.digests() == frozenset()


@pytest.mark.parametrize("name", ["../a.deb", "a/b.deb", ".a.deb", "a.txt", "", "a b.deb"])
def test_names_that_are_none(store: PackageStore, folder: Path, name: str) -> None:
    archive = put(folder, b"package")
    store.take(folder / archive.name, archive)
    odd = Archive(name, archive.size_bytes, archive.sha256)
    assert not store.give(odd, folder)
    assert store.take_all([odd], folder) == 0
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.path(f"../{archive.sha256}")


def test_all_at_once(store: PackageStore, folder: Path, tmp_path: Path) -> None:
    archives = [put(folder, f"package {n}".encode(), f"p{n}_1_all.deb") for n in range(5)]
    assert store.take_all(archives, folder) == 5
    assert store.take_all(archives, folder) == 0
    (tmp_path / "new").mkdir()
    assert store.give_all([*archives, archive_of(b"unknown")], tmp_path / "new") == 5


def test_builds_at_the_same_time(store: PackageStore, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    failures: list[str] = []

    def build(number: int) -> None:
        own = tmp_path / f"b{number}"
        own.mkdir()
        archive = put(own, content)
        for _ in range(10):
            store.take(own / archive.name, archive)
            (own / archive.name).unlink()
            if store.give(archive, own) and (own / archive.name).read_bytes() != content:
                failures.append("other content")
            prune(store, max_bytes=0)
            (own / archive.name).write_bytes(content)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(store.directory / "partial") == []


def test_pruning_by_age_and_size(store: PackageStore, folder: Path) -> None:
    now_s = time.time()
    archives = []
    for days in range(4):
        archive = put(folder, bytes([days]) * 100, f"p{days}_1_all.deb")
        store.take(folder / archive.name, archive)
        os.utime(store.path(archive.sha256), (now_s - days * 86400,) * 2)
        archives.append(archive)
    (store.directory / "partial/old").write_bytes(b"killed")
    os.utime(store.directory / "partial/old", (now_s - 2 * 86400,) * 2)
    (store.directory / "partial/new").write_bytes(b"running")
    (store.directory / "README").write_text("no package")
    assert prune(store) == Pruned(0, 0)
    assert prune(store, max_age_s=2.5 * 86400) == Pruned(1, 100)
    assert not store.has(archives[3])
    assert prune(store, max_bytes=250) == Pruned(1, 100)
    assert not store.has(archives[2])
    assert store.has(archives[0])
    assert os.listdir(store.directory / "partial") == ["new"]
    assert (store.directory / "README").exists()
    assert prune(PackageStore(store.directory / "none"), max_bytes=0) == Pruned(0, 0)


def test_what_is_used_stays_longest(store: PackageStore, folder: Path, tmp_path: Path) -> None:
    archives = [put(folder, bytes([n]) * 10, f"p{n}_1_all.deb") for n in range(2)]
    store.take_all(archives, folder)
    for archive in archives:
        os.utime(store.path(archive.sha256), (1, 1))
    (tmp_path / "tree").mkdir()
    store.give(archives[0], tmp_path / "tree")
    prune(store, max_bytes=10)
    assert store.digests() == {archives[0].sha256}


def test_uris_of_apt() -> None:
    digest = "0" * 64
    text = (
        "Reading package lists...\nThe following NEW packages will be installed:\n  a b\n"
        f"'http://x.invalid/a_1%3a2_all.deb' a_1%3a2_all.deb 12 SHA256:{digest}\n"
        "'http://x.invalid/b.deb' b_1_all.deb 3 MD5Sum:00\n'file:/b.deb' b.deb 3 \n"
        f"'http://x.invalid/c.deb' c_1_all.deb 1 SHA256:{digest}0\n"
    )
    assert parse_uris(text) == (Archive("a_1%3a2_all.deb", 12, digest),)


INDEX = """\
Package: one
Version: 1:2.0
Architecture: amd64
Filename: pool/one.deb
Size: 11
SHA256: {one}
Description: the first
 of two

Package: two
Architecture: all
Version: 3
SHA256: {two}
Size: 22
"""


@pytest.mark.parametrize("ending", ["", ".gz", ".lz4"])
def test_indexes_of_a_tree(tmp_path: Path, ending: str) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    one, two = "1" * 64, "2" * 64
    text = INDEX.format(one=one, two=two).encode()
    packed = gzip.compress(text) if ending else text
    (lists / f"h_dists_x_main_binary-amd64_Packages{ending}").write_bytes(packed)
    (lists / "h_dists_x_main_source_Sources").write_bytes(text.replace(b"1" * 64, b"3" * 64))
    (lists / "h_dists_x_InRelease").write_bytes(b"SHA256:\n " + b"4" * 64)
    found = indexed_archives(tmp_path, lambda digest: True)
    expected = {
        one: Archive("one_1%3a2.0_amd64.deb", 11, one),
        two: Archive("two_3_all.deb", 22, two),
    }
    # What can only be unpacked by another program counts as empty.
    assert found == ({} if ending == ".lz4" else expected)
    assert indexed_archives(tmp_path, {two}.__contains__).keys() <= {two}
    # The order of fields is the archive's own affair.
    first = text.replace(b"Package: two\n", b"").replace(b"SHA256: 2", b"Package: two\nSHA256: 2")
    moved = first.replace(b"Architecture: all", f"SHA256: {two}\nArchitecture: all".encode())
    moved = moved.replace(f"Package: two\nSHA256: {two}\n".encode(), b"Package: two\n")
    (lists / "h_dists_x_main_binary-amd64_Packages").write_bytes(moved)
    assert indexed_archives(tmp_path, lambda digest: True) == expected
    assert indexed_archives(tmp_path / "none", lambda digest: True) == {}
