"""The finishing actions, each on a small tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goldsmith.packages.apt_sources import AptSource, parse_sources
from goldsmith.packages.build_files import SOURCES_FILE as BUILD_SOURCES
from goldsmith.packages.build_files import write_build_settings, write_build_sources
from goldsmith.packages.errors import PackageError
from goldsmith.packages.finish import (
    SOURCES_FILE,
    FinishPlan,
    clamp_password_dates,
    clean_apt,
    empty_volatile,
    finish_sources,
    finish_tree,
    remove_leftovers,
)
from goldsmith.packages.identity import (
    clear_machine_id,
    finish_resolv_conf,
    set_hostname,
)
from goldsmith.packages.policy import POLICY_FILE, forbid_services
from goldsmith.packages.ssh_host_keys import UNIT_FILE, UNIT_NAME, finish_host_keys


def put(tree: Path, path: str, text: str = "x") -> Path:
    place = tree / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def source(uri: str, key: str = "") -> AptSource:
    return AptSource(("deb",), (uri,), ("bookworm",), ("main",), key)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    put(tmp_path, "host/keys/site.gpg", "site key")
    write_build_sources(tree, [source("http://build.invalid", "/keys/site.gpg")],
                        host_root=tmp_path / "host")  # fmt: skip
    write_build_settings(tree, "x", b"ca")
    return tree


def image_sources(tree: Path) -> list[AptSource]:
    place = tree / SOURCES_FILE[1:]
    return parse_sources(place.read_text(), "image") if place.exists() else []


def build_traces(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*goldsmith*") if not path.is_dir()]


def test_no_sources_is_a_warning(tree: Path) -> None:
    (warning,) = finish_sources(tree, FinishPlan())
    assert "keep_build_sources" in warning
    assert image_sources(tree) == []
    assert build_traces(tree) == []
    # A second time there is nothing to tell.
    assert finish_sources(tree, FinishPlan()) == ()


def test_sources_of_provisioners_stay(tree: Path) -> None:
    own = put(tree, "etc/apt/sources.list.d/own.list", "deb http://own.invalid x main\n")
    assert finish_sources(tree, FinishPlan()) == ()
    assert own.exists()
    assert not (tree / BUILD_SOURCES[1:]).exists()


def test_no_sources_on_purpose(tree: Path) -> None:
    assert finish_sources(tree, FinishPlan(apt_sources=())) == ()
    assert image_sources(tree) == []


def test_given_sources_come_with_their_key_and_without_passwords(tree: Path) -> None:
    host = tree.parent / "host"
    given = (source("http://me:secret@image.invalid", "/keys/site.gpg"),)
    plan = FinishPlan(apt_sources=given, keep_build_sources=True)
    (warning,) = finish_sources(tree, plan, host_root=host)
    assert "passwords" in warning
    (written,) = image_sources(tree)
    assert written.uris == ("http://image.invalid",)
    assert written.signed_by == "/etc/apt/keyrings/site.gpg"
    assert (tree / "etc/apt/keyrings/site.gpg").read_text() == "site key"
    assert build_traces(tree) == []


def test_kept_build_sources(tree: Path) -> None:
    assert finish_sources(tree, FinishPlan(keep_build_sources=True)) == ()
    (written,) = image_sources(tree)
    assert written == source("http://build.invalid", "/etc/apt/keyrings/site.gpg")
    assert (tree / "etc/apt/keyrings/site.gpg").read_text() == "site key"
    assert build_traces(tree) == []


def test_the_mirror_of_the_template(tree: Path) -> None:
    plan = FinishPlan(mirror_sources=(source("http://m.invalid"), source("file:/srv/m")))
    (warning,) = finish_sources(tree, plan)
    assert "file:/srv/m" in warning
    assert image_sources(tree) == [source("http://m.invalid")]


@pytest.mark.parametrize(
    ("users", "owner"),
    [("root:x:0:0::/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n", 42), ("", 0)],
)
def test_clean_apt(tree: Path, monkeypatch: pytest.MonkeyPatch, users: str, owner: int) -> None:
    owners = {}
    monkeypatch.setattr(os, "chown", lambda path, *ids: owners.update({path: ids}))
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/passwd").write_text(users)
    kept = put(tree, "var/lib/apt/extended_states")
    for path in ("lists/x_InRelease", "lists/lock", "lists/partial/y", "lists/auxfiles/z"):
        put(tree, f"var/lib/apt/{path}")
    put(tree, "var/cache/apt/archives/partial/a.deb")
    put(tree, "var/cache/apt/archives/b.deb")
    clean_apt(tree)
    assert [p.name for p in (tree / "var/lib/apt/lists").rglob("*")] == ["partial"]
    assert [p.name for p in (tree / "var/cache/apt/archives").rglob("*")] == ["partial"]
    assert kept.exists()
    unfinished = ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial")
    assert owners == {tree / path: (owner, 0) for path in unfinished}
    assert {(tree / path).stat().st_mode & 0o7777 for path in unfinished} == {0o700}


def test_leftovers(tree: Path) -> None:
    kept = {"var/log/wtmp", "var/log/apt/own.log", "etc/passwd", "var/lib/dpkg/status",
            "var/cache/debconf/config.dat"}  # fmt: skip
    gone = {"var/log/dpkg.log", "var/log/apt/term.log", "etc/passwd-", "etc/shadow-",
            "var/lib/dpkg/status-old", "var/cache/debconf/config.dat-old",
            "var/cache/ldconfig/aux-cache"}  # fmt: skip
    for path in kept | gone:
        put(tree, path)
    remove_leftovers(tree)
    assert {path for path in kept | gone if (tree / path).exists()} == kept


def test_volatile_directories_are_emptied_and_links_not_followed(tree: Path) -> None:
    outside = put(tree.parent, "outside/precious").parent
    put(tree, "tmp/a/b/c")
    put(tree, "dev/node")
    (tree / "tmp/link").symlink_to(outside)
    (tree / "run").symlink_to(outside)
    empty_volatile(tree)
    assert (outside / "precious").exists()
    assert (tree / "run").is_symlink()
    assert os.listdir(tree / "tmp") == os.listdir(tree / "dev") == []
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_machine_id(tree: Path) -> None:
    clear_machine_id(tree)
    assert not (tree / "etc/machine-id").exists()
    place = put(tree, "etc/machine-id", "0123\n")
    put(tree, "var/lib/dbus/machine-id", "0123\n")
    clear_machine_id(tree)
    assert place.read_bytes() == b""
    assert place.stat().st_mode & 0o777 == 0o444
    assert not (tree / "var/lib/dbus/machine-id").exists()
    (tree / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    clear_machine_id(tree)
    assert (tree / "var/lib/dbus/machine-id").is_symlink()


def test_resolv_conf(tree: Path) -> None:
    host = tree.parent / "host"
    put(host, "etc/resolv.conf", "nameserver 192.0.2.1\n")
    place = tree / "etc/resolv.conf"
    for text, stays in (("", False), ("nameserver 192.0.2.1\n", False), ("nameserver ::1\n", True)):
        put(tree, "etc/resolv.conf", text)
        finish_resolv_conf(tree, host)
        assert place.exists() is stays
    place.unlink()
    place.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    finish_resolv_conf(tree, host)
    assert place.is_symlink()


def test_hostname_in_a_tree_without_hosts(tree: Path) -> None:
    set_hostname(tree, "golden.example.invalid")
    assert (tree / "etc/hostname").read_text() == "golden.example.invalid\n"
    lines = (tree / "etc/hosts").read_text().splitlines()
    assert lines[:2] == ["127.0.0.1\tlocalhost", "127.0.1.1\tgolden.example.invalid golden"]


def test_hostname_keeps_other_lines(tree: Path) -> None:
    put(tree, "etc/hosts", "# mine\n192.0.2.9 db\n127.0.1.1 old\n")
    set_hostname(tree, "golden")
    assert (tree / "etc/hosts").read_text() == "# mine\n192.0.2.9 db\n127.0.1.1\tgolden\n"
    set_hostname(tree, "golden")
    assert (tree / "etc/hosts").read_text().count("golden") == 1


@pytest.mark.parametrize("name", ["", "-a", "a b", "a..b", "a_b", "a\n127.0.0.1 x", "x" * 65])
def test_wrong_hostnames(tree: Path, name: str) -> None:
    with pytest.raises(PackageError, match="is not a host name"):
        set_hostname(tree, name)


def test_host_keys(tree: Path) -> None:
    put(tree, "etc/ssh/ssh_host_rsa_key")
    put(tree, "etc/ssh/ssh_host_rsa_key.pub")
    put(tree, "etc/ssh/sshd_config")
    assert finish_host_keys(tree, frozenset({"systemd"})) == ()
    assert os.listdir(tree / "etc/ssh") == ["sshd_config"]
    assert not (tree / UNIT_FILE[1:]).exists()
    (warning,) = finish_host_keys(tree, frozenset({"openssh-server", "sysvinit-core"}))
    assert "no systemd" in warning
    for _ in range(2):
        assert finish_host_keys(tree, frozenset({"openssh-server", "systemd"})) == ()
    for unit in ("ssh.service", "ssh.socket"):
        link = tree / f"etc/systemd/system/{unit}.wants/{UNIT_NAME}"
        assert link.resolve() == (tree / UNIT_FILE[1:]).resolve()


def test_a_finished_tree_has_nothing_of_the_build(tree: Path) -> None:
    forbid_services(tree)
    put(tree, "etc/machine-id", "0123")
    put(tree, "var/lib/systemd/random-seed")
    put(tree, "var/log/dpkg.log")
    finish_tree(tree, FinishPlan(apt_sources=()))
    assert build_traces(tree) == []
    assert not (tree / POLICY_FILE[1:]).exists()
    left = {str(p.relative_to(tree)) for p in tree.rglob("*") if not p.is_dir()}
    assert left == {"etc/machine-id"}


def test_no_password_is_younger_than_the_build(tree: Path) -> None:
    text = "root:*:20000:0:99999:7:::\nold:!:100:0:99999:7:::\nempty:*::0:::::\n\nodd\n"
    shadow = put(tree, "etc/shadow", text)
    shadow.chmod(0o640)
    clamp_password_dates(tree, 19_000 * 86_400 + 5)
    assert shadow.read_text() == text.replace("20000", "19000")
    assert shadow.stat().st_mode & 0o777 == 0o640
    before = shadow.stat().st_mtime_ns
    clamp_password_dates(tree, 19_000 * 86_400 + 5)
    assert shadow.stat().st_mtime_ns == before
    shadow.unlink()
    clamp_password_dates(tree, 0)
    assert not shadow.exists()
