"""`goldsmith cache` and the packages: what goes by use and by size, and what is shown of them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from debs import archive, deb, directory, entry
from layer_trees import made

from goldsmith.cli import cache
from goldsmith.errors import GoldsmithError
from goldsmith.layers import record_files
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.unpacked.content_store import ContentStore, UnpackedPackage

pytestmark = pytest.mark.root

DAY_S = 24 * 3600.0
KIB = 1 << 10


class State:
    """A state directory with packages and results that were used some days ago."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.downloads = PackageStore(path / "packages")
        self.unpacked = ContentStore(path / "unpacked")
        self.results = Store.open(path / "store")
        self._capsys = capsys

    def package(self, name: str, days: float, kib: int = 100) -> UnpackedPackage:
        """A package, downloaded and unpacked."""
        content = deb(name, [directory("./usr"), entry(f"./usr/{name}", os.urandom(kib * KIB))])
        file = self.path / f"{name}_1_amd64.deb"
        file.write_bytes(content)
        found = archive(content, file.name)
        assert self.downloads.take(file, found)
        package = self.unpacked.take(found, file)
        for place in (self.downloads.path(found.sha256), package.directory):
            used(place, days)
        return package

    def answer(self, name: str, days: float) -> Path:
        """What APT has once decided, as far as pruning looks at it."""
        place = self.path / "resolutions" / name
        place.mkdir(parents=True)
        (place / "answer.json").write_text("{}")
        used(place, days)
        return place

    def result(self, name: str, days: float, kib: int = 100) -> Record:
        """The result of a step."""
        with self.results.draft() as draft:
            draft.tree.mkdir()
            (draft.tree / name).write_bytes(os.urandom(kib * KIB))
            record = draft.publish(made(name))
        used(record_files.path_of(self.results.directory, record), days)
        return record

    def run(self, *words: str) -> str:
        """What the command says; it must end well."""
        assert cache.run(list(words), False) == 0
        return self._capsys.readouterr().out

    def left(self) -> tuple[set[str], set[str], set[str]]:
        """The names of unpacked packages, of results, and how many files are downloaded."""
        names = {one.name for one in self.unpacked.packages()}
        files = {one.name for one in self.unpacked.packages()
                 if one.digest in self.downloads.digests()}  # fmt: skip
        return names, {record.label for record in self.results.records()}, files


def used(place: Path, days: float) -> None:
    os.utime(place, (time.time() - days * DAY_S,) * 2)


@pytest.fixture
def state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> State:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(place))
    return State(place, capsys)


def test_what_was_not_used_for_long_goes(state: State) -> None:
    state.package("old", 20)
    state.package("new", 2)
    gone, stays = state.answer("gone", 20), state.answer("stays", 2)
    would = state.run("prune", "--unused-for", "14d", "--dry-run")
    assert re.search(r"Would remove 1 packages, \d+ KiB", would)
    assert state.left()[0] == {"old", "new"}
    told = state.run("prune", "--unused-for", "14d")
    assert "Removed 1 packages" in told
    assert "Removed 1 unpacked packages" in told
    assert "Removed 1 answers of APT" in told
    assert state.left() == ({"new"}, set(), {"new"})
    assert (gone.exists(), stays.exists()) == (False, True)
    assert "unpacked" not in state.run("prune", "--unused-for", "14d")


def test_the_oldest_used_of_all_goes_until_the_rest_has_room(state: State) -> None:
    state.package("first", 9)
    state.result("second", 8)
    state.package("third", 7)
    state.result("fourth", 6)
    # The oldest two: a package of some 100 KiB as a file and as much unpacked, and a result.
    state.run("prune", "--max-size", "380KiB")
    assert state.left() == ({"third"}, {"fourth"}, {"third"})
    state.run("prune", "--max-size", "120KiB")
    assert state.left() == (set(), {"fourth"}, set())
    state.run("prune", "--max-size", "0B")
    assert state.left() == (set(), set(), set())


def test_a_dry_run_tells_what_has_no_room(state: State) -> None:
    state.package("first", 9)
    state.result("second", 8)
    told = state.run("prune", "--max-size", "150KiB", "--dry-run")
    assert "Would remove 1 unpacked packages" in told
    assert "Would remove 0 results" in told
    assert state.left() == ({"first"}, {"second"}, {"first"})


def test_files_that_a_result_has_as_links_take_room_once(state: State) -> None:
    """They are counted with the result, and with the store as soon as that has gone."""
    package = state.package("linked", 3)
    with state.results.draft() as draft:
        draft.tree.mkdir()
        os.link(package.directory / "root/usr/linked", draft.tree / "linked")
        record = draft.publish(made("tree"))
    used(record_files.path_of(state.results.directory, record), 9)
    state.run("prune", "--max-size", "300KiB")
    assert state.left() == ({"linked"}, {"tree"}, {"linked"})
    state.run("prune", "--max-size", "110KiB")
    assert state.left()[1] == set()
    assert state.left()[0] == set()


def test_what_a_build_uses_stays_whatever_its_size(state: State) -> None:
    state.package("used", 20)
    with state.unpacked.in_use():
        told = state.run("prune", "--max-size", "0B", "--unused-for", "1d")
    assert "they stay" in told
    assert state.left() == ({"used"}, set(), set())


def test_packages_of_another_goldsmith_go_with_their_age(state: State) -> None:
    package = state.package("other", 20)
    (package.directory / "index").write_text("of another version")
    used(package.directory, 20)
    assert state.unpacked.packages() == []
    assert "Removed 1 unpacked" in state.run("prune", "--unused-for", "14d")
    assert not package.directory.exists()


def test_the_packages_are_listed_with_size_use_and_trees(state: State, tmp_path: Path) -> None:
    assert "No packages are kept yet" in state.run("ls", "--packages")
    old, new = state.package("old", 3), state.package("new", 1)
    os.link(old.directory / "root/usr/old", tmp_path / "in-a-tree")
    state.downloads.path(new.digest).unlink()
    (tmp_path / "alone.deb").write_bytes(b"x" * 4096)
    state.downloads.take(tmp_path / "alone.deb", archive(b"x" * 4096))
    head, first, second, last = state.run("ls", "--packages").splitlines()
    assert head.split() == ["KEY", "PACKAGE", "VERSION", "SIZE", "FILE", "USED", "TREES"]
    assert re.fullmatch(rf"{old.digest[:12]} +old +1 +\d+ KiB +\d+ KiB +3 days ago +1", first)
    assert re.fullmatch(rf"{new.digest[:12]} +new +1 +\d+ KiB +- +24 h ago +0", second)
    assert last == "1 other downloaded packages, 4 KiB."


def test_one_package_is_told_of_and_compared(state: State) -> None:
    package = state.package("tool", 3)
    for name in ("tool", package.digest[:9]):
        told = state.run("show", name)
        assert package.digest in told and str(package.directory) in told
        assert "as it was unpacked" in told
        assert "3 days ago; 0 trees" in told
    (package.directory / "root/usr/tool").write_bytes(b"other")
    assert "/usr/tool was changed" in state.run("show", "tool")
    with pytest.raises(GoldsmithError, match="no unpacked package is called so"):
        state.run("show", "nosuch")
