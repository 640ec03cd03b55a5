"""What can be wrong with packages: at the mirror, in the index, among those that are kept."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from debs import deb, directory, entry
from private_namespace import run_privately
from signed_repository import signing
from store_site import StoreSite, configured, lay, store_site
from tree_comparison import differences

from goldsmith.host.process import run
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.errors import PackageError
from goldsmith.packages.host_apt import HostApt
from goldsmith.packages.keyrings import read_key
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.repositories import AptPin
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages
from goldsmith.packages.unpacked.resolution import ResolutionStore

pytestmark = pytest.mark.root

NAMES = ("alpha", "beta", "gamma")


def contents(more: bytes = b"") -> dict[str, bytes]:
    """The packages; `more` makes others of the same names and sizes of index."""
    return {
        name: deb(name, [directory("./usr"), directory("./usr/share"),
                         entry(f"./usr/share/{name}.text", name.encode() * 50 + more)])
        for name in NAMES
    }  # fmt: skip


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Iterator[StoreSite]:
    with store_site(tmp_path_factory.mktemp("site"), small_tree) as site:
        yield site


@pytest.fixture
def site(one_site: StoreSite) -> StoreSite:
    one_site.offer(contents())
    one_site.asked.clear()
    return one_site


@pytest.fixture
def place(site: StoreSite, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for trees and their stores that APT's own user can reach."""
    made = site.folder / request.node.name.replace("[", "-").replace("]", "")
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made)


def packaged(site: StoreSite) -> list[str]:
    return [path for path, _ in site.asked if path.endswith(".deb")]


def spoil_file(site: StoreSite, how: str) -> None:
    """Change beta's file after its index was signed."""
    file = site.repository.folder / "pool/beta_1_amd64.deb"
    content = file.read_bytes()
    middle = len(content) // 2
    match how:
        case "a byte":
            file.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        case "cut":
            file.write_bytes(content[:middle])
        case "another package":
            file.write_bytes(contents(b"other")["beta"])
        case "gone":
            file.unlink()


@pytest.mark.parametrize("how", ["a byte", "cut", "another package", "gone"])
def test_a_file_that_is_not_what_the_index_names(site: StoreSite, place: Path, how: str) -> None:
    spoil_file(site, how)
    asked = site.request(place, *NAMES)
    with pytest.raises(PackageError) as caught:
        lay(place, asked)
    assert "beta" in caught.value.message
    store, files = ContentStore(place / "state/unpacked"), PackageStore(place / "state/packages")
    assert "beta" not in {one.name for one in store.packages()}
    assert changed_packages(store.packages()) == []
    # With the mirror mended, the same store serves.
    site.offer(contents())
    lay(place, asked)
    assert (place / "laid/usr/share/beta.text").read_bytes() == b"beta" * 50
    assert len(files.digests()) == len(NAMES) + 1


def test_apt_locks_nothing_of_the_host(site: StoreSite, place: Path) -> None:
    before = set(os.listdir("/dev"))
    asked = site.request(place, *NAMES)
    # Another one has locked what lies beside dpkg's status, which is /dev/null here.
    lock = Path("/dev/lock-frontend")
    with lock.open("wb") as held:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX)
            lay(place, asked)
        finally:
            if lock.name not in before:
                lock.unlink()
    assert packaged(site)
    assert set(os.listdir("/dev")) == before


def test_what_is_kept_needs_no_mirror(site: StoreSite, place: Path) -> None:
    asked = site.known(site.request(place, *NAMES), place)
    lay(place, asked)
    for file in site.repository.folder.glob("pool/*_1_amd64.deb"):
        file.unlink()
    shutil.rmtree(place / "state/packages")
    site.asked.clear()
    lay(place, asked)
    assert site.asked == []
    # What is needed again, and nobody has any more, is named.
    ContentStore(place / "state/unpacked").clear()
    with pytest.raises(PackageError) as caught:
        lay(place, asked)
    assert "alpha" in caught.value.message


def indexes(site: StoreSite) -> list[str]:
    return [path for path, _ in site.asked if "Packages" in path]


def test_another_request_by_the_same_release_files_fetches_no_index(
    site: StoreSite, place: Path
) -> None:
    first = site.known(site.request(place, "alpha"), place)
    lay(place, first)
    assert indexes(site)
    site.asked.clear()
    second = site.known(site.request(place, "beta"), place)
    assert second.release_digests == first.release_digests
    lay(place, second)
    assert site.asked
    assert indexes(site) == []
    assert (place / "laid/usr/share/beta.text").exists()

    # One that was changed is none, in whichever answer.
    for kept in place.glob("state/resolutions/*/lists/*Packages*"):
        content = kept.read_bytes()
        kept.unlink()
        kept.write_bytes(content.replace(b"gamma", b"gimme") + b"\n")
    site.asked.clear()
    lay(place, site.known(site.request(place, "gamma"), place))
    assert indexes(site)

    # Nor are those of other Release files.
    site.offer(contents(b"other"))
    site.asked.clear()
    lay(place, site.known(site.request(place, "gamma", "beta"), place))
    assert indexes(site)
    assert (place / "laid/usr/share/beta.text").read_bytes().endswith(b"other")


def releases(site: StoreSite) -> list[str]:
    return [path for path, _ in site.asked if "Release" in path]


def test_of_the_same_sources_apt_reads_its_kept_cache(site: StoreSite, place: Path) -> None:
    lay(place, site.known(site.request(place, "alpha"), place))
    second = site.known(site.request(place, "beta", "gamma"), place)
    site.asked.clear()
    lay(place, second)
    # It neither updates, nor makes another cache.
    assert releases(site) == [] == indexes(site)
    caches = list(place.glob("state/resolutions/*/pkgcache.bin"))
    assert len(caches) == 2
    assert len({cache.stat().st_ino for cache in caches}) == 1
    shutil.move(place / "laid", place / "by-cache")
    shutil.rmtree(place / "state/resolutions")
    lay(place, second)
    assert releases(site)
    assert differences(place / "laid", place / "by-cache") == []

    # One that was changed is none, but what APT decided by it stands.
    for cache in place.glob("state/resolutions/*/pkgcache.bin"):
        content = bytearray(cache.read_bytes())
        content[len(content) // 2] ^= 1
        cache.unlink()
        cache.write_bytes(content)
    answers = ResolutionStore(place / "state/resolutions")
    assert {name for _, name in answers.damaged()} == {"pkgcache.bin"}
    assert answers.find(second) is not None
    third = site.known(site.request(place, "alpha", "gamma"), place)
    site.asked.clear()
    lay(place, third)
    assert releases(site)
    assert indexes(site) == []


def test_a_cache_is_not_read_a_day_after_apt_has_verified_what_is_in_it(
    site: StoreSite, place: Path
) -> None:
    first = site.known(site.request(place, "alpha"), place)
    lay(place, first)
    answers = ResolutionStore(place / "state/resolutions")
    found = answers.find(first)
    assert found is not None
    old = replace(found, verified_s=found.verified_s - 25 * 3600)
    (found.lists.parent / "answer.json").write_text(old.text(found.sources_key))
    second = site.known(site.request(place, "beta"), place)
    site.asked.clear()
    lay(place, second)
    assert releases(site)
    # What was verified now counts from now, whatever answer it came with.
    third = site.known(site.request(place, "gamma"), place)
    site.asked.clear()
    lay(place, third)
    assert releases(site) == []


def test_another_key_in_the_same_keyring_is_asked(site: StoreSite, place: Path) -> None:
    keyring = place / f"keyring{site.signer.key.suffix}"
    shutil.copy(site.signer.key, keyring)
    source = replace(site.source, signed_by=str(keyring))
    lay(place, replace(site.known(site.request(place, "alpha"), place), sources=(source,)))
    second = replace(site.known(site.request(place, "beta"), place), sources=(source,))
    with signing(place / "gnupg") as stranger:
        shutil.copy(stranger.key, keyring)
        with pytest.raises(PackageError, match=r"(?i)signature|signed|key"):
            lay(place, second)


def test_packages_are_there_although_the_cache_is_pruned_meanwhile(
    site: StoreSite, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = site.known(site.request(place, *NAMES), place)
    lay(place, request)
    ContentStore(place / "state/unpacked").clear()
    shutil.rmtree(place / "state/resolutions")
    fetch = HostApt.fetch

    def fetched(*given: Any, **named: Any) -> object:
        shutil.rmtree(place / "state/packages")
        return fetch(*given, **named)

    monkeypatch.setattr(HostApt, "fetch", fetched)
    site.asked.clear()
    lay(place, request)
    assert packaged(site) == []
    assert (place / "laid/usr/share/beta.text").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"pins": (AptPin("version 1", 900, ("alpha",)),)},
        {"settings": AptSettings({"Acquire::Retries": "2"})},
        {"settings": AptSettings({"Acquire::Max-ValidTime": "999999999"})},
    ],
)
def test_the_cache_of_other_pins_or_settings_is_not_read(
    site: StoreSite, place: Path, other: dict[str, object]
) -> None:
    lay(place, site.known(site.request(place, "alpha"), place))
    request = replace(site.known(site.request(place, "beta"), place), **other)  # type: ignore[arg-type]
    site.asked.clear()
    lay(place, request)
    assert releases(site)
    assert indexes(site) == []


def test_what_was_changed_of_a_like_tree_is_unpacked_again(site: StoreSite, place: Path) -> None:
    lay(place, site.known(site.request(place, "alpha"), place))
    (changed,) = place.glob("state/unpacked/*/root/usr/share/alpha.text")
    content = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(content[:-1] + b"?")
    told = lay(place, site.known(site.request(place, "alpha", "beta"), place))
    assert [line for line in told if "is unpacked again" in line]
    assert (place / "laid/usr/share/alpha.text").read_bytes() == content
    assert changed_packages(ContentStore(place / "state/unpacked").packages()) == []


def test_indexes_of_another_mirror_do_not_reach_the_tree(site: StoreSite, place: Path) -> None:
    lay(place, site.known(site.request(place, "alpha"), place))
    known = site.known(site.request(place, "beta"), place)
    # The Release files are the same, the names of the files are the address.
    other = replace(site.source, uris=(f"{site.source.uris[0]}/.",))
    lay(place, replace(known, sources=(other,)))
    names = [path.name for path in (place / "laid/var/lib/apt/lists").iterdir()]
    assert names
    assert [name for name in names if "_._" not in name] == []


def test_kept_indexes_are_verified_by_the_keys_of_the_request(site: StoreSite, place: Path) -> None:
    lay(place, site.known(site.request(place, "alpha"), place))
    known = site.known(site.request(place, "beta"), place)
    with signing(place / "gnupg") as stranger:
        other = replace(site.source, signed_by=read_key(stranger.key))
        with pytest.raises(PackageError, match=r"(?i)signature|signed|key"):
            lay(place, replace(known, sources=(other,)))


def test_a_changed_file_among_those_that_are_kept_is_fetched_again(
    site: StoreSite, place: Path
) -> None:
    asked = site.known(site.request(place, *NAMES), place)
    lay(place, asked)
    files, unpacked = PackageStore(place / "state/packages"), ContentStore(place / "state/unpacked")
    beta = next(one for one in unpacked.packages() if one.name == "beta")
    unpacked.forget([beta.digest])
    kept = files.path(beta.digest)
    kept.write_bytes(bytes(kept.stat().st_size))
    site.asked.clear()
    lay(place, asked)
    assert packaged(site) == ["/pool/beta_1_amd64.deb"]
    assert changed_packages(unpacked.packages()) == []


def test_offline_names_all_that_is_missing_and_nothing_else(site: StoreSite, place: Path) -> None:
    asked = site.known(site.request(place, *NAMES), place)
    lay(place, asked)
    offline = site.known(site.request(place, *NAMES), place, offline=True)
    assert offline.release_digests == asked.release_digests
    site.asked.clear()
    lay(place, offline)
    unpacked, files = ContentStore(place / "state/unpacked"), PackageStore(place / "state/packages")
    for one in unpacked.packages():
        if one.name in ("alpha", "gamma"):
            unpacked.forget([one.digest])
            files.path(one.digest).unlink()
        if one.name == "beta":
            # It is unpacked still: nothing of it is missing.
            files.path(one.digest).unlink()
    with pytest.raises(PackageError) as caught:
        lay(place, offline)
    assert caught.value.message.splitlines()[1:] == ["  alpha_1_amd64.deb", "  gamma_1_amd64.deb"]
    assert "2 of 4 packages are not kept" in caught.value.message
    assert site.asked == []


def test_offline_says_that_an_answer_is_not_valid_any_more(site: StoreSite, place: Path) -> None:
    asked = site.known(site.request(place, *NAMES), place)
    lay(place, asked)
    answers = ResolutionStore(place / "state/resolutions")
    found = answers.find(asked)
    assert found is not None
    (found.lists.parent / "answer.json").write_text(
        replace(found, valid_until_s=1e9).text(found.sources_key)
    )
    offline = site.known(site.request(place, *NAMES), place, offline=True)
    with pytest.raises(PackageError, match=r"valid until 2001-09-09 .* and -offline asks nobody"):
        lay(place, offline)
    other = replace(offline, packages=("alpha",))
    with pytest.raises(PackageError, match="is not kept for these sources and packages"):
        lay(place, other)
    # Who may ask gets a new one.
    lay(place, asked)


def system(place: Path, asked: AptRequest) -> None:
    """place/tree, made of what was laid."""
    with configured(place, asked, []) as tree:
        run(["cp", "--archive", str(tree), str(place / "tree")])


def test_a_store_on_another_file_system_makes_the_same_tree(site: StoreSite, place: Path) -> None:
    """Nothing can be linked then."""

    def both() -> list[str]:
        for name, apart in (("near", False), ("far", True)):
            own = place / name
            (own / "state").mkdir(parents=True)
            if apart:
                run(["mount", "-t", "tmpfs", "tmpfs", str(own / "state")])
            asked = site.request(own, *NAMES)
            lay(own, asked)
            links = (own / "laid/usr/share/alpha.text").stat().st_nlink
            assert links == (1 if apart else 2)
            system(own, asked)
            store = ContentStore(own / "state/unpacked")
            assert changed_packages(store.packages()) == []
        return differences(place / "near/tree", place / "far/tree")

    assert run_privately(both) == []
