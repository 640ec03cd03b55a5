"""Trees by mmdebstrap and debootstrap with further repositories, pins and the package store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from private_namespace import run_privately
from signed_repository import Repository, served, signing

from goldsmith.host.process import run
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import bootstrap_apt
from goldsmith.packages.build_files import PINS_FILE, read_build_sources
from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs import STUB, STUB_CONTENT
from goldsmith.packages.installed import installed_packages, os_release
from goldsmith.packages.keyrings import read_key
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.repositories import AptPin

pytestmark = [pytest.mark.root, pytest.mark.network]

SUITE = os_release(Path("/")).get("VERSION_CODENAME", "")


@dataclass
class Site:
    """A repository of the test's own with the package `tool` in two versions."""

    source: AptSource
    asked: list[tuple[str, int]]
    store: Path

    def debs(self) -> list[str]:
        return [path.rpartition("/")[2] for path, code in self.asked if path.endswith(".deb")]

    def request(self, tool: str, *packages: str) -> AptRequest:
        settings = read_apt_settings()
        direct = {**settings.options, "Acquire::http::Proxy::127.0.0.1": "DIRECT"}
        return AptRequest(
            SUITE, ("tool", *packages), (*sources_for(SUITE, ""), self.source),
            replace(settings, options=direct), variant="apt", tool=tool, store=self.store,
            pins=(AptPin('origin "127.0.0.1"', -1), AptPin("version 1.0", 900, ("tool",))),
        )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    repository = Repository(folder / "repo")
    repository.add("tool", "1.0")
    repository.add("tool", "2.0")
    # Pinned away: the distribution's own is taken.
    repository.add("hostname", "999", fields="Essential: yes\n")
    with signing(folder / "gnupg") as signer, served(repository.folder) as (uri, asked):
        repository.publish("./", signer)
        source = AptSource(("deb",), (uri,), ("./",), (), read_key(signer.key))
        yield Site(source, asked, folder / "store")


def bootstrap(folder: Path, request: AptRequest) -> list[tuple[str, str]]:
    """Make folder/tree; what the program mounts meanwhile ends with a namespace."""
    told: list[tuple[str, str]] = []

    def body() -> list[tuple[str, str]]:
        bootstrap_apt(folder / "tree", request, scratch=folder,
                      emit=lambda *line: told.append(line))  # fmt: skip
        return told

    found = run_privately(body)
    assert isinstance(found, list)
    return found


def versions(tree: Path) -> dict[str, str]:
    return {package.name: package.version for package in installed_packages(tree)}


def check_tree(folder: Path, site: Site) -> None:
    tree = folder / "tree"
    assert versions(tree)["tool"] == "1.0"
    assert versions(tree)["hostname"] != "999"
    assert read_build_sources(tree)[-1].suites == ("./",)
    assert "Pin-Priority: 900" in (tree / PINS_FILE[1:]).read_text()
    assert list(tree.glob("var/cache/apt/**/*.deb")) == []
    assert list(tree.glob("var/lib/apt/lists/127.0.0.1*Packages"))
    assert (tree / STUB[1:]).read_bytes() == STUB_CONTENT
    for path in ("etc/apt/sources.list", "usr/sbin/policy-rc.d", "etc/resolv.conf", "debootstrap"):
        assert not (tree / path).exists(), path
    assert [p.name for p in folder.iterdir() if p.name.startswith("bootstrap.")] == []
    assert run(["chroot", str(tree), "dpkg", "--audit"], capture=True).text == ""
    indexes = [path for path, code in site.asked if path == "/Packages.gz" and code == 200]
    assert len(indexes) <= 1


@pytest.fixture(scope="module")
def first(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    bootstrap(folder, site.request("mmdebstrap"))
    return folder


def test_a_repository_with_pins_and_an_empty_store(site: Site, first: Path) -> None:
    check_tree(first, site)
    assert site.debs() == ["tool_1.0_all.deb"]
    installed = versions(first / "tree")
    assert len(PackageStore(site.store).digests()) == len(installed)


@pytest.mark.nightly
@pytest.mark.parametrize("tool", ["mmdebstrap", "debootstrap"])
def test_what_is_stored_is_not_fetched_again(
    site: Site, first: Path, tmp_path: Path, tool: str
) -> None:
    site.asked.clear()
    before = len(PackageStore(site.store).digests())
    bootstrap(tmp_path, site.request(tool))
    check_tree(tmp_path, site)
    assert site.debs() == []
    if tool == "mmdebstrap":
        assert len(PackageStore(site.store).digests()) == before
        assert versions(tmp_path / "tree") == versions(first / "tree")


@pytest.mark.nightly
def test_a_damaged_store_is_no_harm(site: Site, first: Path, tmp_path: Path) -> None:
    store = PackageStore(site.store)
    for digest in store.digests():
        content = bytearray(store.path(digest).read_bytes())
        content[-1] ^= 1
        store.path(digest).write_bytes(content)
    bootstrap(tmp_path, site.request("mmdebstrap"))
    assert versions(tmp_path / "tree") == versions(first / "tree")


@pytest.mark.nightly
def test_debootstrap_alone(site: Site, tmp_path: Path) -> None:
    plain = replace(site.request("debootstrap", "openssh-server", "busybox"), store=None)
    told = bootstrap(tmp_path, plain)
    check_tree(tmp_path, site)
    tree = tmp_path / "tree"
    assert {"openssh-server", "busybox", "apt"} <= versions(tree).keys()
    assert list((tree / "etc/ssh").glob("ssh_host_*")) == []
    assert [text for level, text in told if level == "message"] == [
        "Reading the package lists",
        "Downloading the essential packages",
        "Extracting the essential packages",
        "Installing the essential packages",
        "Installing the other packages",
    ]


def test_debootstrap_tells_of_unknown_packages(site: Site, tmp_path: Path) -> None:
    wanted = replace(site.request("debootstrap"), packages=("no-such-a",), sources=(site.source,))
    with pytest.raises(AssertionError, match="PackageError"):
        bootstrap(tmp_path, wanted)
    assert not (tmp_path / "tree/usr").exists()


def test_debootstrap_verifies_signatures(site: Site, tmp_path: Path) -> None:
    wrong = replace(site.source, signed_by="/usr/share/keyrings/debian-archive-removed-keys.gpg")
    wanted = replace(site.request("debootstrap"), sources=(wrong,))

    def body() -> str:
        with pytest.raises(PackageError, match="signature cannot be verified"):
            bootstrap_apt(tmp_path / "tree", wanted, scratch=tmp_path, emit=lambda *_: None)
        return "refused"

    assert run_privately(body) == "refused"


@pytest.mark.nightly
@pytest.mark.parametrize("suite", ["trixie", "sid"])
def test_foreign_suites(tmp_path: Path, suite: str) -> None:
    mirror = next(source.uris[0] for source in sources_for(SUITE, ""))
    sources = tuple(sources_for(suite, mirror))
    bootstrap(tmp_path, AptRequest(suite, ("hello",), sources, read_apt_settings()))
    assert os_release(tmp_path / "tree").get("VERSION_CODENAME") in ("trixie", "forky", "sid")
    assert "hello" in versions(tmp_path / "tree")
