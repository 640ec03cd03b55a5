"""Which packages are fetched, and how APT is kept to itself."""

from pathlib import Path

import pytest

from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.download import (
    Download,
    PackageRecord,
    apt_configuration,
    fetch_packages,
    reachable_by_all,
    resolve,
)
from goldsmith.packages.errors import PackageError


def record(name, section="libs", depends=()):
    return PackageRecord(name, "1", "amd64", section, tuple((d,) if isinstance(d, str) else d
                                                            for d in depends))  # fmt: skip


KNOWN = {
    r.name: r
    for r in (
        record("lvm2", "admin", ["libdm", ("virtual", "libalt"), "perl"]),
        record("libdm", depends=["libc6", "lvm2"]),
        record("libalt", depends=["libc6"]),
        record("libc6", depends=["libdm"]),
        record("perl", "perl", ["libperl"]),
        record("libperl"),
    )
}


def show(names):
    return {name: KNOWN[name] for name in names if name in KNOWN}


def test_a_record_is_read_from_apts_own_words():
    fields = {
        "package": "lvm2", "version": "2:1", "architecture": "amd64", "section": "non-free/admin",
        "pre-depends": "init-system (>= 1.54~)",
        "depends": "libc6 (>= 2.33), libblkid1 | libother:any (<< 3),\n dmsetup:amd64",
    }  # fmt: skip
    assert PackageRecord.of(fields) == PackageRecord(
        "lvm2", "2:1", "amd64", "admin",
        (("init-system",), ("libc6",), ("libblkid1", "libother"), ("dmsetup",)),
    )  # fmt: skip


def test_dependencies_are_followed_where_they_are_wanted():
    chosen = resolve(["lvm2"], show, follow=lambda r: r.section == "libs")
    assert [r.name for r in chosen] == ["libalt", "libc6", "libdm", "lvm2"]
    assert [r.name for r in resolve(["lvm2"], show, follow=lambda r: False)] == ["lvm2"]


def test_absent_packages_are_all_named():
    with pytest.raises(PackageError, match="cannot be found: a, b"):
        resolve(["a", "lvm2", "b"], show, follow=lambda r: True)


def test_wrong_names_and_no_sources_are_refused_before_apt_runs(tmp_path):
    source = AptSource(("deb",), ("http://mirror.example/debian",), ("x",), ("main",))
    download = Download(directory=tmp_path, sources=[source], settings=AptSettings(),
                        architecture="amd64")  # fmt: skip
    with pytest.raises(PackageError, match="not a package's name: '--version', 'a b'"):
        fetch_packages(["--version", "a b"], download)
    nowhere = Download(directory=tmp_path, sources=[], settings=AptSettings(), architecture="amd64")
    with pytest.raises(PackageError, match="no APT sources"):
        fetch_packages(["lvm2"], nowhere)
    assert list(tmp_path.iterdir()) == []


def test_apt_reads_and_writes_nothing_of_the_host():
    text = apt_configuration(Path("/x"), "amd64")
    assert 'Dir::State::status "/dev/null";\n' in text
    assert 'Dir::Etc::parts "/dev/null";\n' in text
    assert 'Dir::Etc::sourcelist "/x/host.sources";\n' in text
    assert "Sandbox" not in text
    assert 'APT::Sandbox::User "root";\n' in apt_configuration(Path("/x"), "amd64", sandboxed=False)


def test_a_private_directory_is_not_reachable(tmp_path):
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    assert reachable_by_all(Path("/"))
    (tmp_path / "a").chmod(0o700)
    assert not reachable_by_all(inner)
