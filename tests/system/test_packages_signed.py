"""Repositories of the test itself: signatures, flat ones, pins, the store; no network is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from private_namespace import run_privately
from signed_repository import Repository, Signer, served, signing

from goldsmith.host.process import run
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource, render_sources
from goldsmith.packages.download import Download, fetch_packages
from goldsmith.packages.errors import PackageError
from goldsmith.packages.keyrings import read_key
from goldsmith.packages.package_offers import offered_archives
from goldsmith.packages.package_store import PRINT_URIS, PackageStore, parse_uris
from goldsmith.packages.release_files import release_digests
from goldsmith.packages.repositories import AptPin, render_pins

pytestmark = pytest.mark.root

ARCHITECTURE = "amd64"
SETTINGS = AptSettings({"Acquire::http::Proxy": "DIRECT", "Acquire::Retries": "0"})


@dataclass
class Site:
    """A repository, its address, and what was asked for."""

    repository: Repository
    uri: str
    asked: list[tuple[str, int]]
    signer: Signer

    def source(self, suite: str = "x", key: str = "") -> AptSource:
        components = () if suite.endswith("/") else ("main",)
        return AptSource(("deb",), (self.uri,), (suite,), components,
                         key or read_key(self.signer.key))  # fmt: skip

    def fetched(self, part: str) -> int:
        return sum(1 for path, status in self.asked if part in path and status == 200)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tmp_path.chmod(0o755)
    repository = Repository(tmp_path / "repo")
    repository.add("tool", "1.0")
    repository.add("tool", "2.0", fields="Depends: data\n")
    repository.add("data", "1")
    with signing(tmp_path / "gnupg") as signer, served(repository.folder) as (uri, asked):
        yield Site(repository, uri, asked, signer)


def fetch(folder: Path, *sources: AptSource) -> list[str]:
    folder.mkdir()
    download = Download(directory=folder, sources=sources, settings=SETTINGS,
                        architecture=ARCHITECTURE)  # fmt: skip
    found = fetch_packages(["tool"], download, follow=lambda record: True)
    return [f"{package.record.name} {package.record.version}" for package in found]


@pytest.mark.parametrize("suite", ["x", "./"])
@pytest.mark.parametrize("apart", [False, True])
def test_signed_repositories(site: Site, tmp_path: Path, suite: str, apart: bool) -> None:
    site.repository.publish(suite, site.signer, apart=apart)
    assert fetch(tmp_path / "a", site.source(suite)) == ["data 1", "tool 2.0"]
    armored = site.source(suite, site.signer.armored)
    assert fetch(tmp_path / "b", armored) == ["data 1", "tool 2.0"]


def test_keys_that_do_not_fit(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    with signing(tmp_path / "other") as other:
        with pytest.raises(PackageError, match="signature cannot be verified") as caught:
            fetch(tmp_path / "a", site.source(key=read_key(other.key)))
    assert "keyring" in str(caught.value.hint)
    site.repository.publish("x", None)
    with pytest.raises(PackageError, match="is not signed"):
        fetch(tmp_path / "b", site.source())


class Tree:
    """A tree that APT of this host works on, as APT in it would."""

    def __init__(self, root: Path, *sources: AptSource) -> None:
        self.root = root
        for name in ("var/lib/dpkg", "var/lib/apt/lists/partial", "etc/apt/preferences.d",
                     "var/cache/apt/archives/partial", "etc/apt/sources.list.d"):  # fmt: skip
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "etc/apt/sources.list.d/t.sources").write_text(render_sources(sources))
        (root / "apt.conf").write_text(
            f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\n'
            f'APT::Architecture "{ARCHITECTURE}";\nAPT::Architectures {{ "{ARCHITECTURE}"; }};\n'
            'Acquire::http::Proxy "DIRECT";\nAPT::Sandbox::User "root";\nAcquire::Languages "none";'
        )

    def apt(self, *words: str) -> str:
        # APT ends its apt-key without waiting, which then leaves a copy of the key behind.
        temporary = self.root / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C",
                       "TMPDIR": str(temporary)}  # fmt: skip
        return run(words, env=environment, capture=True).text

    def candidate(self, name: str) -> str:
        lines = self.apt("apt-cache", "policy", name).splitlines()
        return next(line.split()[1] for line in lines if "Candidate:" in line)

    @property
    def archives(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("var/cache/apt/archives/*.deb"))


@pytest.mark.parametrize(
    ("pins", "version"),
    [
        ((), "2.0"),
        ((AptPin("version 1.0", 1001, ("tool",)),), "1.0"),
        ((AptPin("release x", -1),), "(none)"),
        ((AptPin('origin "127.0.0.1"', -1),), "(none)"),
        ((AptPin('origin "elsewhere.invalid"', -1),), "2.0"),
        ((AptPin("release y", -1),), "2.0"),
        ((AptPin("release x", -1, ("other",)),), "2.0"),
    ],
)
def test_pins_as_apt_reads_them(
    site: Site, tmp_path: Path, pins: tuple[AptPin, ...], version: str
) -> None:
    site.repository.publish("x", site.signer)
    tree = Tree(tmp_path / "tree", site.source())
    (tree.root / "etc/apt/preferences.d/goldsmith-build.pref").write_text(render_pins(pins))
    tree.apt("apt-get", "update", "--error-on=any")
    assert tree.candidate("tool") == version


def test_an_index_is_fetched_once(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    tree = Tree(tmp_path / "tree", site.source())
    tree.apt("apt-get", "update", "--error-on=any")
    tree.apt("apt-get", "update", "--error-on=any")
    fetched = [path for path, status in site.asked if status == 200]
    assert len(fetched) == len(set(fetched))
    assert any("Packages" in path for path in fetched)
    assert [status for path, status in site.asked if "InRelease" in path] == [200, 304]


def test_the_state_of_the_release_file(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    names = []
    for _ in range(2):
        states = release_digests([site.source()], SETTINGS, cache=tmp_path / "cache")
        names.append({name: state.digest for name, state in states.items()})
    assert names[0] == names[1]
    assert [status for path, status in site.asked if "InRelease" in path] == [200, 304]
    site.repository.add("more", "1")
    site.repository.publish("x", site.signer)
    os.utime(site.repository.folder / "dists/x/InRelease", (2_000_000_000,) * 2)
    states = release_digests([site.source()], SETTINGS, cache=tmp_path / "cache")
    assert {name: state.digest for name, state in states.items()} != names[0]


def test_apt_prints_the_digests_of_the_index(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    tree = Tree(tmp_path / "tree", site.source())
    tree.apt("apt-get", "update", "--error-on=any")
    found = parse_uris(tree.apt("apt-get", "--yes", *PRINT_URIS, "install", "tool"))
    assert {archive.name for archive in found} == {"tool_2.0_all.deb", "data_1_all.deb"}


def test_apt_looks_only_at_the_size_of_what_it_finds(site: Site, tmp_path: Path) -> None:
    """Why the store gives nothing that an index does not name by its digest."""
    site.repository.publish("x", site.signer)
    tree = Tree(tmp_path / "tree", site.source())
    tree.apt("apt-get", "update", "--error-on=any")
    size = (site.repository.folder / "pool/data_1_all.deb").stat().st_size
    forged = tree.root / "var/cache/apt/archives/data_1_all.deb"
    forged.write_bytes(bytes(size))
    tree.apt("apt-get", "--yes", "--download-only", "install", "data")
    assert forged.read_bytes() == bytes(size)


def install(tree: Tree, store: PackageStore, *names: str) -> tuple[int, list[str]]:
    """Fetch packages while the store is offered; returns how many were, and the archives seen."""

    def body() -> tuple[int, list[str]]:
        with offered_archives(store, tree.root) as count:
            tree.apt("apt-get", "--yes", "--download-only", "install", *names)
            return count, tree.archives

    found = run_privately(body)
    assert isinstance(found, tuple)
    return found


def test_a_step_is_offered_what_was_fetched_before(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    store = PackageStore(tmp_path / "store")
    first, second = (Tree(tmp_path / name, site.source()) for name in ("one", "two"))
    for tree in (first, second):
        tree.apt("apt-get", "update", "--error-on=any")
    wanted = ["data_1_all.deb", "tool_2.0_all.deb"]
    assert install(first, store, "tool") == (0, wanted)
    assert len(store.digests()) == 2
    assert site.fetched(".deb") == 2
    assert install(second, store, "tool") == (2, wanted)
    assert site.fetched(".deb") == 2
    for tree in (first, second):
        assert tree.archives == []
    assert os.listdir(store.directory / "partial") == []


def test_another_content_of_the_same_name_is_not_offered(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    store = PackageStore(tmp_path / "store")
    tree = Tree(tmp_path / "one", site.source())
    tree.apt("apt-get", "update", "--error-on=any")
    install(tree, store, "data")
    (site.repository.folder / "pool/data_1_all.deb").unlink()
    shutil.rmtree(tmp_path / "build-data-1")
    site.repository.add("data", "1", text="another\n")
    site.repository.publish("x", site.signer)
    other = Tree(tmp_path / "two", site.source())
    other.apt("apt-get", "update", "--error-on=any")
    assert install(other, store, "data")[0] == 0
    assert len(store.digests()) == 2


def test_what_is_installed_is_not_offered(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    store = PackageStore(tmp_path / "store")
    tree = Tree(tmp_path / "tree", site.source())
    tree.apt("apt-get", "update", "--error-on=any")
    install(tree, store, "tool")
    (tree.root / "var/lib/dpkg/status").write_text(
        "Package: data\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
        "Maintainer: T <t@example.invalid>\nDescription: test\n"
    )
    assert install(tree, store, "tool") == (1, ["tool_2.0_all.deb"])


def test_a_failed_step_leaves_what_it_fetched(site: Site, tmp_path: Path) -> None:
    site.repository.publish("x", site.signer)
    store = PackageStore(tmp_path / "store")
    tree = Tree(tmp_path / "tree", site.source())
    tree.apt("apt-get", "update", "--error-on=any")

    def body() -> None:
        with pytest.raises(subprocess.SubprocessError), offered_archives(store, tree.root):
            tree.apt("apt-get", "--yes", "--download-only", "install", "data")
            (tree.root / "var/cache/apt/archives/made-up_1_all.deb").write_bytes(b"x")
            raise subprocess.SubprocessError

    run_privately(body)
    # What no index names is nothing that was fetched.
    assert len(store.digests()) == 1
    assert tree.archives == []


def test_trees_without_apt_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tree/var/cache").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    store = PackageStore(tmp_path / "store")
    with offered_archives(store, tmp_path / "tree") as count:
        assert count == 0
    (tmp_path / "tree/var/cache/apt").symlink_to(tmp_path / "outside")
    with offered_archives(store, tmp_path / "tree") as count:
        assert count == 0
    assert not store.directory.exists()
