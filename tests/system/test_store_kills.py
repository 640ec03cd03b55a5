"""The store of packages under SIGKILL: at every call that changes the disk, of all that it does.

By default one call in several; all of them in the nightly run.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from debs import archive, deb, directory, entry
from killed_calls import each_kill

from goldsmith.cli import cache
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.unpacked import resolution
from goldsmith.packages.unpacked.content_store import (
    ContentStore,
    UnpackedPackage,
    changed_packages,
)
from goldsmith.packages.unpacked.dpkg_state import write_database
from goldsmith.packages.unpacked.laying import lay_tree
from goldsmith.packages.unpacked.links import Links
from goldsmith.packages.unpacked.resolution import Resolution, ResolutionStore
from goldsmith.packages.unpacked.tree_plan import plan_tree

pytestmark = pytest.mark.root

LATEST_S = 2_000_000_000
DAY_S = 24 * 3600.0
Archives = list[tuple[Archive, Path]]


def often(usual: int) -> pytest.MarkDecorator:
    """Each test twice: at every so many calls, and nightly at each."""
    nightly = pytest.param(1, marks=pytest.mark.nightly)
    return pytest.mark.parametrize("every", [usual, nightly])


def packages() -> dict[str, bytes]:
    """A base and packages with all that a store keeps: links, modes, scripts, conffiles."""
    usr = [directory("./usr"), directory("./usr/bin")]
    return {
        "base-files": deb("base-files", [*usr, directory("./etc"), directory("./tmp", 0o1777),
                                         entry("./etc/issue", b"Debian\n")],
                          control={"conffiles": "/etc/issue\n"}, Essential="yes"),
        "linked": deb("linked", [
            *usr, entry("./usr/bin/a", b"a" * 5000, mode=0o4755),
            entry("./usr/bin/b", kind=tarfile.LNKTYPE, target="./usr/bin/a", mode=0o4755),
            entry("./usr/bin/c", kind=tarfile.SYMTYPE, target="a"),
        ], control={"preinst": "#!/bin/sh\ntrue\n", "postinst": "#!/bin/sh\ntrue\n"}),
        "owned": deb("owned", [directory("./var"), entry("./var/mine", b"x" * 9000, uid=7)]),
        "dpkgs": deb("dpkgs", [*usr, entry("./usr/fifo", kind=tarfile.FIFOTYPE)]),
    }  # fmt: skip


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    found = []
    for name, content in packages().items():
        file = tmp_path / f"{name}_1_amd64.deb"
        file.write_bytes(content)
        found.append((archive(content, file.name), file))
    return found


def listing(top: Path) -> list[tuple[object, ...]]:
    """Every path with its kind, owner, size or target, and content; a directory has no size."""
    found: list[tuple[object, ...]] = []
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.fsencode(os.readlink(path))
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        found.append((str(path.relative_to(top)), status.st_mode, status.st_uid, content))
    return found


def whole(store: ContentStore, archives: Archives) -> list[UnpackedPackage]:
    """What a killed process has left is whole; the next one makes the rest, and clears up."""
    left = store.packages()
    assert changed_packages(left) == []
    assert {one.digest for one in left} == {
        path.name for path in store.directory.glob("[0-9a-f]" * 8 + "*")
    }
    with store.alone() as alone:
        assert alone
    partial = store.directory / "partial"
    for place in partial.iterdir() if partial.is_dir() else ():
        os.utime(place, (place.stat().st_mtime - 2 * DAY_S,) * 2)
    taken = store.take_all(archives)
    assert changed_packages(taken) == []
    assert list(partial.iterdir()) == []
    return taken


@often(11)
def test_killed_while_packages_are_unpacked(tmp_path: Path, archives: Archives, every: int) -> None:
    reference = ContentStore(tmp_path / "reference").take_all(archives)
    made = [listing(one.directory) for one in reference]

    def store(number: int) -> ContentStore:
        return ContentStore(tmp_path / f"store-{number}")

    def prepare(number: int) -> Callable[[], object]:
        return lambda: store(number).take_all(archives)

    numbers = list(each_kill(prepare, every=every))
    assert len(numbers) >= 4
    for number in numbers:
        taken = whole(store(number), archives)
        assert [listing(one.directory) for one in taken] == made


@often(5)
def test_killed_while_a_changed_package_is_made_again(
    tmp_path: Path, archives: Archives, every: int
) -> None:
    def store(number: int) -> ContentStore:
        return ContentStore(tmp_path / f"store-{number}")

    def prepare(number: int) -> Callable[[], object]:
        changed = store(number).take_all(archives)[1]
        (changed.directory / "root/usr/bin/a").write_bytes(b"changed")
        return lambda: store(number).take_all(archives)

    for number in each_kill(prepare, every=every):
        # It is the changed one still, or none, or the new one: never believed unread.
        names = [one.name for one, _ in changed_packages(store(number).packages())]
        assert names in ([], ["linked"])
        assert changed_packages(store(number).take_all(archives)) == []


@often(9)
def test_killed_while_a_tree_is_laid(tmp_path: Path, archives: Archives, every: int) -> None:
    store = ContentStore(tmp_path / "store")
    plan = plan_tree(store.take_all(archives))

    def laid(tree: Path) -> None:
        tree.mkdir()
        with store.in_use():
            lay_tree(plan, tree, links=Links(LATEST_S))
            write_database(tree, plan.laid, diversions={}, architecture="amd64")

    laid(tmp_path / "reference")
    before = listing(store.directory)
    for number in each_kill(lambda n: lambda: laid(tmp_path / f"tree-{n}"), every=every):
        assert listing(store.directory) == before
        with store.alone() as alone:
            assert alone, number
    assert changed_packages(store.packages()) == []
    laid(tmp_path / "last")
    assert listing(tmp_path / "last") == listing(tmp_path / "reference")


def release(folder: Path) -> str:
    """Indexes as APT leaves them; returns the digest of their Release file."""
    folder.mkdir()
    text = "Origin: Test\n"
    (folder / "x_dists_one_InRelease").write_text(text)
    (folder / "x_dists_one_main_binary-amd64_Packages").write_text("Package: linked\n")
    return hashlib.sha256(text.encode()).hexdigest()


@often(3)
@pytest.mark.parametrize("torn", [False, True])
def test_killed_while_an_answer_of_apt_is_kept(
    tmp_path: Path, archives: Archives, monkeypatch: pytest.MonkeyPatch, torn: bool, every: int
) -> None:
    monkeypatch.setattr(resolution, "apt_version", lambda: "apt 2.6.1 (amd64)")
    source = AptSource(("deb",), ("http://x.invalid/",), ("one",), ("main",))
    digest = release(tmp_path / "lists")
    request = AptRequest("one", ("linked",), (source,), release_digests=(digest,))
    answer = Resolution("amd64", tuple(one for one, _ in archives), ("linked",), tmp_path / "lists")

    def store(number: int) -> ResolutionStore:
        return ResolutionStore(tmp_path / f"answers-{number}")

    def prepare(number: int) -> Callable[[], object]:
        if torn:
            store(number).keep(request, answer)
            (place,) = store(number).directory.iterdir()
            (place / "answer.json").write_text("torn")
        return lambda: store(number).keep(request, answer)

    for number in each_kill(prepare, every=every):
        found = store(number).find(request)
        assert found is None or found.archives == answer.archives
        store(number).keep(request, answer)
        found = store(number).find(request)
        assert found is not None and found.archives == answer.archives
        assert found.changed() is None


@often(2)
def test_killed_while_a_file_is_kept(tmp_path: Path, archives: Archives, every: int) -> None:
    def store(number: int) -> PackageStore:
        return PackageStore(tmp_path / f"packages-{number}")

    folder, names = tmp_path, [one for one, _ in archives]
    for number in each_kill(lambda n: lambda: store(n).take_all(names, folder), every=every):
        kept = store(number)
        assert all(kept.has_whole(one) for one in names if one.sha256 in kept.digests())
        kept.take_all(names, folder)
        assert all(kept.has_whole(one) for one in names)


@often(6)
@pytest.mark.parametrize("words", [("--all",), ("--max-size", "0B"), ("--unused-for", "1d")])
def test_killed_while_the_cache_is_pruned(
    tmp_path: Path, archives: Archives, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...],
    every: int,
) -> None:  # fmt: skip
    def state(number: int) -> Path:
        return tmp_path / f"state-{number}"

    def prepare(number: int) -> Callable[[], object]:
        state(number).mkdir(mode=0o700)
        monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(state(number)))
        downloads = PackageStore(state(number) / "packages")
        downloads.take_all([one for one, _ in archives], tmp_path)
        unpacked = ContentStore(state(number) / "unpacked")
        for package in unpacked.take_all(archives):
            os.utime(package.directory, (1, 1))
        return lambda: cache.run(["prune", *words], False)

    for number in each_kill(prepare, every=every):
        store = ContentStore(state(number) / "unpacked")
        whole(store, archives)
        monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(state(number)))
        assert cache.run(["verify"], False) == 0
        assert cache.run(["prune", "--all"], False) == 0
        assert store.packages() == []
