"""Repositories besides the suite's: pins, keys, and what of them the finished image has."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.bootstrap_options import Repository as RepositoryOptions
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import AptSource, parse_sources, render_sources
from goldsmith.packages.build_files import PINS_FILE as BUILD_PINS
from goldsmith.packages.build_files import (
    place_keys,
    read_build_sources,
    remove_build_files,
    write_build_pins,
    write_build_sources,
)
from goldsmith.packages.errors import PackageError
from goldsmith.packages.finish import PINS_FILE, SOURCES_FILE, FinishPlan, finish_sources
from goldsmith.packages.keyrings import (
    DEBIAN_KEYRING,
    UBUNTU_KEYRING,
    keyring_for,
    keys_digest,
    read_key,
)
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.repositories import AptPin, Repository, pins_of, without_repetition

BASE = AptSource(("deb",), ("http://a.invalid/debian",), ("x", "x-updates"), ("main",))
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"


def source(uri: str, suite: str = "y", *components: str, key: str = "") -> AptSource:
    return AptSource(("deb",), (uri,), (suite,), components, key)


def pinned(uri: str, suite: str, *components: str, pin: str = "") -> Repository:
    return Repository("r", source(uri, suite, *components), priority=700, pin=pin)


@pytest.mark.parametrize(
    ("repository", "pin"),
    [
        (pinned("http://b.invalid:81/d", "stable", "main"), 'origin "b.invalid"'),
        (pinned("http://a.invalid/debian", "x-backports", "main"), "release x-backports"),
        (pinned("http://b.invalid/", "./"), 'origin "b.invalid"'),
        (pinned("file:/srv/repo", "./"), 'origin ""'),
        (pinned("http://a.invalid/", "./", pin="release l=L"), "release l=L"),
    ],
)
def test_what_a_pin_says_by_itself(repository: Repository, pin: str) -> None:
    assert pins_of([repository], [BASE]) == (AptPin(pin, 700),)


@pytest.mark.parametrize(
    "repository",
    [pinned("http://a.invalid/", "./"), pinned("http://a.invalid/other", "x", "main")],
)
def test_a_pin_that_would_catch_others(repository: Repository) -> None:
    with pytest.raises(PackageError, match="cannot be told from theirs") as caught:
        pins_of([repository], [BASE])
    assert "pin =" in str(caught.value.hint)


def test_repositories_are_told_from_each_other() -> None:
    one = pinned("http://b.invalid/one", "s1", "main")
    two = replace(pinned("http://b.invalid/two", "s2", "main"), name="two", priority=-1)
    assert pins_of([one, two], [BASE]) == (AptPin("release s1", 700), AptPin("release s2", -1))
    assert AptPin("release s1", 5, ("g++", "linux-*")).render() == (
        "Package: g++ linux-*\nPin: release s1\nPin-Priority: 5\n"
    )


@pytest.mark.parametrize(
    ("suite", "components", "message"),
    [("./", ("main",), "flat repository"), ("x", (), "which components")],
)
def test_flat_or_not(suite: str, components: tuple[str, ...], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        Repository("r", source("http://b.invalid", suite, *components))


def test_nothing_is_named_twice() -> None:
    again = source("http://a.invalid/debian/", "x", "main")
    more = source("http://a.invalid/debian", "x", "main", "contrib")
    other = AptSource(("deb",), ("http://a.invalid/debian",), ("x-updates", "z"), ("main",))
    assert without_repetition([BASE, again, more, other]) == [
        BASE, more, replace(other, suites=("z",)),
    ]  # fmt: skip


def test_keys_of_files(tmp_path: Path) -> None:
    armored = tmp_path / "k.asc"
    armored.write_text(f"Comment before\n{KEY}after")
    assert read_key(armored) == KEY
    binary = tmp_path / "k.gpg"
    content = b"\x99\x01\x0d" + bytes(300)
    binary.write_bytes(content)
    lines = read_key(binary).splitlines()
    assert lines[0].endswith("PUBLIC KEY BLOCK-----")
    assert lines[1] == ""
    assert base64.b64decode("".join(lines[2:-1])) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no OpenPGP public key"),
        (b"text", "no OpenPGP public key"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----", "private key"),
        (b"\0\0\0 \1\1\0\2KBXf", "keybox"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_no_keys(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PackageError, match=message):
        read_key(path)


def test_the_keyring_of_a_foreign_suite(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=UBUNTU_KEYRING) as caught:
        keyring_for("noble-updates", tmp_path)
    assert "apt-get install ubuntu-keyring" in str(caught.value.hint)
    with pytest.raises(PackageError, match=DEBIAN_KEYRING):
        sources_for("trixie", "http://m.invalid", tmp_path)
    (tmp_path / "usr/share/keyrings").mkdir(parents=True)
    (tmp_path / DEBIAN_KEYRING[1:]).touch()
    (tmp_path / UBUNTU_KEYRING[1:]).touch()
    assert sources_for("sid", "http://m.invalid", tmp_path)[0].signed_by == DEBIAN_KEYRING
    assert sources_for("noble", "http://m.invalid", tmp_path)[0].signed_by == UBUNTU_KEYRING
    named = sources_for("noble", "http://m.invalid", tmp_path, signed_by=KEY)
    assert named == [source("http://m.invalid", "noble", "main", key=KEY)]
    with pytest.raises(PackageError, match="no suite 'trixie'") as caught:
        sources_for("trixie", "", tmp_path)
    assert "mirror =" in str(caught.value.hint)


def test_keys_become_files_of_the_tree(tmp_path: Path) -> None:
    other = KEY.replace("mQ==", "mg==")
    given = [source("http://b.invalid", key=KEY), source("http://c.invalid", key=other),
             source("http://d.invalid", key=KEY)]  # fmt: skip
    placed = place_keys(tmp_path, given, prefix="p-")
    paths = [s.signed_by for s in placed]
    assert paths[0] == paths[2] == "/etc/apt/keyrings/p-key.asc"
    assert paths[1] != paths[0]
    assert [(tmp_path / path[1:]).read_text() for path in paths] == [KEY, other, KEY]


def test_trust_is_for_the_named_source_alone() -> None:
    lax = source("http://b.invalid", "y", "main")
    request = AptRequest("x", (), (BASE, lax), trusted_sources=(lax,))
    assert [s.options for s in request.build_sources()] == [{}, {"trusted": "yes"}]
    hosts = replace(BASE, options={"trusted": "yes"})
    assert AptRequest("x", (), (hosts,)).build_sources()[0].options == {}


def image_text(tree: Path) -> str:
    place = tree / SOURCES_FILE[1:]
    return place.read_text() if place.exists() else ""


@pytest.mark.parametrize("keep_build", [True, False])
def test_what_the_finished_image_has(tmp_path: Path, keep_build: bool) -> None:
    build_only = source("http://b.invalid", "b", "main", key=KEY)
    kept = source("http://k.invalid", "k", "main", key=KEY)
    write_build_sources(tmp_path, [BASE, build_only, kept])
    write_build_pins(tmp_path, [AptPin("release b", 1), AptPin("release k", 2)])
    assert (tmp_path / BUILD_PINS[1:]).read_text().count("Package: *") == 2
    assert len(read_build_sources(tmp_path)) == 3
    plan = FinishPlan(
        keep_build_sources=keep_build, kept_sources=(kept,), build_only=(build_only,),
        pins=(AptPin("release k", 2),),
    )  # fmt: skip
    assert finish_sources(tmp_path, plan) == ()
    uris = [s.uris[0] for s in parse_sources(image_text(tmp_path), "image")]
    assert uris == (["http://a.invalid/debian"] if keep_build else []) + ["http://k.invalid"]
    assert (tmp_path / PINS_FILE[1:]).read_text() == AptPin("release k", 2).render()
    assert [p.name for p in tmp_path.rglob("*") if "goldsmith" in p.name] == []
    assert (tmp_path / "etc/apt/keyrings/key.asc").read_text() == KEY


def test_nothing_of_the_build_stays_by_itself(tmp_path: Path) -> None:
    build_only = source("http://b.invalid", "b", "main", key=KEY)
    write_build_sources(tmp_path, [build_only])
    write_build_pins(tmp_path, [AptPin("release b", 1)])
    remove_build_files(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    write_build_pins(tmp_path, [])
    assert not (tmp_path / BUILD_PINS[1:]).exists()


def test_a_flat_source_renders_without_components() -> None:
    (flat,) = parse_sources(render_sources([source("http://b.invalid", "./")]), "x")
    assert (flat.suites, flat.components) == (("./",), ())


def options(**more: object) -> RepositoryOptions:
    return RepositoryOptions(**{"name": "r", "uri": "http://b.invalid", "suite": "y", **more})


def test_options_make_repositories(tmp_path: Path) -> None:
    (tmp_path / "k.asc").write_text(KEY)
    made = options(signed_by="k.asc", priority=900, pinned_packages=("a*",), build_only=False)
    found = made.to_repository(tmp_path)
    assert found.source == source("http://b.invalid", "y", "main", key=KEY)
    assert pins_of([found], []) == (AptPin('origin "b.invalid"', 900, ("a*",)),)
    assert not found.build_only
    flat = options(suite="./", signed_by=KEY).to_repository(tmp_path)
    assert flat.source == source("http://b.invalid", "./", key=KEY)
    assert flat.build_only
    assert options(trusted=True).to_repository(tmp_path).source.signed_by == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"}, {"name": "x.y"}, {"uri": "no uri"}, {"uri": "http://x\nTrusted: yes"},
        {"suite": "a b"}, {"suite": ""}, {"suite": "./", "components": ("main",)},
        {"pin": "release x"}, {"priority": 1, "pin": "x\nPackage: *"}, {"priority": 40000},
        {"priority": 1, "pin": "release a=x\nPin-Priority: 1"}, {"pinned_packages": ("a",)},
        {"priority": 1, "pinned_packages": ("a b",)}, {"priority": 1, "pinned_packages": ()},
        {"trusted": True, "signed_by": "k"}, {"components": ("a b",)},
    ],
)  # fmt: skip
def test_refused_options(wrong: dict[str, object]) -> None:
    options()
    with pytest.raises(ValidationError):
        options(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"suite": "x", "keyring": "k"}, "a keyring belongs to a mirror"),
        ({"method": "image", "source": "a", "keyring": "k"}, "installs nothing"),
        ({"method": "image", "source": "a", "repository": (options(),)}, "installs nothing"),
        ({"method": "tar", "source": "a", "partition": 1}, "partition belongs to"),
        ({"suite": "x", "repository": (options(), options())}, "two repositories"),
    ],
)
def test_refused_bootstraps(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bootstrap(**wrong)


def test_the_keys_of_a_source_are_those_in_its_files(tmp_path: Path) -> None:
    named, trusted = tmp_path / "keys/a.gpg", tmp_path / "etc/apt/trusted.gpg.d/b.gpg"
    for path in (named, trusted):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"one")

    def digests() -> list[str]:
        given = ("/keys/a.gpg", "/keys/a.gpg 0123ABCD", "0123ABCD", "",
                 "-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "/keys/absent.gpg")  # fmt: skip
        return [keys_digest(signed_by, tmp_path) for signed_by in given]

    def changed(path: Path) -> list[bool]:
        before = digests()
        path.write_bytes(b"two")
        return [one != other for one, other in zip(before, digests(), strict=True)]

    assert changed(named) == [True, True, False, False, False, False]
    assert changed(trusted) == [False, False, True, True, False, False]
    named.unlink()
    assert len(set(digests())) == 4
