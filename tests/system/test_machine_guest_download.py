"""Packages fetched through the host's own APT sources, and those that must be refused."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from goldsmith.host.process import run
from goldsmith.packages.apt_settings import AptSettings, read_apt_settings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.download import Download, fetch_packages
from goldsmith.packages.errors import PackageError
from goldsmith.packages.installed import os_release
from goldsmith.packages.keyrings import DEBIAN_KEYRING
from goldsmith.packages.mirrors import sources_for

pytestmark = pytest.mark.network

SUITE = os_release(Path("/")).get("VERSION_CODENAME", "")


@pytest.fixture
def download(tmp_path):
    place = tmp_path / "packages"
    place.mkdir()
    return Download(
        directory=place, sources=sources_for(SUITE, "", architecture="amd64"),
        settings=read_apt_settings(), architecture="amd64",
    )  # fmt: skip


def test_packages_and_chosen_dependencies_are_fetched(download):
    fetched = fetch_packages(
        ["dosfstools", "busybox-static"], download, follow=lambda r: r.name == "libc6"
    )
    assert [p.record.name for p in fetched] == ["busybox-static", "dosfstools", "libc6"]
    for package in fetched:
        told = run(["dpkg-deb", "--field", package.path, "Package", "Version"], capture=True).text
        assert told == f"Package: {package.record.name}\nVersion: {package.record.version}\n"
    names = os.listdir(download.directory)
    assert len([name for name in names if name.endswith(".deb")]) == 3
    assert all(
        (download.directory / name).stat().st_mode & 0o077 == 0
        for name in ("apt.conf", "host.sources")
    )


def test_unknown_packages_and_suites_are_told(download):
    with pytest.raises(PackageError, match="cannot be found: no-such-package"):
        fetch_packages(["dosfstools", "no-such-package"], download)
    wrong = [replace(source, suites=("no-such-suite",)) for source in download.sources[:1]]
    with pytest.raises(PackageError, match="the mirror has no such suite"):
        fetch_packages(["dosfstools"], replace(download, sources=wrong))


def test_a_wrong_key_is_refused(download):
    removed = "/usr/share/keyrings/debian-archive-removed-keys.gpg"
    sources = [replace(source, signed_by=removed) for source in download.sources[:1]]
    with pytest.raises(PackageError, match="signature cannot be verified"):
        fetch_packages(["dosfstools"], replace(download, sources=sources))


def test_an_unsigned_repository_is_refused_whatever_the_host_says(download, tmp_path):
    folder = tmp_path / "repository"
    (folder / "dists/x/main/binary-amd64").mkdir(parents=True)
    (folder / "dists/x/main/binary-amd64/Packages").touch()
    (folder / "dists/x/Release").write_text(
        "Suite: x\nCodename: x\nComponents: main\nArchitectures: amd64\n"
        "Date: Mon, 01 Jan 2024 00:00:00 UTC\n"
    )
    lax = AptSource(("deb",), (f"file://{folder}",), ("x",), ("main",), DEBIAN_KEYRING,
                    options={"trusted": "yes", "allow-insecure": "yes"})  # fmt: skip
    with pytest.raises(PackageError, match="is not signed"):
        fetch_packages(["a-package"], replace(download, sources=[lax], settings=AptSettings()))
