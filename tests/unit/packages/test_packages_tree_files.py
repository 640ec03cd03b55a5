"""Our files in a tree: build sources, keys and settings, policy-rc.d; and what is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.build_files import (
    CA_FILE,
    DPKG_FILE,
    SETTINGS_FILE,
    SOURCES_FILE,
    read_build_sources,
    remove_build_files,
    write_build_settings,
    write_build_sources,
)
from goldsmith.packages.errors import PackageError
from goldsmith.packages.installed import (
    InstalledPackage,
    installed_names,
    installed_packages,
    os_release,
)
from goldsmith.packages.policy import POLICY_FILE, allow_services, forbid_services

STATUS = """\
Package: libc6
Status: install ok installed
Priority: optional
Architecture: amd64
Multi-Arch: same
Source: glibc (2.36-9)
Version: 2.36-9+deb12u1
Description: GNU C Library
 Contains the standard libraries.
 .
 Status: this is not a field

Package: base-files
Essential: yes
Status: hold ok installed
Architecture: amd64
Version: 12.4

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: half
Status: install reinstreq half-configured
Architecture: all
Version: 2
"""


def source(uri: str, signed_by: str = "") -> AptSource:
    return AptSource(("deb",), (uri,), ("bookworm",), ("main",), signed_by)


def every_file(tree: Path) -> set[str]:
    return {str(p.relative_to(tree)) for p in tree.rglob("*") if not p.is_dir()}


def test_sources_bring_the_keys_that_the_tree_lacks(tmp_path: Path) -> None:
    host, tree = tmp_path / "host", tmp_path / "tree"
    for root, name in ((host, "site.gpg"), (host, "debian.gpg"), (tree, "debian.gpg")):
        (root / "usr/share/keyrings").mkdir(parents=True, exist_ok=True)
        (root / "usr/share/keyrings" / name).write_bytes(root.name.encode())
    given = [
        source("http://a.invalid", "/usr/share/keyrings/debian.gpg"),
        source("http://b.invalid", "/usr/share/keyrings/site.gpg"),
        source("file:/srv/repo"),
    ]
    (warning,) = write_build_sources(tree, given, host_root=host)
    assert "file:/srv/repo" in warning
    debian, site = read_build_sources(tree)
    assert debian.signed_by == "/usr/share/keyrings/debian.gpg"
    assert site.signed_by == "/etc/apt/keyrings/goldsmith-build-site.gpg"
    assert (tree / site.signed_by[1:]).read_bytes() == b"host"
    write_build_settings(tree, 'Acquire::Retries "3";\n', b"ca")
    assert {SOURCES_FILE[1:], SETTINGS_FILE[1:], DPKG_FILE[1:], CA_FILE[1:]} < every_file(tree)
    remove_build_files(tree)
    assert every_file(tree) == {"usr/share/keyrings/debian.gpg"}


def test_a_key_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"signed by /k\.gpg, which this host does not have"):
        write_build_sources(tmp_path, [source("http://a.invalid", "/k.gpg")], host_root=tmp_path)


def test_policy_only_where_there_is_none(tmp_path: Path) -> None:
    assert forbid_services(tmp_path)
    place = tmp_path / POLICY_FILE[1:]
    assert place.stat().st_mode & 0o777 == 0o755
    assert place.read_text().endswith("exit 101\n")
    assert forbid_services(tmp_path)
    assert allow_services(tmp_path)
    assert not place.exists()
    assert not allow_services(tmp_path)
    place.write_text("#!/bin/sh\nexit 0\n")
    assert not forbid_services(tmp_path)
    assert not allow_services(tmp_path)
    assert place.read_text() == "#!/bin/sh\nexit 0\n"
    place.unlink()
    place.symlink_to("/etc/alternatives/policy-rc.d")
    assert not forbid_services(tmp_path)
    assert place.is_symlink()


def test_installed_packages(tmp_path: Path) -> None:
    assert installed_packages(tmp_path) == ()
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    assert installed_packages(tmp_path) == (
        InstalledPackage("base-files", "amd64", "12.4", "base-files", essential=True),
        InstalledPackage("half", "all", "2", "half"),
        InstalledPackage("libc6", "amd64", "2.36-9+deb12u1", "glibc", "optional"),
    )
    assert installed_names(tmp_path) == {"base-files", "half", "libc6"}
    (tmp_path / "var/lib/dpkg/status").write_text("garbage\n")
    with pytest.raises(PackageError, match="line 1"):
        installed_packages(tmp_path)


def test_os_release_through_its_link(tmp_path: Path) -> None:
    assert os_release(tmp_path) == {}
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").symlink_to("../usr/lib/os-release")
    (tmp_path / "usr/lib/os-release").write_text(
        'PRETTY_NAME="Debian \\"12\\" GNU/Linux"\n# no\n'
        "ID=debian\nVERSION_CODENAME='bookworm'\nX=\n"
    )
    assert os_release(tmp_path) == {
        "PRETTY_NAME": 'Debian "12" GNU/Linux',
        "ID": "debian",
        "VERSION_CODENAME": "bookworm",
        "X": "",
    }
